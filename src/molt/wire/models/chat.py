"""OpenAI's chat completions. https://platform.openai.com/docs/api-reference/chat"""

from typing import Any, Final

import msgspec
from msgspec import Raw

from molt.wire.events import data_of, event
from molt.wire.models.base import (
    NOTHING,
    Asked,
    BadRequest,
    Fields,
    Made,
    Unreadable,
    changed,
    estimate,
    field,
    joined,
    limit_of,
    model_of,
    read_fields,
)

_LIMITS: Final = ("max_completion_tokens", "max_tokens")
_OWN_TOOLS: Final = frozenset({"function", "custom", ""})
DONE: Final = b"data: [DONE]\n\n"


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None
    input: str | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    custom: _Function | None = None


class _Message(msgspec.Struct):
    content: Any = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Raw = NOTHING
    error: Raw = NOTHING


class _Tool(msgspec.Struct):
    type: str = ""


_answer = msgspec.json.Decoder(_Answer)
_head = msgspec.json.Decoder(Fields)


class _Chat:
    name = "chat"
    path = "/v1/chat/completions"
    least = 1

    def read(self, body: bytes) -> Asked:
        fields = read_fields(body)
        choices = field(fields, "n", int, 1)
        if choices < 1:
            raise BadRequest("n: at least 1")
        limits = [most for name in _LIMITS if (most := limit_of(fields, name)) is not None]
        tools = field(fields, "tools", list[_Tool], [])
        hosted = [tool.type for tool in tools if tool.type not in _OWN_TOOLS]
        if "web_search_options" in fields:
            hosted.append("web_search")
        options = field(fields, "stream_options", dict[str, Any], {})
        return Asked(
            fields,
            model_of(fields),
            field(fields, "stream", bool, False),
            min(limits, default=None),
            estimate(body),
            choices,
            tuple(hosted),
            bool(options.get("include_usage")),
        )

    def limited(self, asked: Asked, most: int, field: str) -> bytes:
        names = [name for name in _LIMITS if limit_of(asked.fields, name) is not None] or [field]
        values: dict[str, Any] = dict.fromkeys(names, most)
        if asked.stream and not asked.wants_usage:
            options = asked.fields.get("stream_options")
            known = msgspec.json.decode(options) if options is not None else None
            values["stream_options"] = {**(known or {}), "include_usage": True}
        return changed(asked.fields, **values)

    def key(self, key: str) -> tuple[str, str]:
        return "authorization", f"Bearer {key}"

    def error(self, kind: str, message: str) -> bytes:
        error = {"message": message, "type": kind, "param": None, "code": kind}
        return msgspec.json.encode({"error": error})

    def calls(self, body: bytes) -> list[Made]:
        made: list[Made] = []
        for choice in _decoded(body).choices or ():
            message = choice.message
            if message is None:
                continue
            for call in message.tool_calls or ():
                made += _made(call.function or call.custom)
            made += _made(message.function_call)
        return made

    def refusal(self, body: bytes, why: str) -> bytes:
        answer, fields = _decoded(body), _head.decode(body)
        message = {"role": "assistant", "content": None, "refusal": why}
        choices = [
            {"index": choice.index, "message": message, "finish_reason": "content_filter"}
            for choice in answer.choices or [_Choice()]
        ]
        return changed(fields, choices=choices)

    def passing(self, asked: Asked) -> "_Passing":
        return _Passing(hide_usage=not asked.wants_usage)


def _decoded(body: bytes) -> _Answer:
    try:
        return _answer.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"not a chat completion: {error}") from None


def _made(function: _Function | None) -> list[Made]:
    if function is None or not function.name:
        return []
    return [Made(function.name, function.arguments or function.input)]


class _Name:
    """A tool's name, which may come in pieces; it is whole when its arguments begin."""

    __slots__ = ("id", "text", "whole")

    def __init__(self, id_: str | None) -> None:
        self.id = id_
        self.text = ""
        self.whole = False


class _Passing:
    """Holds events back while the name of a call is not whole."""

    def __init__(self, *, hide_usage: bool) -> None:
        self.named: list[str] = []
        self.text = 0
        self.pieces = 0
        self._hide_usage = hide_usage
        self._held: list[bytes] = []
        self._names: dict[tuple[int, object], _Name] = {}
        self._open: dict[int, bool] = {}
        self._first: bytes | None = None

    def read(self, block: bytes) -> bytes:
        self.named = []
        data = data_of(block)
        if not data or data == b"[DONE]":
            if data:
                self._settle_all()
            return self._release(block)
        answer = _decoded(data)
        if self._first is None and answer.choices:
            self._first = data
        if not answer.choices:
            hidden = self._hide_usage and answer.usage != NOTHING and answer.error == NOTHING
            return b"" if hidden else self._release(block)
        for choice in answer.choices:
            self._take(choice)
        if any(not name.whole for name in self._names.values()):
            self._held.append(block)
            return b""
        return self._release(block)

    def finish(self) -> bytes:
        self.named = []
        self._settle_all()
        return self._release(b"")

    def cut(self, why: str) -> bytes:
        return self._end({}, "length", why) + DONE

    def refuse(self, why: str) -> bytes:
        return self._end({"refusal": why}, "content_filter", why) + DONE

    def fail(self, why: str) -> bytes:
        return event(CHAT.error("molt_stopped", why)) + DONE

    def _take(self, choice: _Choice) -> None:
        self._open[choice.index] = choice.finish_reason is None
        said = choice.delta or choice.message
        if said is not None:
            content = said.content if isinstance(said.content, str) else None
            size = joined((content, said.refusal, said.reasoning_content))
            for at, call in enumerate(said.tool_calls or ()):
                place = at if call.index is None else call.index
                size += self._call(choice.index, place, call.id, call.function or call.custom)
            if said.function_call is not None:
                size += self._call(choice.index, "function_call", None, said.function_call)
            self.text += size
            self.pieces += size > 0
        if choice.finish_reason is not None:
            self._settle(choice.index)

    def _call(self, choice: int, place: object, id_: str | None, said: _Function | None) -> int:
        known = self._names.get((choice, place))
        # A new id with a name is a new call; some servers make up an id for each piece of one call.
        named = said is not None and bool(said.name)
        if known is None or (named and id_ and known.id and id_ != known.id):
            self._settle(choice)  # a further call: those before it are whole
            known = self._names[choice, place] = _Name(id_)
        if said is None:
            return 0
        arguments = said.arguments or said.input
        # Some servers say id and name again with each piece; pieces of a name come without the id.
        again = said.name == known.text and (known.whole or bool(id_ and id_ == known.id))
        if said.name and not (again and known.text):
            known.text += said.name
            if known.whole:  # more of a name that had seemed whole
                self.named.append(known.text)
        if arguments and not known.whole:
            self._complete(known)
        return joined((said.name, arguments))

    def _complete(self, name: _Name) -> None:
        name.whole = True
        if name.text:  # nobody can carry out a call without one
            self.named.append(name.text)

    def _settle(self, choice: int) -> None:
        for (of, _), name in self._names.items():
            if of == choice and not name.whole:
                self._complete(name)

    def _settle_all(self) -> None:
        for choice in {choice for choice, _ in self._names}:
            self._settle(choice)

    def _release(self, block: bytes) -> bytes:
        if not self._held:
            return block
        held, self._held = self._held, []
        return b"".join([*held, block])

    def _end(self, delta: dict[str, Any], reason: str, why: str) -> bytes:
        """A last chunk for each choice that is open, in the style of the first one."""
        self._held = []
        fields = _head.decode(self._first) if self._first else {}
        fields.pop("usage", None)
        choices = [at for at, is_open in self._open.items() if is_open] or [0]
        said = [
            {"index": at, "delta": delta, "finish_reason": reason, "logprobs": None}
            for at in choices
        ]
        return event(changed(fields, choices=said, molt={"reason": reason, "message": why}))


CHAT: Final = _Chat()
