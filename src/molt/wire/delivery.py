"""The answer's way to the user: framing, pieces, errors made here, and the end of an exchange."""

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from molt.wire.client import UpstreamConnection
from molt.wire.deadlines import NEVER
from molt.wire.exchange import Exchange, Forward, Outcome
from molt.wire.messages import STATUS_LINES, chunk, status_line
from molt.wire.usage import Reader, fed

if TYPE_CHECKING:
    from molt.wire.server import UserConnection

_log = logging.getLogger(__name__)


class Delivery(Exchange):
    """An exchange that can answer `user`, from one upstream connection or from here."""

    __slots__ = (
        "_chunked", "_conn", "_reader", "_until_close", "chunks", "http10", "keep_alive", "over",
        "plan", "request_done", "user",
    )  # fmt: skip
    user: "UserConnection"

    def __init__(
        self,
        user: "UserConnection",
        method: bytes,
        target: bytes,
        headers: list[bytes],
        watched: Mapping[bytes, bytes | None],
    ) -> None:
        super().__init__(method, target, headers, b"", user.peer, time.monotonic(), watched=watched)
        self.user = user
        self.plan: Forward | None = None
        self.keep_alive = True
        self.http10 = self.request_done = self.over = False
        self.chunks: list[bytes] = []
        self._conn: UpstreamConnection | None = None
        self._chunked = self._until_close = False
        self._reader: Reader | None = None

    def _drop_upstream(self) -> None:
        """Break off what is under way at the upstream."""
        raise NotImplementedError

    def _start_answer(self, conn: UpstreamConnection) -> None:
        self.first_byte = now = time.monotonic()
        self.status = conn.status
        user = self.user
        body = conn.body
        try:
            self._reader = user.front.edge.answered(self, conn.status, conn.headers)
        except Exception:
            _log.exception("edge.answered failed")
        status, length = conn.status, conn.length
        if length >= 0 and status != 204:
            framing = b"content-length: %d\r\n" % length
        else:
            framing = self._framing(conn)
        if self._reader is not None:
            self._reader = fed(self._reader, body)
        if body and self._chunked:
            body = [chunk(b"".join(body))]
        if self.keep_alive and self.request_done and not user.front.draining and not self.http10:
            end = b"\r\n"
        else:
            end = self._connection_line()
        line = STATUS_LINES.get(status) or status_line(status)
        extra = cast("Forward", self.plan).answer_headers
        data = b"".join((line, *conn.headers, extra, framing, end, *body))
        self.bytes_out += len(data)
        user.write(data)
        self._after_piece(conn, now)

    def _framing(self, conn: UpstreamConnection) -> bytes:
        """The framing line of an answer without a length, or b"" where there is none."""
        if conn.complete:
            if self.method == b"HEAD" or conn.status in {204, 304}:
                return b""
            return b"content-length: %d\r\n" % sum(map(len, conn.body))
        if self.http10:
            self._until_close = True
            self.keep_alive = False
            return b""
        self._chunked = True
        return b"transfer-encoding: chunked\r\n"

    def _connection_line(self) -> bytes:
        if not self.request_done or (self.user.front.draining and not self.user.has_waiting):
            self.keep_alive = False
        if not self.keep_alive:
            return b"connection: close\r\n\r\n"
        return b"connection: keep-alive\r\n\r\n" if self.http10 else b"\r\n"

    def _pass_on(self, conn: UpstreamConnection) -> None:
        now = time.monotonic()
        data = b"".join(conn.body)
        if data:
            if self._reader is not None:
                self._reader = fed(self._reader, conn.body)
            if self._chunked:
                data = chunk(data)
        if conn.complete and self._chunked:
            data += b"0\r\n\r\n"
        if data:
            self.bytes_out += len(data)
            self.user.write(data)
        self._after_piece(conn, now)

    def _after_piece(self, conn: UpstreamConnection, now: float) -> None:
        if conn.complete:
            self._conn = None
            conn.release(reusable=self.request_done)
            self._finish("ok", now)
        elif conn.broken:
            self._cut("upstream_truncated")
        else:
            conn.body = []
            # A user who is slow is no silence of the upstream.
            conn.deadline = NEVER if self.user.write_paused else now + conn.upstream.read_timeout

    def _answer(self, status: int, body: bytes, headers: bytes, outcome: Outcome) -> None:
        self.status = status
        self.first_byte = now = time.monotonic()
        user = self.user
        length = b"content-length: %d\r\n" % len(body)
        data = b"".join(
            (
                status_line(status),
                b"date: ",
                user.front.deadlines.date,
                b"\r\n",
                headers,
                length,
                self._connection_line(),
                b"" if self.method == b"HEAD" else body,
            )
        )
        self.bytes_out += len(data)
        user.write(data)
        self._finish(outcome, now)

    def _cut(self, outcome: Outcome) -> None:
        """End an answer that cannot be completed so that nobody takes it for a whole one."""
        self._drop_upstream()
        self.user.cut(reset=self._until_close)
        self._finish(outcome, time.monotonic())

    def _finish(self, outcome: Outcome, now: float) -> None:
        self.over = True
        self.outcome = outcome
        self.finished = now
        self.chunks = []
        front = self.user.front
        try:
            if self._reader is not None:
                self.usage = self._reader.finish()
                self._reader = None
            front.edge.record(self)
        except Exception:
            _log.exception("edge.record failed")
        self.user.done(self)
