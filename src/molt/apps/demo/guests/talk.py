"""One sentence to the service and what came back, in either dialect."""

from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

CHAT, OPENAI, STREAM = "agent-chat", "openai", "openai-stream"
JSON = {"content-type": "application/json"}


@dataclass(slots=True)
class Reply:
    """What a guest got. `status` 0 means that no answer came; `broken` that it made no sense."""

    status: int
    text: str = ""
    session_id: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    broken: str = ""

    @property
    def limited(self) -> bool:
        """True when the guest was asked to come more slowly."""
        return self.status == 429

    @property
    def failed(self) -> bool:
        """True when the guest was failed: an error, no answer, or one without sense."""
        return not self.limited and (self.status != 200 or bool(self.broken))


class _Call(msgspec.Struct):
    tool: str
    result: Any = None
    dry_run: bool = False


class _Chat(msgspec.Struct):
    content: str
    session_id: str
    tool_calls: list[_Call] = []


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    delta: _Message | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    session_id: str = ""
    tool_calls_made: list[_Call] = []


_chat = msgspec.json.Decoder(_Chat)
_completion = msgspec.json.Decoder(_Completion)


@dataclass(slots=True)
class Line:
    """One conversation's connection to the service: who speaks, to whom, and what was said."""

    http: aiohttp.ClientSession
    url: str
    agent: str
    user: str
    venue: str
    table: str
    dialect: str
    session_id: str = ""
    said: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    async def say(self, text: str) -> Reply:
        """The reply to one sentence; failures of the connection are replies too, never raised."""
        path, body = self._request(text)
        try:
            async with self.http.post(
                self.url + path, data=msgspec.json.encode(body), headers=JSON
            ) as answer:
                content = await answer.read()
                reply = self._read(answer.status, content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Reply(0, broken=f"{type(error).__name__}: {error}")
        self.session_id = self.session_id or (reply.session_id if self.dialect == CHAT else "")
        self.said += [
            {"role": "user", "content": text},
            {"role": "assistant", "content": reply.text},
        ]
        return reply

    def _request(self, text: str) -> tuple[str, dict[str, Any]]:
        if self.dialect == CHAT:
            context = {"venue_id": self.venue, "table_no": self.table, "user_id": self.user}
            body: dict[str, Any] = {"message": text, "agent_type": self.agent, "context": context}
            return "/functions/v1/agent-chat", body | (
                {"session_id": self.session_id} if self.session_id else {}
            )
        messages = [*self.said, {"role": "user", "content": text}]
        body = {"model": "gpt-4o-mini", "messages": messages, "user": self.user}
        if self.dialect == STREAM:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return f"/agents/{self.agent}/v1/chat/completions", body

    def _read(self, status: int, content: bytes) -> Reply:
        if status != 200:
            return Reply(status, broken=content[:200].decode(errors="replace"))
        try:
            reply = (
                _read_chat(content)
                if self.dialect == CHAT
                else _read_completion(content, self.dialect == STREAM)
            )
        except (msgspec.DecodeError, ValueError) as error:
            return Reply(status, broken=f"{error}: {content[:200]!r}")
        if not reply.text.strip():
            reply.broken = "an empty answer"
        return reply


def _read_chat(content: bytes) -> Reply:
    answer = _chat.decode(content)
    return Reply(
        200,
        answer.content,
        answer.session_id,
        [msgspec.structs.asdict(c) for c in answer.tool_calls],
    )


def _read_completion(content: bytes, stream: bool) -> Reply:
    """A completion, or the sum of a stream of chunks; raises ValueError when a stream ends early."""
    if not stream:
        return _reply([_completion.decode(content)])
    events = [line[6:] for line in content.split(b"\n") if line.startswith(b"data: ")]
    if not events or events[-1].strip() != b"[DONE]":
        raise ValueError("the stream ended early")
    return _reply([_completion.decode(event) for event in events[:-1]])


def _reply(parts: list[_Completion]) -> Reply:
    reply = Reply(200)
    for part in parts:
        said = [choice.message or choice.delta for choice in part.choices]
        reply.text += "".join(message.content or "" for message in said if message)
        reply.session_id = part.session_id or reply.session_id
        reply.calls += [msgspec.structs.asdict(call) for call in part.tool_calls_made]
    return reply
