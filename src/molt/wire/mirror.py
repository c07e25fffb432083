"""Copies of requests for another upstream, whose answers nobody waits for.

A copy never touches the user's connection: it lives on when the user leaves, and when too many are
in flight it is dropped, which is recorded like any other end.
"""

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from molt.wire.client import UpstreamConnection
from molt.wire.exchange import IDEMPOTENT, Edge, Exchange, Forward, Outcome
from molt.wire.messages import request_head, whole_body
from molt.wire.upstream import Dial
from molt.wire.usage import Reader, fed

if TYPE_CHECKING:
    from molt.wire.front import Limits
    from molt.wire.relay import Relay

_log: Final = logging.getLogger(__name__)


class Mirrors:
    """Starts copies, at most `limits.mirrors` at a time."""

    def __init__(self, edge: Edge, limits: "Limits") -> None:
        self.in_flight: set[Copy] = set()
        self.edge = edge
        self._limit = limits.mirrors

    def launch(self, relay: "Relay", plan: Forward, *, whole: bool) -> None:
        """Send a copy of a complete request to `plan.mirror`; dropped unless its body is `whole`."""
        assert plan.mirror is not None
        copy = Copy(self, relay, plan.mirror_token, plan.mirror.name)
        self.in_flight.add(copy)
        if not whole or len(self.in_flight) > self._limit:
            copy.finish("mirror_dropped")
            return
        head = request_head(copy, plan.mirror)
        lines = (*relay.lines, relay.forwarded, plan.mirror_headers)
        framing = whole_body(copy, relay.length)
        copy.data = b"".join((*head, *lines, framing, *relay.chunks))
        copy.timeout = plan.mirror.answer_timeout
        conn = plan.mirror.take()
        if conn is None:
            copy.dial = plan.mirror.dial(copy)
        else:
            copy.connected(conn)


class Copy(Exchange):
    """One copy under way; a receiver that throws the answer away."""

    __slots__ = ("conn", "data", "dial", "mirrors", "reader", "timeout")

    def __init__(self, mirrors: Mirrors, relay: "Relay", token: Any, upstream: str) -> None:
        super().__init__(
            relay.method,
            relay.target,
            relay.headers,
            relay.host,
            relay.client,
            time.monotonic(),
            body=relay.body,
            watched=relay.watched,
        )
        self.forwarded_for = relay.forwarded_for
        self.token = token
        self.upstream = upstream
        self.bytes_in = relay.bytes_in
        self.mirror = True
        self.mirrors = mirrors
        self.data = b""
        self.timeout = 0.0
        self.conn: UpstreamConnection | None = None
        self.dial: Dial | None = None
        self.reader: Reader | None = None

    def connected(self, conn: UpstreamConnection) -> None:
        """Send it."""
        self.dial = None
        self.conn = conn
        conn.begin(self, self.data)
        conn.deadline = time.monotonic() + self.timeout

    def unreachable(self) -> None:
        """The upstream could not be connected to."""
        self.dial = None
        self.finish("upstream_unreachable")

    def receive(self, conn: UpstreamConnection) -> None:
        """Let the reader see the answer, and forget it."""
        if not conn.head_done:
            if conn.broken:
                self.finish("upstream_garbage")
            return
        now = time.monotonic()
        if not self.status:
            self.first_byte = now
            self.status = conn.status
            try:
                self.reader = self.mirrors.edge.answered(self, conn.status, conn.headers)
            except Exception:
                _log.exception("edge.answered failed")
        self.bytes_out += sum(map(len, conn.body))
        if self.reader is not None:
            self.reader = fed(self.reader, conn.body)
        conn.body = []
        if conn.complete:
            self.conn = None
            conn.release(reusable=True)
            self.finish("ok")
        elif conn.broken:
            self.finish("upstream_truncated")
        else:
            conn.deadline = now + conn.upstream.read_timeout

    def lost(self, conn: UpstreamConnection) -> None:
        """The upstream closed before the end; an idempotent copy that met a stale connection goes again."""
        conn.owner = self.conn = None
        if conn.used > 1 and not conn.head_size and self.method in IDEMPOTENT:
            self.dial = conn.upstream.dial(self)
            return
        self.finish("upstream_truncated" if self.status else "upstream_reset")

    def late(self, conn: UpstreamConnection) -> None:
        """The upstream is silent."""
        self.finish("upstream_truncated" if self.status else "upstream_timeout")

    def hold_upload(self) -> None:
        """The whole request is written; its size is bounded."""

    def resume_upload(self) -> None:
        """See `hold_upload`."""

    def cancel(self) -> None:
        """Take the copy back."""
        if not self.outcome:
            self.finish("cancelled")

    def finish(self, outcome: Outcome) -> None:
        """Record how it ended."""
        if self.dial is not None:
            self.dial.cancel()
        if self.conn is not None:
            conn, self.conn = self.conn, None
            conn.release(reusable=False)
        self.mirrors.in_flight.discard(self)
        self.outcome = outcome
        self.finished = time.monotonic()
        try:
            if self.reader is not None:
                self.usage = self.reader.finish()
                self.reader = None
            self.mirrors.edge.record(self)
        except Exception:
            _log.exception("edge.record failed")
