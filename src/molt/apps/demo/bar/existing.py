"""`existing-system`: the order service that the bar has run for years. Rules, one SQLite file, no model.

Speaks both dialects. What it says and does follows from the same understanding as the agent's, so
that the two differ as services and not as parsers.
"""

import re
import time
from pathlib import Path
from typing import Final

import msgspec
from starlette.types import Receive, Scope, Send

from molt.apps.demo.bar import dialects, voice
from molt.apps.demo.bar.counter import Counter, drive_result
from molt.apps.demo.bar.desks import converse
from molt.apps.demo.bar.dialects import Answer, Ask, BadRequest, Done
from molt.apps.demo.bar.serving import Latency
from molt.apps.demo.bar.sessions import Session, Sessions
from molt.apps.demo.bar.store import Books

COMPLETIONS: Final = re.compile(r"/agents/([^/]+)/v1/chat/completions")
JSON: Final = b"application/json"
MOST_BODY: Final = 1 << 20


class ExistingSystem:
    """The service over one database file, as a plain ASGI application: a framework would cost more
    than all of the work."""

    def __init__(self, database: Path, latency: Latency) -> None:
        self._books = Books(database)
        self._counter = Counter(self._books)
        self._sessions = Sessions(time.monotonic)
        self._latency = latency
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            status, content_type, body = await self._serve(scope, receive)
        except BadRequest as error:
            status, content_type, body = error.status, JSON, error.body
        headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send(
            {"type": "http.response.body", "body": body if scope["method"] != "HEAD" else b""}
        )

    async def _serve(self, scope: Scope, receive: Receive) -> tuple[int, bytes, bytes]:
        path: str = scope["path"]
        if scope["method"] == "POST":
            self._requests += 1
            if path == "/functions/v1/agent-chat":
                return await self._chat(receive)
            if match := COMPLETIONS.fullmatch(path):
                return await self._completion(match[1], scope, receive)
        elif path in ("/health", "/stats") or path.endswith("/v1/models"):
            return 200, JSON, self._about(path)
        raise BadRequest(f"there is no {scope['method']} {path} here", status=404)

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

    async def _chat(self, receive: Receive) -> tuple[int, bytes, bytes]:
        ask = dialects.read_chat(await _body(receive))
        await self._latency.wait()
        return 200, JSON, dialects.write_chat(self.answer(ask))

    async def _completion(
        self, agent: str, scope: Scope, receive: Receive
    ) -> tuple[int, bytes, bytes]:
        header = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        ask = dialects.read_completion(agent, await _body(receive), header)
        await self._latency.wait()
        answer, number = self.answer(ask), str(self._requests)
        if not ask.stream:
            return 200, JSON, dialects.write_completion(answer, number)
        chunks = dialects.Chunks(number, answer.model, ask.include_usage)
        said = b"".join(chunks.text(piece) for piece in dialects.pieces(answer.content))
        return 200, b"text/event-stream; charset=utf-8", said + chunks.end(answer)

    def _about(self, path: str) -> bytes:
        if path.endswith("/v1/models"):
            return dialects.models()
        if path == "/health":
            return msgspec.json.encode({"status": "ok", "service": "existing-system"})
        counts = self._books.counts()
        return msgspec.json.encode(
            {**counts, "requests": self._requests, "sessions": len(self._sessions)}
        )


async def _body(receive: Receive) -> bytes:
    """The whole body; raises `BadRequest` when the client goes away or sends too much."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise BadRequest("the client went away", status=499)
        body += message.get("body", b"")
        if len(body) > MOST_BODY:
            raise BadRequest("the body is too large", status=413)
        if not message.get("more_body", False):
            return body
