"""POSTs to the control process over kept connections, at a fifth of what a full client costs.

A gateway sends a batch several times a second, whether it has five requests to tell of or five
thousand: at a few hundred a second that shows in what a request costs.
"""

import asyncio
import time
from typing import Final

from molt.core.errors import UpstreamError
from molt.wire.client import UpstreamConnection
from molt.wire.deadlines import Deadlines
from molt.wire.upstream import Upstream

_TICK: Final = 1.0


class NotPosted(UpstreamError):
    """No whole answer came; whether the server acted is not known."""


class Posts:
    """POSTs to the server at `url`, each with the header lines `headers`; nothing is repeated.

    Raises ValueError for a URL that is none.
    """

    def __init__(self, url: str, headers: bytes, *, connect: float, answer: float) -> None:
        self._deadlines = Deadlines(_TICK)
        self._upstream = Upstream.from_url(
            "control", url, self._deadlines, connect_timeout=connect, answer_timeout=answer
        )
        self._headers = headers
        self._started = False

    async def post(self, path: bytes, kind: bytes, body: bytes) -> int:
        """Send `body` of content type `kind`; the status. Raises `NotPosted`."""
        if not self._started:
            self._started = True
            self._deadlines.start(asyncio.get_running_loop())
        upstream = self._upstream
        head = b"POST %b%b HTTP/1.1\r\nhost: %b\r\n%bcontent-type: %b\r\ncontent-length: %d\r\n\r\n"
        line = (upstream.prefix, path, upstream.authority, self._headers, kind, len(body))
        post = _Post(head % line + body, upstream.answer_timeout)
        if (conn := upstream.take()) is not None:
            post.connected(conn)
        else:
            upstream.dial(post)
        try:
            return await post.status
        finally:
            post.forget()

    async def close(self) -> None:
        """Close all connections."""
        self._upstream.close()
        self._deadlines.stop()


class _Post:
    """One request under way: the receiver of its answer."""

    method = b"POST"

    def __init__(self, data: bytes, patience: float) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._data = data
        self._patience = patience
        self._conn: UpstreamConnection | None = None

    def connected(self, conn: UpstreamConnection) -> None:
        """Send it, unless nobody waits any more."""
        if self.status.done():
            conn.release(reusable=False)
            return
        self._conn = conn
        conn.begin(self, self._data)
        conn.deadline = time.monotonic() + self._patience

    def receive(self, conn: UpstreamConnection) -> None:
        """Wait for the whole answer, of which only the status counts."""
        conn.body = []
        if conn.complete:
            self._conn = None
            status = conn.status
            conn.release(reusable=True)
            if not self.status.done():
                self.status.set_result(status)
        elif conn.broken:
            self._fail("its answer is not HTTP")

    def unreachable(self) -> None:
        """The server could not be connected to."""
        self._fail("it cannot be connected to")

    def lost(self, conn: UpstreamConnection) -> None:
        """The connection closed first."""
        conn.owner = self._conn = None
        self._fail("it closed the connection")

    def late(self, conn: UpstreamConnection) -> None:
        """The answer took too long."""
        self._fail("it did not answer in time")

    def hold_upload(self) -> None:
        """The whole request is written; its size is bounded by whoever made it."""

    def resume_upload(self) -> None:
        """See `hold_upload`."""

    def forget(self) -> None:
        """Nobody waits for the answer any more."""
        self.status.cancel()
        if self._conn is not None:
            conn, self._conn = self._conn, None
            conn.release(reusable=False)

    def _fail(self, why: str) -> None:
        if not self.status.done():
            self.status.set_exception(NotPosted(why))
        self.forget()
