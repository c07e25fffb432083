"""The two dialects that both services speak, as bytes in and bytes out.

agent-chat: POST /functions/v1/agent-chat. OpenAI: POST /agents/{agent}/v1/chat/completions, whose
plain requests have no venue and no session: the venue is then the house's first, and the session is
found by what was said before (see `sessions`).
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from molt.apps.demo.bar.desks import AGENT_TOOLS
from molt.apps.demo.bar.menu import VENUES

MODEL = "gpt-4o-mini"
"""The model name on answers of the offline model; a name with a known price."""


class Context(msgspec.Struct):
    """Where and for whom an agent-chat request is made."""

    venue_id: str = ""
    table_no: str | int = ""
    user_id: str = ""


class ChatBody(msgspec.Struct):
    """An agent-chat request."""

    message: str
    agent_type: str = ""
    session_id: str | None = None
    context: Context = msgspec.field(default_factory=Context)


class TextPart(msgspec.Struct):
    """A part of an OpenAI message; parts that are not text are passed over."""

    type: str = ""
    text: str = ""


class Message(msgspec.Struct):
    """One message of an OpenAI conversation."""

    role: str
    content: str | list[TextPart] | None = None

    @property
    def text(self) -> str:
        """The message's words."""
        if isinstance(self.content, list):
            return " ".join(part.text for part in self.content if part.type == "text")
        return self.content or ""


class StreamOptions(msgspec.Struct):
    """OpenAI's stream_options."""

    include_usage: bool = False


class CompletionBody(msgspec.Struct):
    """An OpenAI chat completion request, as far as the bar needs it."""

    messages: list[Message]
    model: str = MODEL
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str = ""
    metadata: dict[str, str] = {}


@dataclass(slots=True)
class Ask:
    """One request in either dialect."""

    agent: str
    text: str
    venue: str
    session_id: str = ""
    user: str = ""
    table: str = ""
    transcript: tuple[tuple[str, str], ...] | None = None
    stream: bool = False
    include_usage: bool = False
    model: str = MODEL


@dataclass(slots=True)
class Done:
    """One tool call that was made (or, in shadow, would have been)."""

    tool: str
    arguments: dict[str, Any]
    result: Any
    dry_run: bool = False

    def data(self) -> dict[str, Any]:
        """As answers show it."""
        shown = {"tool": self.tool, "arguments": self.arguments, "result": self.result}
        return shown | {"dry_run": True} if self.dry_run else shown


@dataclass(slots=True)
class Answer:
    """One answer, before it is put in a dialect."""

    content: str
    session_id: str
    calls: list[Done] = field(default_factory=list[Done])
    input_tokens: int = 0
    output_tokens: int = 0
    model: str = MODEL


class BadRequest(Exception):
    """A request that cannot be understood: an HTTP status and what to tell the client."""

    def __init__(self, message: str, status: int = 400, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = msgspec.json.encode(
            {"error": {"message": message, "type": "invalid_request_error", **more}}
        )


_chat = msgspec.json.Decoder(ChatBody)
_completion = msgspec.json.Decoder(CompletionBody)


def read_chat(body: bytes) -> Ask:
    """An agent-chat request; raises `BadRequest`. A missing venue is left empty, to be asked for."""
    try:
        chat = _chat.decode(body)
    except msgspec.DecodeError as error:
        raise BadRequest(f"the body is not an agent-chat request: {error}") from None
    where = chat.context
    return Ask(
        agent=known_agent(chat.agent_type),
        text=chat.message,
        venue=where.venue_id,
        session_id=chat.session_id or "",
        user=where.user_id,
        table=str(where.table_no),
    )


def read_completion(agent: str, body: bytes, header: dict[str, str]) -> Ask:
    """An OpenAI request; raises `BadRequest`. `header` holds x-session-id, x-user-id and x-venue-id."""
    try:
        asked = _completion.decode(body)
    except msgspec.DecodeError as error:
        raise BadRequest(f"the body is not a chat completion request: {error}") from None
    if not asked.messages or asked.messages[-1].role != "user":
        raise BadRequest("messages must end with a message of role user")
    known_agent(agent)
    spoken = [m for m in asked.messages if m.role in ("user", "assistant") and m.text]
    if not spoken or not asked.messages[-1].text:
        raise BadRequest("the last message holds no text")
    session = header.get("x-session-id") or asked.metadata.get("session_id", "")
    return Ask(
        agent=agent,
        text=asked.messages[-1].text,
        venue=header.get("x-venue-id") or asked.metadata.get("venue_id", VENUES[0].id),
        session_id=session,
        user=asked.user or header.get("x-user-id", ""),
        table=asked.metadata.get("table_no", ""),
        transcript=None if session else tuple((m.role, m.text) for m in spoken[:-1]),
        stream=asked.stream,
        include_usage=asked.stream_options is not None and asked.stream_options.include_usage,
        model=asked.model,
    )


def known_agent(agent: str) -> str:
    """`agent`; raises `BadRequest` with the known types when it is none of them."""
    if agent not in AGENT_TOOLS:
        known = list(AGENT_TOOLS)
        raise BadRequest(
            f"unknown agent type {agent!r}; known are {', '.join(known)}", known_agent_types=known
        )
    return agent


def write_chat(answer: Answer) -> bytes:
    """The agent-chat answer."""
    return msgspec.json.encode(
        {
            "content": answer.content,
            "tool_calls": [call.data() for call in answer.calls],
            "usage": usage(answer) | {"model": answer.model},
            "session_id": answer.session_id,
        }
    )


def write_completion(answer: Answer, number: str) -> bytes:
    """The chat.completion object; the calls the agent made itself stand in `tool_calls_made`."""
    message = {"role": "assistant", "content": answer.content, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    head = {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": int(time.time())}
    made = {
        "session_id": answer.session_id,
        "tool_calls_made": [call.data() for call in answer.calls],
    }
    return msgspec.json.encode(
        {**head, "model": answer.model, "choices": [choice], "usage": usage(answer), **made}
    )


class Chunks:
    """A chat.completion.chunk stream: `text` for each piece of content, `end` once."""

    def __init__(self, number: str, model: str, include_usage: bool) -> None:
        self._head = {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
        }
        self._head["model"] = model
        self._include_usage = include_usage
        self._first = True

    def text(self, piece: str) -> bytes:
        """One event with a piece of content."""
        delta = {"role": "assistant", "content": piece} if self._first else {"content": piece}
        self._first = False
        return self._event([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}])

    def end(self, answer: Answer) -> bytes:
        """The last events: the finish, the usage when it was asked for, and [DONE]."""
        made = [call.data() for call in answer.calls]
        finish = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
        events = self._event([finish], session_id=answer.session_id, tool_calls_made=made)
        if self._include_usage:
            events += self._event([], usage=usage(answer))
        return events + b"data: [DONE]\n\n"

    def _event(self, choices: list[Any], **more: Any) -> bytes:
        nothing_yet = {"usage": None} if self._include_usage and "usage" not in more else {}
        return (
            b"data: "
            + msgspec.json.encode({**self._head, "choices": choices, **nothing_yet, **more})
            + b"\n\n"
        )


def usage(answer: Answer) -> dict[str, Any]:
    """Token counts, under the names of OpenAI."""
    total = answer.input_tokens + answer.output_tokens
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": total,
    }


def pieces(text: str, words: int = 3) -> Iterator[str]:
    """`text` in pieces of a few words, which together are `text` again."""
    parts = text.split(" ")
    for start in range(0, len(parts), words):
        piece = " ".join(parts[start : start + words])
        yield piece if start == 0 else " " + piece


def models() -> bytes:
    """The answer of GET /v1/models."""
    created = 1_700_000_000
    data = [{"id": MODEL, "object": "model", "created": created, "owned_by": "bar"}]
    return msgspec.json.encode({"object": "list", "data": data})
