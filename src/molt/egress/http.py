"""One request of an agent, over ASGI: just what the egress needs of HTTP."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

JSON: Final = (b"content-type", b"application/json")
RUN_HEADER: Final = b"x-molt-run"


class BodyTooLarge(Exception):
    """The request's body has more bytes than it may."""


class ClientGone(Exception):
    """The client went away before its request was whole."""


class Request:
    """A request, and the way to answer it. Header names are lower case."""

    __slots__ = (
        "_gone",
        "_receive",
        "_send",
        "began",
        "headers",
        "method",
        "path",
        "query",
        "raw_path",
    )

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.raw_path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.began = False
        self._receive = receive
        self._send = send
        self._gone: asyncio.Task[None] | None = None

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header."""
        return next((value for key, value in self.headers if key == name), None)

    async def body(self, most: int) -> bytes:
        """The whole body. Raises `BodyTooLarge`, `ClientGone`."""
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > most:
                raise BodyTooLarge
            parts.append(part)
            more = message.get("more_body", False)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def gone(self) -> asyncio.Task[None]:
        """Done when the client has gone; ask only after the body was read."""
        if self._gone is None:
            self._gone = asyncio.ensure_future(self._until_gone())
        return self._gone

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(self, status: int, body: bytes, headers: Headers = (JSON,)) -> None:
        """A whole answer."""
        await self.begin(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self._send({"type": "http.response.body", "body": body})

    async def begin(self, status: int, headers: Headers) -> None:
        """The head of an answer; then `write`, then `end`."""
        self.began = True
        await self._send(
            {"type": "http.response.start", "status": status, "headers": list(headers)}
        )

    async def write(self, data: bytes) -> None:
        """A piece of the body; waits while the client is slow."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """The end of the body."""
        await self._send({"type": "http.response.body", "body": b""})

    def close(self) -> None:
        """Forget the client."""
        if self._gone is not None:
            self._gone.cancel()
