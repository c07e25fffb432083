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
    changed,
    estimate,
    field,
    joined,
    limit_of,
    model_of,
    read_fields,
)

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
            Made(block.name, bytes(block.input).decode())
            for block in _decoded(body).content or ()
            if block.type.endswith("tool_use") and block.name
        ]

    def refusal(self, body: bytes, why: str) -> bytes:
        content = [{"type": "text", "text": why}]
        return changed(_fields.decode(body), content=content, stop_reason="refusal")

    def passing(self, asked: Asked) -> "_Passing":
        return _Passing()


def _decoded(body: bytes) -> _Answer:
    try:
        return _answer.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"not a message: {error}") from None


class _Passing:
    """Names come whole, with the block that calls."""

    def __init__(self) -> None:
        self.named: list[str] = []
        self.text = 0
        self.pieces = 0
        self._open: list[int] = []
        self._last = 0

    def read(self, block: bytes) -> bytes:
        self.named = []
        data = data_of(block)
        if not data:
            return block
        try:
            said = _event.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unreadable(f"not an event of a message: {error}") from None
        if said.type == "content_block_delta" and said.delta is not None:
            size = joined((said.delta.text, said.delta.thinking, said.delta.partial_json))
            self.text += size
            self.pieces += size > 0
        elif said.type == "content_block_start" and said.content_block is not None:
            self._begin(said.index, said.content_block)
        elif said.type == "content_block_stop" and said.index in self._open:
            self._open.remove(said.index)
        return block

    def _begin(self, index: int, content: _Block) -> None:
        if content.type.endswith("tool_use"):
            self.named.append(content.name or content.type)
        self._last = index
        self._open.append(index)

    def finish(self) -> bytes:
        self.named = []
        return b""

    def cut(self, why: str) -> bytes:
        return self._close() + self._stop("max_tokens", why)

    def refuse(self, why: str) -> bytes:
        """The call that was just named never began: its place is taken by the text."""
        if self._last in self._open:
            self._open.remove(self._last)
        text = {"type": "text_delta", "text": why}
        return b"".join(
            [
                self._close(),
                _send("content_block_start", index=self._last, content_block=_TEXT),
                _send("content_block_delta", index=self._last, delta=text),
                _send("content_block_stop", index=self._last),
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
