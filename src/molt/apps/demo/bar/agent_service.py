"""`agent-chat`: the agent behind HTTP, in both dialects."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from pydantic_ai.exceptions import AgentRunError
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from molt.apps.demo.bar import dialects, voice
from molt.apps.demo.bar.agent_settings import AgentSettings
from molt.apps.demo.bar.brain import Brain
from molt.apps.demo.bar.crash import Answered, Crash
from molt.apps.demo.bar.dialects import Answer, Ask, BadRequest
from molt.apps.demo.bar.faults import Faults
from molt.apps.demo.bar.run import Overloaded, Run, RunClosed, ToolsUnreachable
from molt.apps.demo.bar.serving import Latency
from molt.apps.demo.bar.sessions import Session, Sessions


class AgentService:
    """The HTTP side of the agent."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._latency = Latency(settings.latency_ms)
        self._brain: Brain
        self._live = Sessions(time.monotonic, settings.session_ttl)
        self._shadow = Sessions(time.monotonic, settings.session_ttl)
        self._faults = Faults()
        self._crash = Crash()
        self._numbers = itertools.count(1)
        self._running = 0

    def app(self) -> ASGIApp:
        """The ASGI application; every answer carries x-agent-version."""
        routes = [
            Route("/functions/v1/agent-chat", self._chat, methods=["POST"]),
            Route("/agents/{agent}/v1/chat/completions", self._completion, methods=["POST"]),
            Route("/agents/{agent}/v1/models", self._models),
            Route("/v1/models", self._models),
            Route("/health", self._health),
            Route("/stats", self._stats),
        ]
        if self._settings.allow_faults:
            routes.append(Route("/_fault", self._fault, methods=["POST"]))
        handlers: dict[Any, Any] = {
            BadRequest: _refuse,
            RunClosed: _closed,
            ToolsUnreachable: _broken,
            AgentRunError: _broken,
            Overloaded: _overloaded,
        }
        app = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)
        return Answered(Versioned(app, self._settings.version), self._crash)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self._brain = Brain(self._settings, self._crash.before_action)
        try:
            yield
        finally:
            await self._brain.close()

    async def _chat(self, request: Request) -> Response:
        ask = dialects.read_chat(await request.body())
        if (struck := await self._struck()) is not None:
            return struck
        session, run = self._begin(ask, request)
        async with self._place(), session.turn:
            answer = await self._answer(ask, session, run)
        return Response(
            dialects.write_chat(answer), media_type="application/json", headers=run.headers()
        )

    async def _completion(self, request: Request) -> Response:
        header = {
            name: request.headers.get(name, "")
            for name in ("x-session-id", "x-user-id", "x-venue-id")
        }
        ask = dialects.read_completion(request.path_params["agent"], await request.body(), header)
        if (struck := await self._struck()) is not None:
            return struck
        session, run = self._begin(ask, request)
        number = f"{session.id}-{next(self._numbers)}"
        async with self._place(), session.turn:
            if ask.stream:
                return await self._streamed(ask, session, run, number)
            answer = await self._answer(ask, session, run)
        body = dialects.write_completion(answer, number)
        return Response(body, media_type="application/json", headers=run.headers())

    async def _streamed(self, ask: Ask, session: Session, run: Run, number: str) -> Response:
        """An SSE answer. It begins with the model's first word: all tools have then been called."""
        if self._plain(ask) is not None:
            pieces = _spoken(await self._answer(ask, session, run))
        else:
            pieces = self._brain.stream(ask.text, session, run, self._faults.oversteps)
        first = await anext(pieces)
        chunks = dialects.Chunks(number, ask.model, ask.include_usage)

        async def events() -> AsyncIterator[bytes]:
            item: str | Answer | None = first
            while item is not None:
                if isinstance(item, Answer):
                    yield chunks.end(self._finish(ask, session, run, item))
                    return
                yield chunks.text(item)
                item = await anext(pieces, None)

        return StreamingResponse(events(), media_type="text/event-stream", headers=run.headers())

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """A place among the runs that are worked on; raises `Overloaded` when all are taken.

        To queue without bound would make every guest wait until nobody is served in time.
        """
        if self._running >= self._settings.most_runs:
            raise Overloaded(f"{self._running} runs are being worked on; try again in a moment")
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def _begin(self, ask: Ask, request: Request) -> tuple[Session, Run]:
        """The conversation and the run. What was only tried in shadow is never remembered in live ones."""
        shadow = request.headers.get("x-molt-mode") == "shadow"
        session = self._shadow.find(ask, adopt=True) if shadow else self._live.find(ask)
        run = Run.of(ask.agent, session.memory, request.headers, self._settings.ignore_shadow)
        request.state.run = run
        return session, run

    def _plain(self, ask: Ask) -> str | None:
        """An answer that needs no model, or None."""
        if self._faults.rude:
            return voice.RUDE
        return None if ask.venue else voice.NO_VENUE

    async def _answer(self, ask: Ask, session: Session, run: Run) -> Answer:
        plain = self._plain(ask)
        if plain is not None:
            await self._latency.wait()
            return Answer(
                plain,
                session.id,
                input_tokens=len(ask.text) // 4 + 1,
                output_tokens=len(plain) // 4,
            )
        answer = await self._brain.answer(ask.text, session, run, self._faults.oversteps)
        return self._finish(ask, session, run, answer)

    def _finish(self, ask: Ask, session: Session, run: Run, answer: Answer) -> Answer:
        (self._shadow if run.mode == "shadow" else self._live).remember(
            session, ask, answer.content
        )
        answer.input_tokens *= self._faults.factor
        answer.output_tokens *= self._faults.factor
        return answer

    async def _struck(self) -> Response | None:
        """A failure that the switched-on fault wants, before any tool has run; else None, after its delay."""
        if self._faults.delay:
            await asyncio.sleep(self._faults.delay)
        if not self._faults.strikes():
            return None
        body = {"error": {"message": "the agent failed", "type": "server_error"}}
        return JSONResponse(
            body, status_code=500, headers={"x-agent-actions": "none", "x-agent-tools": ""}
        )

    async def _fault(self, request: Request) -> Response:
        try:
            order = self._faults.switch(await request.body())
        except (msgspec.DecodeError, ValueError) as error:
            return JSONResponse({"error": {"message": str(error)}}, status_code=400)
        if order.kind == "down":
            self._crash.order()
        return JSONResponse({"fault": order.kind})

    async def _models(self, request: Request) -> Response:
        return Response(dialects.models(), media_type="application/json")

    async def _health(self, request: Request) -> Response:
        body = {"status": "ok", "service": "agent-chat", "version": self._settings.version}
        return JSONResponse(body | {"model": self._settings.model})

    async def _stats(self, request: Request) -> Response:
        return JSONResponse({"sessions": len(self._live), "shadow_sessions": len(self._shadow)})


class Versioned:
    """Adds x-agent-version to every answer, refusals and failures included."""

    def __init__(self, app: ASGIApp, version: str) -> None:
        self._app = app
        self._version = version

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-agent-version"] = self._version
            await send(message)

        await self._app(scope, receive, tagged)


def agent_chat(settings: AgentSettings) -> ASGIApp:
    """The agent's ASGI application."""
    return AgentService(settings).app()


async def _spoken(answer: Answer) -> AsyncIterator[str | Answer]:
    for piece in dialects.pieces(answer.content):
        yield piece
    yield answer


async def _refuse(request: Request, error: Any) -> Response:
    return Response(error.body, status_code=error.status, media_type="application/json")


async def _closed(request: Request, error: Exception) -> Response:
    return _failed(request, error, 409, "run_closed")


async def _overloaded(request: Request, error: Exception) -> Response:
    return _failed(request, error, 503, "overloaded")


async def _broken(request: Request, error: Exception) -> Response:
    return _failed(request, error, 502, "agent_error")


def _failed(request: Request, error: Exception, status: int, kind: str) -> Response:
    """A failure that says what had been done by then, for whoever must decide about another try."""
    body = {"error": {"message": str(error), "type": kind}}
    return JSONResponse(body, status_code=status, headers=request.state.run.headers())
