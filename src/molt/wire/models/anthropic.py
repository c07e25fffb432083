"""Anthropic's messages. https://docs.anthropic.com/en/api/messages"""

from typing import Any, Final

import msgspec

from molt.wire.events import data_of, event
from molt.wire.models.base import (
    NOTHING,
    Asked,
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
from molt.wire.models.holding import Gathering, Line

_CLIENTS_OWN: Final = ("custom", "bash_", "text_editor_", "computer_", "memory_")
"""Types of tools that the client runs; all others the provider runs itself."""


_TEXT: Final = {"type": "text", "text": ""}


class _Tool(msgspec.Struct):
    type: str | None = None
    name: str | None = None


class _Block(msgspec.Struct):
    type: str = ""
    name: str | None = None
    input: msgspec.Raw = NOTHING


class _Answer(msgspec.Struct):
    content: list[_Block] | None = None


class _Delta(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    content_block: _Block | None = None
    delta: _Delta | None = None


_answer = msgspec.json.Decoder(_Answer)
_event = msgspec.json.Decoder(_Event)
_fields = msgspec.json.Decoder(Fields)


class _Messages:
    name = "messages"
    path = "/v1/messages"
    least = 1

    def read(self, body: bytes) -> Asked:
        fields = read_fields(body)
        tools = field(fields, "tools", list[_Tool], [])
        hosted = [
            tool.name or tool.type
            for tool in tools
            if tool.type is not None and not tool.type.startswith(_CLIENTS_OWN)
        ]
        if field(fields, "mcp_servers", list[Any], []):
            hosted.append("mcp")
        return Asked(
            fields,
            model_of(fields),
            field(fields, "stream", bool, False),
            limit_of(fields, "max_tokens"),
            estimate(body),
            hosted=tuple(hosted),
        )

    def limited(self, asked: Asked, most: int, field: str) -> bytes:
        return changed(asked.fields, max_tokens=most)

    def key(self, key: str) -> tuple[str, str]:
        return "x-api-key", key

    def error(self, kind: str, message: str) -> bytes:
        return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}})

    def calls(self, body: bytes) -> list[Made]:
        return [
            Made(block.name, _input(block))
            for block in _decoded(body).content or ()
            if block.type.endswith("tool_use") and block.name
        ]

    def refusal(self, body: bytes, why: str) -> bytes:
        content = [{"type": "text", "text": why}]
        return changed(_fields.decode(body), content=content, stop_reason="refusal")

    def passing(self, asked: Asked, weighed: Weighed = nothing_weighed) -> "_Passing":
        return _Passing(weighed)


def _input(block: _Block) -> str:
    return bytes(block.input).decode() if block.input != NOTHING else ""


def _decoded(body: bytes) -> _Answer:
    try:
        return _answer.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"not a message: {error}") from None


class _Passing:
    """Names come whole, with the block that calls; its input follows in pieces."""

    def __init__(self, weighed: Weighed) -> None:
        self.calls: list[Made] = []
        self.text = 0
        self.pieces = 0
        self._weighed = weighed
        self._gathering: dict[int, Gathering] = {}
        self._gathered: set[int] = set()
        self._line = Line[_Event]()
        self._open: list[int] = []
        self._next = 0

    def read(self, block: bytes) -> None:
        self.calls = []
        data = data_of(block)
        if not data:
            self._line.go(block)
            return
        try:
            said = _event.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unreadable(f"not an event of a message: {error}") from None
        self._take(said)
        if not self._gathering:
            self._line.follow(block, said)
        elif said.type == "ping":
            self._line.go(block, said)
        else:
            self._line.wait(block, said)

    def _take(self, said: _Event) -> None:
        if said.type == "content_block_delta":
            if said.delta is not None:
                self._add(said.index, said.delta)
        elif said.type == "content_block_start" and said.content_block is not None:
            self._begin(said.index, said.content_block)
        elif said.type == "content_block_stop":
            self._settle(said.index)
        elif said.type in ("message_delta", "message_stop"):
            self._settle(*self._gathering)
        elif said.type == "error":  # an answer that broke off: nobody carries out what it began
            self._gathering.clear()
            self._line.drop()

    def _add(self, index: int, delta: _Delta) -> None:
        size = joined((delta.text, delta.thinking, delta.partial_json))
        self.text += size
        self.pieces += size > 0
        if delta.partial_json:
            if index in self._gathering:
                self._gathering[index].pieces.append(delta.partial_json)
            elif index in self._gathered and delta.partial_json.strip():
                raise Unreadable("more of an input that had ended")

    def _begin(self, index: int, content: _Block) -> None:
        self._settle(index)
        self._gathered.discard(index)
        if not content.type.endswith("tool_use"):
            return
        name = content.name or content.type
        self.calls.append(Made(name))
        if self._weighed(name):
            given = self._gathering[index] = Gathering(name)
            if (text := _input(content)) not in ("", "{}"):
                given.whole.append(text)

    def _settle(self, *indexes: int) -> None:
        for index in indexes:
            if (gathering := self._gathering.pop(index, None)) is not None:
                self._gathered.add(index)
                self.calls += gathering.made()

    def skip(self, block: bytes) -> None:
        self._line.go(block)

    def release(self) -> bytes:
        return self._line.release(self._went)

    def _went(self, said: _Event) -> None:
        if said.type == "content_block_start":
            self._open.append(said.index)
            self._next = max(self._next, said.index + 1)
        elif said.type == "content_block_stop" and said.index in self._open:
            self._open.remove(said.index)

    def finish(self) -> None:
        self.calls = []
        self._settle(*self._gathering)
        self._line.drop()

    def cut(self, why: str) -> bytes:
        return self._close() + self._stop("max_tokens", why)

    def refuse(self, why: str) -> bytes:
        """The call never began for the client: its place is taken by the text."""
        at, text = self._next, {"type": "text_delta", "text": why}
        return b"".join(
            [
                self._close(),
                _send("content_block_start", index=at, content_block=_TEXT),
                _send("content_block_delta", index=at, delta=text),
                _send("content_block_stop", index=at),
                self._stop("refusal", why),
            ]
        )

    def fail(self, why: str) -> bytes:
        return event(MESSAGES.error("permission_error", why), b"error")

    def _close(self) -> bytes:
        still, self._open = self._open, []
        return b"".join(_send("content_block_stop", index=index) for index in still)

    def _stop(self, reason: str, why: str) -> bytes:
        return _send(
            "message_delta",
            delta={"stop_reason": reason, "stop_sequence": None},
            usage={"output_tokens": self.pieces},
            molt={"reason": reason, "message": why},
        ) + _send("message_stop")


def _send(kind: str, **values: Any) -> bytes:
    return event(msgspec.json.encode({"type": kind, **values}), kind.encode())


MESSAGES: Final = _Messages()
