"""What a whole answer says: its text, the tool calls with their arguments, and the data beside them.

Reads OpenAI's chat completions and responses, Anthropic's messages and the `agent-chat` form, as
JSON and as server-sent events; any other JSON is data, any other text is text.
"""

import zlib
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from molt.wire.sse import EventReader

try:
    import brotli  # pyright: ignore[reportMissingImports]
except ImportError:  # then such a body is marked as one that could not be read
    brotli = None

Arguments = dict[str, Any]


class ToolCall(NamedTuple):
    """A tool and what it was called with; arguments that are no JSON object stand under `""`."""

    tool: str
    arguments: Arguments


class Said(NamedTuple):
    """An answer, taken apart. `text` is None where there is none. `calls` is None where the answer
    says nothing about calls, which is another thing than saying that there were none. `data` is the
    JSON without what `text`, `calls` and usage were read from, and without ids."""

    text: str | None = None
    calls: list[ToolCall] | None = None
    data: Any = None


class Unreadable(ValueError):
    """A body that could not be decoded; the text is a short mark that says why."""


_STEP: Final = 64 * 1024
_PASSING: Final = frozenset(
    {
        *("id", "object", "created", "created_at", "model", "usage", "session_id", "timestamp"),
        *("system_fingerprint", "service_tier", "type", "role", "stop_reason", "stop_sequence"),
    }
)
"""Fields of the known forms that are neither text nor calls, and differ in every answer."""


def decoded(body: bytes, encoding: str | None, at_most: int) -> bytes:
    """The body without its content encoding. Raises `Unreadable` with a mark."""
    name = (encoding or "identity").strip().lower()
    if name in ("identity", ""):
        return body
    if name in ("gzip", "x-gzip", "deflate"):
        return _inflated(body, at_most)
    if name == "br" and brotli is not None:
        try:
            plain = bytes(brotli.decompress(body))
        except brotli.error:
            raise Unreadable("damaged br") from None
        if len(plain) > at_most:
            raise Unreadable("too large")
        return plain
    raise Unreadable(f"encoded as {name}")


def _inflated(body: bytes, at_most: int) -> bytes:
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        plain = inflate.decompress(body, at_most + 1)
    except zlib.error:
        raise Unreadable("damaged gzip") from None
    if len(plain) > at_most:
        raise Unreadable("too large")
    return plain


def read_answer(content_type: str, body: bytes) -> Said:
    """What an answer says. Raises `Unreadable` for what is neither JSON, events nor text."""
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == "text/event-stream":
            return _read_events(body)
        if kind == "application/json" or kind.endswith("+json"):
            return read_data(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unreadable("damaged JSON") from None
    except (AttributeError, TypeError):  # a known form by its names, another by its types
        raise Unreadable("of no known form") from None
    if kind.startswith("text/") or not kind:
        return Said(text=body.decode("utf-8", "replace"))
    raise Unreadable(kind)


def read_data(data: Any) -> Said:
    """What JSON says; data of no known form is all data."""
    if not isinstance(data, dict):
        return Said(data=data)
    for form in (_chat, _completion, _response, _message):
        said = form(data)
        if said is not None:
            return said
    return Said(data=data)


def _rest(data: dict[str, Any], *taken: str) -> dict[str, Any] | None:
    rest = {k: v for k, v in data.items() if k not in _PASSING and k not in taken}
    return rest or None


def _chat(data: dict[str, Any]) -> Said | None:
    """agent-chat: `content` is text."""
    if not isinstance(data.get("content"), str):
        return None
    calls = _made(data.get("tool_calls"))
    return Said(data["content"], calls, _rest(data, "content", "tool_calls"))


def _completion(data: dict[str, Any]) -> Said | None:
    """OpenAI chat: `choices`; what an agent did by itself may stand in `tool_calls_made`."""
    choices = data.get("choices")
    if not isinstance(choices, list):
        return None
    messages = [c.get("message") for c in choices if isinstance(c, dict)]
    messages = [m for m in messages if isinstance(m, dict)]
    text = "".join(str(m.get("content") or "") for m in messages)
    calls = _made(data.get("tool_calls_made"))
    for message in messages:
        for call in message.get("tool_calls") or ():
            calls = [*(calls or ()), _function(call)]
    return Said(text or None, calls, _rest(data, "choices", "tool_calls_made"))


def _response(data: dict[str, Any]) -> Said | None:
    """OpenAI responses: `output` items."""
    output = data.get("output")
    if data.get("object") != "response" or not isinstance(output, list):
        return None
    items = [item for item in output if isinstance(item, dict)]
    parts = [p for i in items if i.get("type") == "message" for p in i.get("content") or ()]
    text = "".join(str(p.get("text") or "") for p in parts if isinstance(p, dict))
    calls = [_item_call(i) for i in items if str(i.get("type", "")).endswith("_call")]
    return Said(text or None, calls or None, None)


def _message(data: dict[str, Any]) -> Said | None:
    """Anthropic: `content` blocks."""
    blocks = data.get("content")
    if data.get("type") != "message" or not isinstance(blocks, list):
        return None
    blocks = [block for block in blocks if isinstance(block, dict)]
    text = "".join(str(b.get("text") or "") for b in blocks if b.get("type") == "text")
    calls = [
        ToolCall(str(b.get("name")), _object(b.get("input")))
        for b in blocks
        if str(b.get("type", "")).endswith("tool_use")
    ]
    return Said(text or None, calls or None, _rest(data, "content"))


def _made(calls: Any) -> list[ToolCall] | None:
    """A list of calls as agents give it, with `tool` or `name`; None where there is no list."""
    if not isinstance(calls, list):
        return None
    return [
        ToolCall(str(c["tool"]), _object(c.get("arguments"))) if "tool" in c else _function(c)
        for c in calls
        if isinstance(c, dict)
    ]


def _function(call: Any) -> ToolCall:
    named = (call.get("function") or call.get("custom") or call) if isinstance(call, dict) else {}
    raw = named.get("arguments", named.get("input"))
    return ToolCall(str(named.get("name") or "?"), _object(raw))


def _item_call(item: dict[str, Any]) -> ToolCall:
    name = item.get("name") or str(item["type"]).removesuffix("_call")
    return ToolCall(str(name), _object(item.get("arguments", item.get("input"))))


def _object(raw: Any) -> Arguments:
    if isinstance(raw, str):
        try:
            raw = msgspec.json.decode(raw or "{}")
        except msgspec.DecodeError:
            return {"": raw}
    if raw is None:
        return {}
    return raw if isinstance(raw, dict) else {"": raw}


# --- streams


class _Stream:
    """Puts an answer together from its events."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.calls: list[ToolCall] | None = None
        self._open: dict[object, list[str]] = {}

    def add(self, event: dict[str, Any]) -> None:
        for choice in event.get("choices") or ():
            self._delta(choice)
        if (made := _made(event.get("tool_calls_made"))) is not None:
            self.calls = [*(self.calls or ()), *made]
        kind = str(event.get("type", ""))
        if kind == "content_block_start":
            block = event.get("content_block") or {}
            if str(block.get("type", "")).endswith("tool_use"):
                self._open[event.get("index")] = [str(block.get("name"))]
            self.text.append(str(block.get("text") or ""))
        elif kind == "content_block_delta":
            delta = event.get("delta") or {}
            self.text.append(str(delta.get("text") or ""))
            self._go_on(event.get("index"), delta.get("partial_json"))
        elif kind == "response.completed":
            said = _response(event.get("response") or {}) or Said()
            self.text, self.calls = [said.text or ""], said.calls

    def _delta(self, choice: Any) -> None:
        delta = choice.get("delta") or {} if isinstance(choice, dict) else {}
        self.text.append(str(delta.get("content") or ""))
        for at, call in enumerate(delta.get("tool_calls") or ()):
            place = (choice.get("index"), call.get("index", at))
            function = call.get("function") or {}
            if function.get("name"):
                self._open.setdefault(place, [str(function["name"])])
            self._go_on(place, function.get("arguments"))

    def _go_on(self, place: object, piece: Any) -> None:
        if piece and place in self._open:
            self._open[place].append(str(piece))

    def said(self) -> Said:
        calls = [ToolCall(name, _object("".join(parts))) for name, *parts in self._open.values()]
        return Said("".join(self.text) or None, [*(self.calls or ()), *calls] or self.calls)


def _read_events(body: bytes) -> Said:
    stream = _Stream()
    for event in _json_events(EventReader().feed(body)):
        stream.add(event)
    return stream.said()


def _json_events(events: Iterable[bytes]) -> Iterable[dict[str, Any]]:
    for event in events:
        try:
            data = msgspec.json.decode(event)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # `[DONE]`, or an event of another form
        if isinstance(data, dict):
            yield data
