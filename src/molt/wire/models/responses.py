"""OpenAI's responses. https://platform.openai.com/docs/api-reference/responses"""

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
    limit_of,
    model_of,
    read_fields,
)
from molt.wire.models.chat import CHAT

_OWN_TOOLS: Final = frozenset({"function", "custom", ""})


class _Tool(msgspec.Struct):
    type: str = ""


class _Item(msgspec.Struct):
    type: str = ""
    id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: Any = None

    @property
    def called(self) -> str | None:
        """The tool that it calls; the provider's own (`web_search_call`) have only a type."""
        if not self.type.endswith("_call"):
            return None
        return self.name or self.type.removesuffix("_call")


class _Answer(msgspec.Struct):
    output: list[_Item] | None = None


class _Event(msgspec.Struct):
    type: str = ""
    sequence_number: int = 0
    output_index: int = 0
    content_index: int = 0
    item_id: str | None = None
    delta: Any = None
    item: Raw = NOTHING
    response: Raw = NOTHING


_answer = msgspec.json.Decoder(_Answer)
_item = msgspec.json.Decoder(_Item)
_event = msgspec.json.Decoder(_Event)
_fields = msgspec.json.Decoder(Fields)


class _Responses:
    name = "responses"
    path = "/v1/responses"
    least = 16

    def read(self, body: bytes) -> Asked:
        fields = read_fields(body)
        if field(fields, "background", bool, False):
            raise BadRequest(
                "background: an answer that is fetched later cannot be watched; ask without it"
            )
        tools = field(fields, "tools", list[_Tool], [])
        return Asked(
            fields,
            model_of(fields),
            field(fields, "stream", bool, False),
            limit_of(fields, "max_output_tokens"),
            estimate(body),
            hosted=tuple(tool.type for tool in tools if tool.type not in _OWN_TOOLS),
        )

    def limited(self, asked: Asked, most: int, field: str) -> bytes:
        return changed(asked.fields, max_output_tokens=most)

    def key(self, key: str) -> tuple[str, str]:
        return CHAT.key(key)

    def error(self, kind: str, message: str) -> bytes:
        return CHAT.error(kind, message)

    def calls(self, body: bytes) -> list[Made]:
        items = _decoded(_answer, body).output or []
        return [Made(name, _arguments(item)) for item in items if (name := item.called)]

    def refusal(self, body: bytes, why: str) -> bytes:
        return changed(_fields.decode(body), output=[_refusal(why)], status="completed")

    def passing(self, asked: Asked) -> "_Passing":
        return _Passing()


def _arguments(item: _Item) -> str | None:
    return item.arguments or (item.input if isinstance(item.input, str) else None)


def _decoded(decoder: Any, data: bytes | Raw) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"not a response: {error}") from None


def _refusal(why: str) -> dict[str, Any]:
    part = {"type": "refusal", "refusal": why}
    message = {"type": "message", "role": "assistant", "status": "completed"}
    return {**message, "id": "msg_molt", "content": [part]}


class _Passing:
    """Names come whole, with the item that calls; the last event repeats all items."""

    def __init__(self) -> None:
        self.named: list[str] = []
        self.text = 0
        self.pieces = 0
        self._sequence = -1
        self._response: Fields = {}
        self._open: dict[int, Raw] = {}
        self._done: dict[int, Raw] = {}
        self._said: dict[int, list[str]] = {}
        self._known: set[tuple[int, str]] = set()

    def read(self, block: bytes) -> bytes:
        self.named = []
        data = data_of(block)
        if not data or data == b"[DONE]":
            return block
        said: _Event = _decoded(_event, data)
        self._sequence = max(self._sequence, said.sequence_number)
        if isinstance(said.delta, str) and said.delta:
            self.text += len(said.delta.encode())
            self.pieces += 1
            if said.type == "response.output_text.delta":
                self._said.setdefault(said.output_index, []).append(said.delta)
        elif said.item != NOTHING:
            self._judge(said.output_index, _decoded(_item, said.item))
            if said.type == "response.output_item.done":
                self._open.pop(said.output_index, None)
                self._done[said.output_index] = said.item
            else:
                self._open[said.output_index] = said.item
        elif said.response != NOTHING:
            self._response = _decoded(_fields, said.response)
            answer: _Answer = _decoded(_answer, said.response)
            for at, item in enumerate(answer.output or ()):
                self._judge(at, item)
        return block

    def _judge(self, at: int, item: _Item) -> None:
        name = item.called
        if name is not None and (at, name) not in self._known:
            self._known.add((at, name))
            self.named.append(name)

    def finish(self) -> bytes:
        self.named = []
        return b""

    def cut(self, why: str) -> bytes:
        ends: list[bytes] = []
        output = dict(self._done)
        for at, raw in self._open.items():
            item: dict[str, Any] = msgspec.json.decode(raw)
            item["status"] = "incomplete"
            if item.get("type") == "message":
                ends += self._finish_text(at, item)
            ends.append(self._send("output_item.done", output_index=at, item=item))
            output[at] = Raw(msgspec.json.encode(item))
        ends.append(
            self._last(
                "incomplete",
                [output[at] for at in sorted(output)],
                incomplete_details={"reason": "max_output_tokens"},
                molt={"reason": "max_output_tokens", "message": why},
            )
        )
        return b"".join(ends)

    def _finish_text(self, at: int, item: dict[str, Any]) -> list[bytes]:
        text = "".join(self._said.get(at, ()))
        part = {"type": "output_text", "text": text, "annotations": []}
        item["content"] = [part]
        place = {"item_id": item.get("id"), "output_index": at, "content_index": 0}
        return [
            self._send("output_text.done", **place, text=text, logprobs=[]),
            self._send("content_part.done", **place, part=part),
        ]

    def refuse(self, why: str) -> bytes:
        """A message that declines, behind what was said so far; the call that was just named never
        began for the client."""
        never = {at for at, name in self._known if name in self.named}
        done = [self._done[at] for at in sorted(self._done.keys() - never)]
        at = max([*self._done, *self._open], default=0)
        item = _refusal(why)
        part = item["content"][0]
        place = {"item_id": item["id"], "output_index": at, "content_index": 0}
        begun = {**item, "status": "in_progress", "content": []}
        return b"".join(
            [
                self._send("output_item.added", output_index=at, item=begun),
                self._send("content_part.added", **place, part={**part, "refusal": ""}),
                self._send("refusal.delta", **place, delta=why),
                self._send("refusal.done", **place, refusal=why),
                self._send("content_part.done", **place, part=part),
                self._send("output_item.done", output_index=at, item=item),
                self._last("completed", [*done, item], molt={"reason": "refused", "message": why}),
            ]
        )

    def fail(self, why: str) -> bytes:
        error = {"type": "permission_error", "code": "molt_stopped", "message": why, "param": None}
        self._sequence += 1
        body = {**error, "type": "error", "error": error, "sequence_number": self._sequence}
        return event(msgspec.json.encode(body), b"error")

    def _send(self, kind: str, **values: Any) -> bytes:
        self._sequence += 1
        head = {"type": f"response.{kind}", "sequence_number": self._sequence}
        return event(msgspec.json.encode({**head, **values}), f"response.{kind}".encode())

    def _last(self, status: str, output: list[Any], **more: Any) -> bytes:
        body = changed(self._response, status=status, output=output, **more)
        return self._send(status, response=Raw(body))


RESPONSES: Final = _Responses()
