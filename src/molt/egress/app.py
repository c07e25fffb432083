"""The doors of the egress: which path is handled by whom."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from molt.egress.http import ClientGone, Message, Receive, Request, Send

log = structlog.get_logger(__name__)

Handler = Callable[[Request], Awaitable[None]]


def problem(kind: str, message: str) -> bytes:
    """The body of an error that belongs to no particular API."""
    return msgspec.json.encode({"error": {"type": kind, "message": message}})


class App:
    """An ASGI application. `at` opens a door at one path, `under` one for all below a prefix."""

    def __init__(self) -> None:
        self._exact: dict[str, Handler] = {}
        self._below: dict[str, Handler] = {}

    def at(self, path: str, handler: Handler) -> None:
        """Let `handler` answer requests for `path`."""
        self._exact[path] = handler

    def under(self, prefix: str, handler: Handler) -> None:
        """Let `handler` answer what begins with `prefix`; the longest prefix counts."""
        self._below[prefix] = handler

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive, send)
        try:
            await self._handler(request.path)(request)
        except ClientGone:
            pass
        except Exception as error:
            log.exception("egress_failed", path=request.path)
            if request.began:
                raise  # the connection is closed: an answer cut short must not look whole
            text = f"Molt's egress failed: {type(error).__name__}; its log says more"
            await request.answer(500, problem("internal_error", text))
        finally:
            request.close()

    def _handler(self, path: str) -> Handler:
        handler = self._exact.get(path)
        if handler is None:
            prefixes = [prefix for prefix in self._below if path.startswith(prefix)]
            handler = self._below[max(prefixes, key=len)] if prefixes else self._unknown
        return handler

    async def _unknown(self, request: Request) -> None:
        doors = ", ".join([*self._exact, *(f"{prefix}..." for prefix in self._below)])
        text = f"Molt's egress has no {request.method} {request.path}; it has: {doors}"
        await request.answer(404, problem("not_found", text))


def health(state: Callable[[], dict[str, Any]]) -> Handler:
    """A handler that tells the state of the process."""

    async def answer(request: Request) -> None:
        await request.answer(200, msgspec.json.encode(state()))

    return answer
