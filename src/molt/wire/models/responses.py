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
    Weighed,
    changed,
    estimate,
    field,
    limit_of,
    model_of,
    nothing_weighed,
    read_fields,
)
from molt.wire.models.chat import CHAT
from molt.wire.models.holding import Gathering, Line

_OWN_TOOLS: Final = frozenset({"function", "custom", ""})
_BEGINS: Final = ("response.created", "response.queued", "response.in_progress")
_FAILED: Final = "response.failed"


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
    arguments: str | None = None
    input: Any = None
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

    def passing(self, asked: Asked, weighed: Weighed = nothing_weighed) -> "_Passing":
        return _Passing(weighed)


def _arguments(said: _Item | _Event) -> str:
    return said.arguments or (said.input if isinstance(said.input, str) else "")


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
    """Names come whole, with the item that calls; arguments in pieces, then whole with the item,
    and the last event repeats all items. Each text that could be taken for them is told once."""

    def __init__(self, weighed: Weighed) -> None:
        self.calls: list[Made] = []
        self.text = 0
        self.pieces = 0
        self._weighed = weighed
        self._named: set[tuple[int, str]] = set()
        self._gathering: dict[int, Gathering] = {}
        self._told: dict[int, list[Made]] = {}
        self._line = Line[_Event]()
        self._sequence = -1
        self._response: Fields = {}
        self._open: dict[int, Raw] = {}
        self._done: dict[int, Raw] = {}
        self._said: dict[int, list[str]] = {}

    def read(self, block: bytes) -> None:
        self.calls = []
        data = data_of(block)
        if not data:
            self._line.go(block)
            return
        if data == b"[DONE]":
            self._settle_all()
            self._line.follow(block)
            return
        said: _Event = _decoded(_event, data)
        self._take(said)
        if self._gathering:
            self._line.wait(block, said)
        else:
            self._line.follow(block, said)

    def _take(self, said: _Event) -> None:
        at = said.output_index
        if isinstance(said.delta, str) and said.delta:
            self.text += len(said.delta.encode())
            self.pieces += 1
            if at in self._gathering:
                self._gathering[at].pieces.append(said.delta)
            elif at in self._told and said.delta.strip():
                raise Unreadable("more of arguments that had ended")
        elif said.item != NOTHING:
            self._item(at, _decoded(_item, said.item), said.type == "response.output_item.done")
        elif said.response != NOTHING:
            answer: _Answer = _decoded(_answer, said.response)
            for at, item in enumerate(answer.output or ()):
                self._item(at, item, said.type not in _BEGINS)
            if said.type not in (*_BEGINS, _FAILED):
                self._settle_all()
        elif at in self._gathering and (text := _arguments(said)):
            self._gathering[at].whole.append(text)
        if said.type in ("error", _FAILED):  # nobody carries out what a broken answer began
            self._gathering.clear()
            self._line.drop()

    def _item(self, at: int, item: _Item, done: bool) -> None:
        name = item.called
        if name is None:
            return
        if (at, name) not in self._named:
            self._named.add((at, name))
            self.calls.append(Made(name))
        if not self._weighed(name):
            return
        text, gathering = _arguments(item), self._gathering.get(at)
        if gathering is None:
            if at in self._told and not text:
                return
            gathering = self._gathering[at] = Gathering(name)
        if text:
            gathering.whole.append(text)
        if done:
            self._settle(at)

    def _settle(self, at: int) -> None:
        told = self._told.setdefault(at, [])
        new = [made for made in self._gathering.pop(at).made() if made not in told]
        told += new
        self.calls += new

    def _settle_all(self) -> None:
        for at in list(self._gathering):
            self._settle(at)

    def skip(self, block: bytes) -> None:
        self._line.go(block)

    def release(self) -> bytes:
        return self._line.release(self._went)

    def _went(self, said: _Event) -> None:
        at = said.output_index
        self._sequence = max(self._sequence, said.sequence_number)
        if said.type == "response.output_text.delta":
            self._said.setdefault(at, []).append(str(said.delta))
        elif said.type == "response.output_item.done":
            self._open.pop(at, None)
            self._done[at] = said.item
        elif said.item != NOTHING:
            self._open[at] = said.item
        elif said.response != NOTHING:
            self._response = _decoded(_fields, said.response)

    def finish(self) -> None:
        self.calls = []
        self._settle_all()
        self._line.drop()

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
        """A message that declines, behind what was said so far; the call never began for the client."""
        done = [self._done[at] for at in sorted(self._done)]
        at = max([*self._done, *self._open], default=-1) + 1
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
