"""`existing-system`: the order service that the bar has run for years. Rules, one SQLite file, no model.

Speaks both dialects. What it says and does follows from the same understanding as the agent's, so
that the two differ as services and not as parsers.
"""

import time
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from molt.apps.demo.bar import dialects, voice
from molt.apps.demo.bar.counter import Counter, drive_result
from molt.apps.demo.bar.desks import converse
from molt.apps.demo.bar.dialects import Answer, Ask, BadRequest, Done
from molt.apps.demo.bar.serving import Latency
from molt.apps.demo.bar.sessions import Session, Sessions
from molt.apps.demo.bar.store import Books


class ExistingSystem:
    """The service over one database file."""

    def __init__(self, database: Path, latency: Latency) -> None:
        self._books = Books(database)
        self._counter = Counter(self._books)
        self._sessions = Sessions(time.monotonic)
        self._latency = latency
        self._requests = 0

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/functions/v1/agent-chat", self._chat, methods=["POST"]),
                Route("/agents/{agent}/v1/chat/completions", self._completion, methods=["POST"]),
                Route("/agents/{agent}/v1/models", self._models),
                Route("/v1/models", self._models),
                Route("/health", self._health),
                Route("/stats", self._stats),
            ],
            exception_handlers={BadRequest: _refuse},
        )

    def answer(self, ask: Ask) -> Answer:
        """What the service says to one request, and what it did in its books."""
        session = self._sessions.find(ask)
        if not session.memory.venue:
            return Answer(voice.NO_VENUE, session.id)
        answer = self._converse(ask, session)
        self._sessions.remember(session, ask, answer.content)
        return answer

    def _converse(self, ask: Ask, session: Session) -> Answer:
        done: list[Done] = []
        steps = converse(ask.agent, ask.text, session.memory, voice.OLD_SYSTEM)
        try:
            calls = next(steps)
            while True:
                made = [
                    Done(c.tool, c.arguments, drive_result(self._counter, c.tool, c.arguments))
                    for c in calls
                ]
                done += made
                calls = steps.send([call.result for call in made])
        except StopIteration as end:
            return Answer(end.value, session.id, done, model="rules")

    async def _chat(self, request: Request) -> Response:
        self._requests += 1
        ask = dialects.read_chat(await request.body())
        await self._latency.wait()
        return _json(dialects.write_chat(self.answer(ask)))

    async def _completion(self, request: Request) -> Response:
        self._requests += 1
        header = {
            name: request.headers.get(name, "")
            for name in ("x-session-id", "x-user-id", "x-venue-id")
        }
        ask = dialects.read_completion(request.path_params["agent"], await request.body(), header)
        await self._latency.wait()
        answer = self.answer(ask)
        if not ask.stream:
            return _json(dialects.write_completion(answer, str(self._requests)))
        chunks = dialects.Chunks(str(self._requests), answer.model, ask.include_usage)
        body = b"".join(
            chunks.text(piece) for piece in dialects.pieces(answer.content)
        ) + chunks.end(answer)
        return StreamingResponse(iter([body]), media_type="text/event-stream")

    async def _models(self, request: Request) -> Response:
        return _json(dialects.models())

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok", "service": "existing-system"})

    async def _stats(self, request: Request) -> Response:
        return JSONResponse(
            {**self._books.counts(), "requests": self._requests, "sessions": len(self._sessions)}
        )


def existing_system(database: Path, latency: Latency) -> Starlette:
    """The service's ASGI application over `database`."""
    return ExistingSystem(database, latency).app()


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


async def _refuse(request: Request, error: Any) -> Response:
    return Response(error.body, status_code=error.status, media_type="application/json")
