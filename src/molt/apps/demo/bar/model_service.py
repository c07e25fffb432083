"""`agent-model`: the bar's deterministic model behind OpenAI's chat completions, as a provider is.

It plays the same dialogue as the existing system. What was ordered so far it remembers by the
request's `user`, which names a conversation; a dialogue that waits for tool results goes on when they
come, found by the ids of its calls.
"""

import itertools
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from molt.apps.demo.bar import prompt
from molt.apps.demo.bar.desks import converse
from molt.apps.demo.bar.dialects import MODEL, BadRequest, Message, StreamOptions, models, pieces
from molt.apps.demo.bar.dialogue import Call, Memory, Steps
from molt.apps.demo.bar.serving import Latency
from molt.apps.demo.bar.voice import AGENT

CHARACTERS_PER_TOKEN = 4
MOST_CONVERSATIONS = 50_000
MOST_WAITING = 5_000


class ToolMessage(Message):
    """One message of the request; one with a tool's result says of which call."""

    tool_call_id: str = ""


class ModelBody(msgspec.Struct):
    """A chat completion request with tools."""

    messages: list[ToolMessage]
    model: str = MODEL
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str = ""
    max_completion_tokens: int | None = None
    max_tokens: int | None = None


@dataclass(slots=True)
class Waiting:
    """A dialogue whose calls have gone out; not `started` while only a forced call has."""

    ids: list[str]
    steps: Steps
    started: bool


@dataclass(slots=True)
class Said:
    """One answer of the model: words or calls, with its token counts."""

    text: str
    calls: list[tuple[str, Call]]
    tokens_in: int
    tokens_out: int
    finish: str

    def usage(self) -> dict[str, int]:
        """Token counts, under the names of OpenAI."""
        total = self.tokens_in + self.tokens_out
        return {
            "prompt_tokens": self.tokens_in,
            "completion_tokens": self.tokens_out,
            "total_tokens": total,
        }

    def tool_calls(self) -> list[dict[str, Any]]:
        """The calls in OpenAI's form."""
        return [
            {
                "index": number,
                "id": name,
                "type": "function",
                "function": {
                    "name": call.tool,
                    "arguments": msgspec.json.encode(call.arguments).decode(),
                },
            }
            for number, (name, call) in enumerate(self.calls)
        ]


class ModelService:
    """The model of all conversations."""

    def __init__(self, latency: Latency) -> None:
        self._latency = latency
        self._memories: OrderedDict[str, Memory] = OrderedDict()
        self._waiting: OrderedDict[str, Waiting] = OrderedDict()
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._read = msgspec.json.Decoder(ModelBody)
        self._calls = 0

    def app(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/v1/chat/completions", self._completion, methods=["POST"]),
            Route("/v1/models", self._models),
            Route("/stats", self._stats),
        ]
        handlers: dict[Any, Any] = {BadRequest: _refuse}
        return Starlette(routes=routes, exception_handlers=handlers)

    async def _completion(self, request: Request) -> Response:
        body = await request.body()
        try:
            asked = self._read.decode(body)
        except msgspec.DecodeError as error:
            raise BadRequest(f"the body is not a chat completion request: {error}") from None
        self._calls += 1
        await self._latency.wait()
        said = self._said(asked, len(body))
        head = {"id": f"chatcmpl-{next(self._numbers)}", "created": int(time.time())}
        head["model"] = asked.model
        if asked.stream:
            usage = asked.stream_options is not None and asked.stream_options.include_usage
            events = self._events(said, head | {"object": "chat.completion.chunk"}, usage)
            return StreamingResponse(events, media_type="text/event-stream")
        message: dict[str, Any] = {"role": "assistant", "content": said.text or None}
        if said.calls:
            message["tool_calls"] = said.tool_calls()
        choice = {"index": 0, "message": message, "finish_reason": said.finish}
        whole = {"object": "chat.completion", "choices": [choice], "usage": said.usage()}
        return Response(msgspec.json.encode(head | whole), media_type="application/json")

    def _said(self, asked: ModelBody, length: int) -> Said:
        most = asked.max_completion_tokens or asked.max_tokens
        next_words = self._next(asked)
        tokens_in = length // CHARACTERS_PER_TOKEN
        if isinstance(next_words, str):
            text, finish = next_words, "stop"
            if most is not None and len(text) > most * CHARACTERS_PER_TOKEN:
                text, finish = text[: most * CHARACTERS_PER_TOKEN], "length"
            return Said(text, [], tokens_in, max(1, len(text) // CHARACTERS_PER_TOKEN), finish)
        size = sum(len(msgspec.json.encode(c.arguments)) + len(c.tool) for _, c in next_words)
        tokens_out = max(1, size // CHARACTERS_PER_TOKEN)
        return Said("", next_words, tokens_in, tokens_out, "tool_calls")

    def _next(self, asked: ModelBody) -> list[tuple[str, Call]] | str:
        """What the dialogue wants next: calls with their ids, or its answer."""
        last = asked.messages[-1] if asked.messages else ToolMessage("")
        if last.role == "user":
            return self._begun(asked, last.text)
        results = {m.tool_call_id: _result(m.text) for m in asked.messages if m.role == "tool"}
        waiting = self._waiting.pop(_batch(last.tool_call_id), None)
        if waiting is None or not all(name in results for name in waiting.ids):
            raise BadRequest("messages end neither with the user's words nor with awaited results")
        if not waiting.started:
            return self._advance(waiting.steps, None)
        return self._advance(waiting.steps, [results[name] for name in waiting.ids])

    def _begun(self, asked: ModelBody, text: str) -> list[tuple[str, Call]] | str:
        told = " ".join(m.text for m in asked.messages if m.role in ("system", "developer"))
        brief = prompt.read(told)
        if brief is None:
            raise BadRequest("this model only knows the instructions of the bar's agents")
        steps = converse(brief.agent, text, self._memory(asked.user, brief), AGENT)
        if brief.first is not None:
            return self._await([brief.first], steps, started=False)
        return self._advance(steps, None)

    def _memory(self, conversation: str, brief: prompt.Brief) -> Memory:
        key = conversation or brief.cart_id
        memory = self._memories.setdefault(key, Memory(brief.cart_id))
        self._memories.move_to_end(key)
        if len(self._memories) > MOST_CONVERSATIONS:
            self._memories.popitem(last=False)
        memory.venue, memory.table, memory.user = brief.venue, brief.table, brief.user
        return memory

    def _advance(
        self, steps: Steps, results: list[dict[str, Any]] | None
    ) -> list[tuple[str, Call]] | str:
        try:
            calls = next(steps) if results is None else steps.send(results)
        except StopIteration as end:
            return str(end.value)
        return self._await(calls, steps, started=True)

    def _await(self, calls: list[Call], steps: Steps, started: bool) -> list[tuple[str, Call]]:
        batch = f"call_{self._prefix}{next(self._numbers)}"
        ids = [f"{batch}_{number}" for number in range(len(calls))]
        self._waiting[batch] = Waiting(ids, steps, started)
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popitem(last=False)
        return list(zip(ids, calls, strict=True))

    async def _events(self, said: Said, head: dict[str, Any], usage: bool) -> AsyncIterator[bytes]:
        def event(choices: list[Any], **more: Any) -> bytes:
            return b"data: " + msgspec.json.encode(head | {"choices": choices} | more) + b"\n\n"

        def delta(change: dict[str, Any], finish: str | None = None) -> bytes:
            return event([{"index": 0, "delta": change, "finish_reason": finish}])

        yield delta({"role": "assistant", "content": ""})
        if said.calls:
            yield delta({"tool_calls": said.tool_calls()})
        elif said.text:
            for piece in pieces(said.text):
                yield delta({"content": piece})
                await self._latency.wait(0.1)
        yield delta({}, said.finish)
        if usage:
            yield event([], usage=said.usage())
        yield b"data: [DONE]\n\n"

    async def _models(self, request: Request) -> Response:
        return Response(models(), media_type="application/json")

    async def _stats(self, request: Request) -> Response:
        return JSONResponse({"calls": self._calls, "conversations": len(self._memories)})


def _batch(call_id: str) -> str:
    return call_id.rpartition("_")[0]


def _result(text: str) -> dict[str, Any]:
    """A tool's result; what is no JSON object was a refusal."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return {"error": text}


async def _refuse(request: Request, error: Any) -> Response:
    return Response(error.body, status_code=error.status, media_type="application/json")
