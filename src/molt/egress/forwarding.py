"""Passing a request on to a tool server, and its answer back as it comes."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import aiohttp

from molt.egress.http import Request
from molt.wire.codings import is_read

HOP_BY_HOP: Final = frozenset(
    {
        "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "te", "trailer",
        "transfer-encoding", "upgrade", "http2-settings",
    }
)  # fmt: skip
_OURS: Final = HOP_BY_HOP | {
    "host", "content-length", "expect", "accept-encoding", "content-encoding", "forwarded",
    "authorization", "proxy-authorization", "cookie",
    "x-http-method", "x-http-method-override", "x-method-override",
    "x-original-url", "x-rewrite-url", "x-original-uri", "x-original-method",
}  # fmt: skip
"""Never passed on: what belongs to one connection, credentials (they live in Molt's config), and what
could make a server read another method or path than the one that was decided on."""
_PRIVATE: Final = ("x-molt-", "x-forwarded-")
_NOT_BACK: Final = HOP_BY_HOP | {"content-length", "content-encoding", "set-cookie"}

WHOLE_BYTES: Final = 1024 * 1024
"""An answer that says it is at most so long is passed on in one piece."""


class Unreachable(Exception):
    """The server could not be asked, or did not begin to answer in time."""


def onward(request: Request, own: Mapping[str, str]) -> dict[str, str]:
    """The headers of the request to a server: the client's, one of each, with the server's `own`."""
    headers: dict[str, str] = {}
    for raw, value in request.headers:
        name = raw.decode("latin-1").lower()
        if name in _OURS or name.startswith(_PRIVATE) or "_" in name:
            continue
        headers.setdefault(name, value.decode("latin-1"))
    headers["accept-encoding"] = "identity"
    return headers | {name.lower(): value for name, value in own.items()}


def back(answer: aiohttp.ClientResponse) -> list[tuple[bytes, bytes]]:
    """The headers of an answer as the client gets them."""
    return [
        (name.lower(), value)
        for name, value in answer.raw_headers
        if name.lower().decode("latin-1") not in _NOT_BACK
    ]


class Forwarder:
    """Sends requests to one server. Timeouts are seconds."""

    def __init__(
        self, http: Callable[[], aiohttp.ClientSession], name: str, answer_timeout: float
    ) -> None:
        self._http = http
        self._name = name
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0)
        self._patience = answer_timeout

    async def open(
        self, method: str, url: object, headers: Mapping[str, str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        """The head of the answer; raises `Unreachable`. Release it when done."""
        try:
            async with asyncio.timeout(self._patience):
                answer = await self._http().request(
                    method,
                    url,  # pyright: ignore[reportArgumentType] - a str or a yarl.URL
                    headers=headers,
                    data=body,
                    timeout=self._timeout,
                    allow_redirects=False,
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(
                f"tool server {self._name} cannot be reached: {error or type(error).__name__}"
            ) from None
        coding = answer.headers.get("content-encoding")
        if not is_read(coding):
            answer.close()
            raise Unreachable(
                f"tool server {self._name} answered in {coding}, for which nobody asked"
            )
        return answer

    async def relay(
        self,
        request: Request,
        answer: aiohttp.ClientResponse,
        seen: Callable[[bytes], None] | None = None,
    ) -> None:
        """Pass the answer on as it comes; ends when it does, or when the client has gone.

        `seen` is shown each piece.
        """
        length = answer.content_length
        if length is not None and length <= WHOLE_BYTES:
            body = await answer.read()
            if seen is not None:
                seen(body)
            await request.answer(answer.status, body, back(answer))
            return
        pumping = asyncio.ensure_future(self._pump(request, answer, seen))
        try:
            await asyncio.wait({pumping, request.gone()}, return_when=asyncio.FIRST_COMPLETED)
            if pumping.done():
                pumping.result()
        finally:
            pumping.cancel()
            await asyncio.gather(pumping, return_exceptions=True)

    async def _pump(
        self,
        request: Request,
        answer: aiohttp.ClientResponse,
        seen: Callable[[bytes], None] | None,
    ) -> None:
        await request.begin(answer.status, back(answer))
        async for data in answer.content.iter_any():
            if seen is not None:
                seen(data)
            await request.write(data)
        await request.end()
