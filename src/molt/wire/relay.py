"""One request from its plan to the end of its answer.

A relay sits between the user's connection (`server.py`) and at most one upstream connection at a
time. Nothing of an answer reaches the user before its head was judged good, so until then the
request can go to the fallback, or once more to a fresh connection.
"""

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from molt.wire.client import CHUNKED, UpstreamConnection
from molt.wire.deadlines import NEVER
from molt.wire.delivery import Delivery
from molt.wire.exchange import IDEMPOTENT, Answer, Failure, FailureKind, Outcome, without
from molt.wire.messages import (
    NO_BODY,
    chunk,
    error_body,
    request_head,
    whole_body,
)
from molt.wire.upstream import Dial, Upstream

if TYPE_CHECKING:
    from molt.wire.server import UserConnection

_JSON: Final = b"content-type: application/json\r\n"
_EARLY_UPLOAD: Final = 256 * 1024
"""Bytes of a request's body that are read before an upstream takes them."""
_OUTCOMES: Final[dict[str, Outcome]] = {
    "unreachable": "upstream_unreachable",
    "timeout": "upstream_timeout",
    "reset": "upstream_reset",
    "garbage": "upstream_garbage",
    "cancelled": "cancelled",
}
_MESSAGES: Final = {
    "unreachable": "the service behind this proxy cannot be reached",
    "timeout": "the service behind this proxy did not answer in time",
    "reset": "the service behind this proxy closed the connection without an answer",
    "garbage": "the service behind this proxy answered with something that is not HTTP",
    "cancelled": "the request was taken back; try again",
}
_log = logging.getLogger(__name__)


class Relay(Delivery):
    """An exchange under way: first gathered by its user's connection, then begun when it is its turn.

    `length` is the declared length of the request's body, CHUNKED or NO_BODY. `chunks` holds what
    came of the body, until it is sent, and as long as it may have to be sent again.
    """

    __slots__ = (
        "_asking", "_dial", "_extra", "_replayed", "_retain", "_target", "begun", "expects",
        "forwarded", "length", "lines", "refusal",
    )  # fmt: skip

    def __init__(
        self,
        user: "UserConnection",
        method: bytes,
        target: bytes,
        headers: list[bytes],
        watched: Mapping[bytes, bytes | None],
    ) -> None:
        super().__init__(user, method, target, headers, watched)
        self.length = NO_BODY
        self.forwarded = self._extra = b""
        self.lines = headers
        self.refusal: tuple[int, str, Outcome] | None = None
        self.begun = self.expects = self._retain = self._replayed = self._asking = False
        self._dial: Dial | None = None
        self._target: Upstream | None = None

    # From the user's side

    def begin(self) -> None:
        """It is this request's turn to be answered."""
        self.begun = True
        if self.refusal is not None:
            self.refuse(*self.refusal)
        elif self.request_done or not self._wants_body():
            self._decide()
        else:
            self._say_continue()

    def feed(self, data: bytes) -> None:
        """A piece of the request's body."""
        self.bytes_in += len(data)
        limits = self.user.front.limits
        if limits.max_body is not None and self.bytes_in > limits.max_body:
            self.refuse(413, f"the body is over {limits.max_body} bytes")
        elif self.plan is None:
            self.chunks.append(data)
            if self.begun and self.bytes_in > limits.decision_body:
                self._decide()
        else:
            self._upload(data)

    def end(self) -> None:
        """The body of a request that has begun is whole."""
        self.request_done = True
        if self.plan is None:
            self._decide()
            return
        if self._conn is not None:
            if self.length == CHUNKED:
                self._conn.write(b"0\r\n\r\n")
            self._conn.deadline = time.monotonic() + self._patience()
        self._mirror()

    def refuse(self, status: int, message: str, outcome: Outcome = "bad_request") -> None:
        """Answer with an error instead, or cut the connection when an answer has begun."""
        if self.over:
            return
        self.keep_alive = False
        if not self.begun:
            self.refusal = (status, message, outcome)
        elif self.status:
            self._cut(outcome)
        else:
            self._drop_upstream()
            self._answer(status, error_body(outcome, message), _JSON, outcome)

    def user_gone(self, outcome: Outcome) -> None:
        """The user's connection is closed: nobody wants this answer."""
        if not self.over:
            self._drop_upstream()
            self._finish(outcome, time.monotonic())

    def user_slow(self) -> None:
        """The user takes no more of the answer for now."""
        if self._conn is not None:
            self._conn.pause()

    def user_ready(self) -> None:
        """The user takes the answer again."""
        if self._conn is not None and not self._asking:
            self._conn.resume()
            self._conn.deadline = time.monotonic() + self._conn.upstream.read_timeout

    @property
    def waits_for_edge(self) -> bool:
        """True while the edge thinks about the fallback."""
        return self._asking

    def cancel(self) -> None:
        """Take the request back from its upstream: fall back, or cut an answer that has begun."""
        if self.over or self._asking or self.plan is None:
            return
        if self.status:
            self._cut("cancelled")
        else:
            self._failed("cancelled", delivered=self._conn is not None)

    # The decision

    def _wants_body(self) -> bool:
        try:
            return self.user.front.edge.wants_body(self)
        except Exception:
            _log.exception("edge.wants_body failed")
            return False

    def _decide(self) -> None:
        front = self.user.front
        if self.request_done and self.bytes_in <= front.limits.decision_body:
            self.body = b"".join(self.chunks)
        try:
            plan = front.edge.decide(self)
        except Exception:
            _log.exception("edge.decide failed; the rescue plan takes the request")
            plan = front.rescue
        if isinstance(plan, Answer):
            self._answer(plan.status, plan.body, plan.headers, "refused")
            return
        self.plan = plan
        strip = plan.strip
        self.lines = without(self.headers, strip.__contains__) if strip else self.headers
        self._retain = (
            plan.fallback is not None or plan.mirror is not None or self.method in IDEMPOTENT
        )
        if not self.request_done:
            self._say_continue()
        self._attempt(plan.upstream, plan.headers)
        if plan.mirror is not None and self.request_done:
            self._mirror()

    def _say_continue(self) -> None:
        if self.expects:
            self.expects = False
            self.user.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _mirror(self) -> None:
        plan = self.plan
        if plan is not None and plan.mirror is not None:
            self.user.front.mirrors.launch(self, plan, whole=self._retain)
            if plan.also is not None:
                self.user.front.mirrors.launch(self, plan.also, whole=self._retain)

    # Towards the upstream

    def _attempt(self, upstream: Upstream, extra: bytes, *, fresh: bool = False) -> None:
        self.upstream = upstream.name
        self._target = upstream
        self._extra = extra
        conn = None if fresh else upstream.take()
        if conn is None:
            self._dial = upstream.dial(self)
        else:
            self.connected(conn)

    def connected(self, conn: UpstreamConnection) -> None:
        """Send the request, or what has come of it."""
        self._dial = None
        self._conn = conn
        parts = request_head(self, conn.upstream)
        parts += self.lines
        parts += (self.forwarded, self._extra)
        if self.request_done:
            parts.append(whole_body(self, self.length))
            parts += self.chunks
            conn.begin(self, b"".join(parts))
            conn.deadline = time.monotonic() + self._patience()
        else:
            parts += self._begun_body()
            conn.deadline = NEVER
            conn.begin(self, b"".join(parts))
            self.user.release_reading()
        if not self._retain:
            self.chunks = []

    def _begun_body(self) -> list[bytes]:
        if self.length != CHUNKED:
            return [b"content-length: %d\r\n\r\n" % self.length, *self.chunks]
        return [b"transfer-encoding: chunked\r\n\r\n", *map(chunk, filter(None, self.chunks))]

    def _upload(self, data: bytes) -> None:
        sending = self._conn is not None
        if self._retain and sending and self.bytes_in > self.user.front.limits.hold_body:
            self._retain = False
            self.chunks = []
        if self._retain or not sending:
            self.chunks.append(data)
        if self._conn is not None:
            self._conn.write(chunk(data) if self.length == CHUNKED else data)
        elif self.bytes_in > _EARLY_UPLOAD:
            self.user.hold_reading()

    def hold_upload(self) -> None:
        """The upstream's window is full: read no more from the user."""
        if not self.request_done and self._conn is not None:
            self.user.hold_reading()
            self._conn.deadline = time.monotonic() + self._patience()

    def resume_upload(self) -> None:
        """The upstream takes more."""
        if not self.request_done and self._conn is not None:
            self._conn.deadline = NEVER
            self.user.release_reading()

    def _patience(self) -> float:
        """Seconds to wait for the head of the answer."""
        plan, target = self.plan, self._target
        assert plan is not None
        assert target is not None
        return target.answer_timeout if self.fell_back or not plan.timeout else plan.timeout

    def _drop_upstream(self) -> None:
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self._conn is not None:
            conn, self._conn = self._conn, None
            conn.release(reusable=False)

    # From the upstream

    def receive(self, conn: UpstreamConnection) -> None:
        """Pass on what arrived, unless the answer is bad and nothing of it is out yet."""
        if self._asking:
            return
        if self.status:
            self._pass_on(conn)
        elif not conn.head_done:
            if conn.broken:
                self._failed("garbage")
        elif conn.status >= 500 and self._has_fallback():
            conn.pause()
            self._ask(Failure("status", True, conn.status, conn.headers))
        else:
            self._start_answer(conn)

    def lost(self, conn: UpstreamConnection) -> None:
        """Without a byte of an answer, an idempotent request on a used connection goes again."""
        if self._asking:
            return
        self._conn = None
        conn.owner = None
        if self.status:
            self._cut("upstream_truncated")
        elif conn.used > 1 and not conn.head_size and self._may_replay():
            assert self._target is not None
            self._replayed = True
            self._attempt(self._target, self._extra, fresh=True)
        else:
            self._failed("reset")

    def _may_replay(self) -> bool:
        return self._retain and self.method in IDEMPOTENT

    def unreachable(self) -> None:
        """The upstream could not be connected to."""
        self._dial = None
        self._failed("unreachable", delivered=self._replayed)

    def late(self, conn: UpstreamConnection) -> None:
        """The upstream has been silent for too long."""
        if self.status:
            self._cut("upstream_truncated")
        elif not self._asking:
            self._failed("timeout")

    # Failure and fallback

    def _has_fallback(self) -> bool:
        plan = self.plan
        return plan is not None and plan.fallback is not None and self._retain and not self.failure

    def _failed(self, kind: FailureKind, *, delivered: bool = True) -> None:
        self._drop_upstream()
        if self._has_fallback():
            self._ask(Failure(kind, delivered))
            return
        if not self.failure:
            self.failure = kind
            self.failed_at = time.monotonic()
        self._give_up(kind)

    def _ask(self, failure: Failure) -> None:
        front = self.user.front
        self._asking = True
        self.failure = failure.kind
        self.failure_status = failure.status
        self.failed_at = now = time.monotonic()
        self.user.deadline = now + front.limits.ask_timeout
        try:
            front.edge.may_fall_back(self, failure, self.resume)
        except Exception:
            _log.exception("edge.may_fall_back failed; the user gets the failure")
            self.resume(False)

    def resume(self, fall_back: bool) -> None:
        """The edge's answer, at once or later; only the first counts, and only in time."""
        if not self._asking or self.over:
            return
        self._asking = False
        self.user.deadline = NEVER
        self.user.release_reading()
        conn, plan = self._conn, self.plan
        if fall_back:
            assert plan is not None
            assert plan.fallback is not None
            self._drop_upstream()
            self.fell_back = True
            self._replayed = False
            self._attempt(plan.fallback, plan.fallback_headers)
        elif conn is None:
            self._give_up(self.failure or "reset")
        elif conn.transport.is_closing() and not conn.complete:
            self._drop_upstream()
            self._give_up("reset")
        else:
            conn.resume()
            self._start_answer(conn)

    def _give_up(self, kind: str) -> None:
        status = 504 if kind == "timeout" else 503 if kind == "cancelled" else 502
        outcome = _OUTCOMES[kind]
        self._answer(status, error_body(outcome, _MESSAGES[kind]), _JSON, outcome)
