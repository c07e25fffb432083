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
    Weighed,
    changed,
    estimate,
    field,
    joined,
    limit_of,
    model_of,
    nothing_weighed,
    read_fields,
)
from molt.wire.models.growth import Growth, Place
from molt.wire.models.holding import Line

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

    def passing(self, asked: Asked, weighed: Weighed = nothing_weighed) -> "_Passing":
        return _Passing(weighed, hide_usage=not asked.wants_usage)


def _decoded(body: bytes) -> _Answer:
    try:
        return _answer.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"not a chat completion: {error}") from None


def _made(function: _Function | None) -> list[Made]:
    if function is None or not function.name:
        return []
    return [Made(function.name, function.arguments or function.input or "")]


class _Passing:
    """Holds the events of a choice back while a call in it grows."""

    def __init__(self, weighed: Weighed, *, hide_usage: bool) -> None:
        self.calls: list[Made] = []
        self.text = 0
        self.pieces = 0
        self._hide_usage = hide_usage
        self._growth = Growth(weighed)
        self._line = Line[list[int]]()
        self._held: set[int] = set()
        self._open: dict[int, bool] = {}
        self._first: bytes | None = None

    def read(self, block: bytes) -> None:
        self.calls = self._growth.told = []
        data = data_of(block)
        if not data:
            self._line.go(block)
            return
        if data == b"[DONE]":
            self._growth.end()
            self._line.follow(block)
            return
        answer = _decoded(data)
        if not answer.choices:
            self._without_choices(block, answer)
            return
        if self._first is None:
            self._first = data
        ended: list[int] | None = None
        for choice in answer.choices:
            self._take(choice)
            if choice.finish_reason is not None:
                self._growth.end(choice.index)
                ended = [*(ended or ()), choice.index]
        if self._growth.growing:
            self._hold(block, {choice.index for choice in answer.choices}, ended)
        else:
            self._held.clear()
            self._line.follow(block, ended)

    def _without_choices(self, block: bytes, answer: _Answer) -> None:
        if answer.error != NOTHING:
            self._growth.drop()
            self._line.drop()
        elif self._hide_usage and answer.usage != NOTHING:
            return
        self._line.go(block)

    def _hold(self, block: bytes, about: set[int], ended: list[int] | None) -> None:
        """Let events about other choices pass."""
        if about & self._held or any(choice in about for choice, _ in self._growth.growing):
            self._held |= about
            self._line.wait(block, ended)
        else:
            self._line.go(block, ended)

    def skip(self, block: bytes) -> None:
        self._line.go(block)

    def release(self) -> bytes:
        return self._line.release(self._went)

    def _went(self, ended: list[int]) -> None:
        for choice in ended:
            self._open[choice] = False

    def finish(self) -> None:
        self.calls = self._growth.told = []
        self._growth.end()
        self._line.drop()

    def cut(self, why: str) -> bytes:
        return self._end({}, "length", why) + DONE

    def refuse(self, why: str) -> bytes:
        return self._end({"refusal": why}, "content_filter", why) + DONE

    def fail(self, why: str) -> bytes:
        return event(CHAT.error("molt_stopped", why)) + DONE

    def _take(self, choice: _Choice) -> None:
        self._open.setdefault(choice.index, True)
        said = choice.delta or choice.message
        if said is not None:
            content = said.content if isinstance(said.content, str) else None
            size = joined((content, said.refusal, said.reasoning_content))
            for at, call in enumerate(said.tool_calls or ()):
                place = choice.index, at if call.index is None else call.index
                size += self._call(place, call.id, call.function or call.custom)
            if said.function_call is not None:
                size += self._call((choice.index, "function_call"), None, said.function_call)
            self.text += size
            self.pieces += size > 0

    def _call(self, place: Place, id_: str | None, said: _Function | None) -> int:
        name, arguments = (said.name, said.arguments or said.input) if said else (None, None)
        self._growth.add(place, id_, name, arguments)
        return joined((name, arguments))

    def _end(self, delta: dict[str, Any], reason: str, why: str) -> bytes:
        """A last chunk for each choice that is open, in the style of the first one."""
        fields = _head.decode(self._first) if self._first else {}
        fields.pop("usage", None)
        choices = [at for at, is_open in self._open.items() if is_open] or [0]
        said = [
            {"index": at, "delta": delta, "finish_reason": reason, "logprobs": None}
            for at in choices
        ]
        return event(changed(fields, choices=said, molt={"reason": reason, "message": why}))


CHAT: Final = _Chat()
