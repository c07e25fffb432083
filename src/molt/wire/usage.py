"""Tokens, model and tool names out of answers, as they pass by.

Reads OpenAI's chat completions and responses, Anthropic's messages and the `agent-chat` form, as
JSON and as server-sent events. What cannot be read is `unknown`, never zero.
"""

import logging
import zlib
from collections.abc import Callable
from typing import Final, Literal, Protocol

import msgspec

from molt.wire.sse import EventReader

MAX_JSON: Final = 1024 * 1024
"""Bytes of a JSON answer that are held to be read; longer ones are unknown."""
_MAX_INFLATED: Final = 16 * 1024 * 1024
_log = logging.getLogger(__name__)
_STEP: Final = 64 * 1024


class Usage(msgspec.Struct, frozen=True, gc=False):
    """What one answer used. `measured` if both counts were in it, else `unknown`.

    `input_tokens` includes those that a provider read from or wrote to its prompt cache.
    """

    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    tools: tuple[str, ...] = ()
    source: Literal["measured", "unknown"] = "unknown"


UNKNOWN: Final = Usage()
_PLAIN: Final = frozenset({b"application/json", b"application/json; charset=utf-8"})


class Reader(Protocol):
    """Reads an answer's body as it passes."""

    def feed(self, data: bytes) -> None:
        """The next piece, split anywhere."""
        ...

    def finish(self) -> Usage:
        """What was found; called once, also when the answer was cut."""
        ...


def fed(reader: Reader, pieces: list[bytes]) -> Reader | None:
    """The reader after `pieces`, or None if it failed: an answer never fails because of it."""
    try:
        for piece in pieces:
            reader.feed(piece)
    except Exception:
        _log.exception("reading usage failed")
        return None
    return reader


Own = Callable[[bytes], Usage]
"""Reads one JSON object of a form that is not known here; unknown where it does not hold both counts."""


def usage_reader(
    content_type: bytes | None, content_encoding: bytes | None = None, own: Own | None = None
) -> Reader | None:
    """A reader for an answer with these headers, or None if there is nothing that can be read.

    Which of the forms it is shows in the answer itself; what `own` measures beats them.
    """
    if content_encoding is None and content_type in _PLAIN:
        return JsonReader(own)
    kind = (content_type or b"").partition(b";")[0].strip().lower()
    if kind == b"application/json":
        reader: Reader = JsonReader(own)
    elif kind == b"text/event-stream":
        reader = StreamReader(own)
    else:
        return None
    encoding = (content_encoding or b"identity").strip().lower()
    if encoding == b"identity":
        return reader
    return InflatingReader(reader) if encoding in {b"gzip", b"x-gzip", b"deflate"} else None


# What is decoded; msgspec skips all other fields without making objects of them.


class _Tokens(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    model: str | None = None
    """The agent-chat dialect names its model here."""


class _Function(msgspec.Struct, gc=False):
    name: str | None = None


class _Call(msgspec.Struct, gc=False):
    index: int | None = None
    function: _Function | None = None
    custom: _Function | None = None
    tool: str | None = None
    name: str | None = None


class _Message(msgspec.Struct, gc=False):
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None
    """How calls were named before there were several."""


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    message: _Message | None = None
    delta: _Message | None = None


class _Item(msgspec.Struct, gc=False):
    type: str | None = None
    name: str | None = None


class _Part(msgspec.Struct, gc=False):
    """A whole response or message inside an event."""

    model: str | None = None
    usage: _Tokens | None = None
    output: list[_Item] | str | None = None


class _Body(msgspec.Struct, gc=False):
    """All forms at once: no field of one has another meaning in the next.

    `choices` are a chat completion's or its chunk's; `output`, `response`, `item` and
    `output_index` a response's and its events'; `content`, `message`, `content_block` and `index`
    an Anthropic message's and its events'; `tool_calls` and `tool_calls_made` what an agent did.
    """

    model: str | None = None
    usage: _Tokens | None = None
    choices: list[_Choice] | None = None
    output: list[_Item] | str | None = None
    response: _Part | str | None = None
    item: _Item | str | None = None
    output_index: int = 0
    content: list[_Item] | str | None = None
    message: _Part | str | None = None
    content_block: _Item | None = None
    index: int = 0
    tool_calls: list[_Call] | None = None
    tool_calls_made: list[_Call] | None = None


class _Findings:
    """Collects from decoded pieces; a later count replaces an earlier one, a tool is named once."""

    __slots__ = ("input", "model", "output", "tools")

    def __init__(self) -> None:
        self.model: str | None = None
        self.input: int | None = None
        self.output: int | None = None
        self.tools: dict[object, str] = {}

    def add(self, model: str | None, tokens: _Tokens | None) -> None:
        self.model = model or self.model
        if tokens is None:
            return
        self.model = self.model or tokens.model
        if tokens.prompt_tokens is not None:
            self.input = tokens.prompt_tokens  # cached ones are in it
        elif tokens.input_tokens is not None:
            cached = tokens.cache_creation_input_tokens or 0
            self.input = tokens.input_tokens + cached + (tokens.cache_read_input_tokens or 0)
        out = tokens.output_tokens
        out = out if tokens.completion_tokens is None else tokens.completion_tokens
        self.output = self.output if out is None else out

    def usage(self) -> Usage:
        known = self.input is not None and self.output is not None
        return Usage(
            self.model,
            self.input,
            self.output,
            tuple(self.tools.values()),
            "measured" if known else "unknown",
        )


def _take(body: _Body, found: _Findings) -> None:
    """What one answer or event says."""
    found.add(body.model, body.usage)
    for part in (body.response, body.message):
        if isinstance(part, _Part):
            found.add(part.model, part.usage)
            _items(found, part.output)
    if body.choices:
        _chat_calls(found, body.choices)
    _items(found, body.output)
    _items(found, body.content)
    if isinstance(body.item, _Item):
        _item(found, body.output_index, body.item)
    if body.content_block is not None:
        _item(found, body.index, body.content_block)
    for call in (*(body.tool_calls or ()), *(body.tool_calls_made or ())):
        if name := call.tool or call.name:
            found.tools["reported", len(found.tools)] = name


def _chat_calls(found: _Findings, choices: list[_Choice]) -> None:
    """Calls of chat completions; a stream names a call once and then sends its arguments."""
    for choice in choices:
        said = choice.message or choice.delta
        for at, call in enumerate((said and said.tool_calls) or ()):
            named = call.function or call.custom
            if named is not None and named.name:
                place = at if call.index is None else call.index
                found.tools.setdefault((choice.index, place), named.name)
        if said is not None and said.function_call is not None and said.function_call.name:
            found.tools.setdefault((choice.index, "function_call"), said.function_call.name)


def _items(found: _Findings, items: list[_Item] | str | None) -> None:
    if items and not isinstance(items, str):
        for at, item in enumerate(items):
            _item(found, at, item)


def _item(found: _Findings, at: int, item: _Item) -> None:
    """A call by its name; the provider's own tools (`web_search_call`) have only a type."""
    kind = item.type or ""
    if kind.endswith("_call"):
        found.tools[at] = item.name or kind.removesuffix("_call")
    elif kind.endswith("tool_use") and item.name:
        found.tools[at] = item.name


_BODY: Final = msgspec.json.Decoder(_Body)
_MARKS: Final = (b'_tokens"', b'"name"', b'_call"', b'tool_use"', b'"tool"', b'"tool_calls_made"')
"""An event without any of these carries neither counts nor names. A quote inside a JSON string is
escaped, so text never looks like them."""


def _marked(data: bytes) -> bool:
    return any(mark in data for mark in _MARKS)


class JsonReader:
    """Reads one JSON answer, when it is whole."""

    __slots__ = ("_own", "_parts", "_size")

    def __init__(self, own: Own | None = None) -> None:
        self._own = own
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Hold a piece, up to a bound."""
        self._size += len(data)
        if self._size <= MAX_JSON:
            self._parts.append(data)
        else:
            self._parts.clear()

    def finish(self) -> Usage:
        """Decode; what is not the expected JSON is unknown."""
        if not self._parts:
            return UNKNOWN
        data = b"".join(self._parts)
        usage = _usage_of(data)
        return usage if self._own is None else _preferred(self._own(data), usage)


def _usage_of(data: bytes) -> Usage:
    """What a whole JSON answer of a known form says."""
    try:
        body = _BODY.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return UNKNOWN
    tokens = body.usage
    if tokens is not None and tokens.completion_tokens is not None and _is_plain_chat(body):
        model = body.model or tokens.model
        return Usage(model, tokens.prompt_tokens, tokens.completion_tokens, (), "measured")
    found = _Findings()
    _take(body, found)
    return found.usage()


def _is_plain_chat(body: _Body) -> bool:
    """A chat completion with both counts and one answer that calls no tool, as most are."""
    if body.usage is None or body.usage.prompt_tokens is None:
        return False
    if body.choices is None or len(body.choices) != 1 or body.tool_calls_made is not None:
        return False
    message = body.choices[0].message
    return message is not None and not message.tool_calls and message.function_call is None


def _preferred(own: Usage, known: Usage) -> Usage:
    if own.source != "measured":
        return known
    model = own.model or known.model
    return Usage(model, own.input_tokens, own.output_tokens, known.tools, "measured")


class StreamReader:
    """Reads an event stream; only events that can carry counts or names are decoded."""

    __slots__ = ("_events", "_found", "_named", "_own", "_told")

    def __init__(self, own: Own | None = None) -> None:
        self._own = own
        self._told = UNKNOWN
        self._events = EventReader()
        self._found = _Findings()
        self._named = False

    def feed(self, data: bytes) -> None:
        """The next piece; whole events of mere text are not even split."""
        events = self._events
        dull = self._named and data.endswith(b"\n\n") and events.between_events
        if dull and self._own is None and not _marked(data):
            return
        for event in events.feed(data):
            if self._own is not None:
                self._told = _preferred(self._own(event), self._told)
            if not self._named or _marked(event):
                self._decode(event)

    def finish(self) -> Usage:
        """What the events said so far."""
        return _preferred(self._told, self._found.usage())

    def _decode(self, event: bytes) -> None:
        try:
            _take(_BODY.decode(event), self._found)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return  # `[DONE]`, or an event of another form
        self._named = self._found.model is not None


class InflatingReader:
    """Lets another reader see through gzip and deflate, up to a bound."""

    __slots__ = ("_inflate", "_left", "_reader")

    def __init__(self, reader: Reader) -> None:
        self._reader: Reader | None = reader
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._left = _MAX_INFLATED

    def feed(self, data: bytes) -> None:
        """Inflate and pass on, in steps."""
        while data and self._reader is not None:
            try:
                plain = self._inflate.decompress(data, _STEP)
            except zlib.error:
                self._reader = None
                return
            self._left -= len(plain)
            if self._left < 0:
                self._reader = None
                return
            self._reader.feed(plain)
            data = self._inflate.unconsumed_tail

    def finish(self) -> Usage:
        """What the inner reader found, unknown if the body could not be inflated."""
        return UNKNOWN if self._reader is None else self._reader.finish()
