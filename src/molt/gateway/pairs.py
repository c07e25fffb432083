"""Both answers to a mirrored request, kept while they pass, for the comparison in control.

Only requests that are mirrored and sampled come here. What is kept is bounded per body and in all;
when too much is open at once, a pair is not kept, and counted.
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from molt.core.assignment import CONTROL
from molt.core.flags import FULL
from molt.core.pairs import RawPair, RawSide
from molt.gateway.observations import Observation
from molt.gateway.routes import Decided, Route
from molt.link.pairs import PairSender
from molt.wire.exchange import Exchange
from molt.wire.usage import UNKNOWN, Reader, Usage

MOST_OPEN: Final = 256
"""Pairs under way at once in one gateway."""

_COMPLETE: Final = frozenset(
    {
        *("ok", "upstream_unreachable", "upstream_timeout", "upstream_reset"),
        *("upstream_garbage", "upstream_truncated"),
    }
)
"""How an answer can end that says something about the service."""


class Answer:
    """One answer in the making."""

    __slots__ = ("body", "cut", "encoding", "kind", "side")

    def __init__(self) -> None:
        self.body: list[bytes] = []
        self.cut = False
        self.kind = b""
        self.encoding = b""
        self.side: RawSide | None = None


class OpenPair:
    """One pair under way: its `id` is the run's. `waiting` counts the exchanges that have not ended,
    `began` is when the user's request came, in unix seconds."""

    __slots__ = (
        "began", "candidate", "control", "id", "most", "request", "request_type", "twin", "waiting",
    )  # fmt: skip

    def __init__(self, run: str, most: int, request: bytes | None, request_type: bytes) -> None:
        self.id = run
        self.began = 0.0
        self.most = most
        self.request = None if request is None else request[:most]
        self.request_type = request_type
        self.control = Answer()
        self.candidate = Answer()
        self.twin: Answer | None = None
        self.waiting = 2

    def with_twin(self) -> None:
        """Control gets the request a second time."""
        self.twin = Answer()
        self.waiting += 1

    def answer_of(self, exchange: Exchange, decided: Decided) -> Answer:
        """The answer that this exchange brings."""
        if not exchange.mirror:
            return self.control
        if decided.arm == CONTROL and self.twin is not None:
            return self.twin
        return self.candidate

    def reader(
        self,
        exchange: Exchange,
        decided: Decided,
        inner: Reader | None,
        kind: bytes | None,
        encoding: bytes | None,
    ) -> Reader:
        """A reader that keeps the body as it passes, beside what `inner` reads."""
        answer = self.answer_of(exchange, decided)
        answer.kind, answer.encoding = kind or b"", encoding or b""
        return _Keeper(inner, answer, self.most)


class _Keeper:
    """Keeps a body up to a bound; beyond it the body is cut, and marked so."""

    __slots__ = ("_answer", "_inner", "_room")

    def __init__(self, inner: Reader | None, answer: Answer, most: int) -> None:
        self._inner = inner
        self._answer = answer
        self._room = most

    def feed(self, data: bytes) -> None:
        """A piece of the answer's body."""
        if self._room >= len(data):
            self._answer.body.append(data)
            self._room -= len(data)
        elif not self._answer.cut:
            self._answer.cut = True
            self._answer.body.clear()
            self._room = 0
        if self._inner is not None:
            self._inner.feed(data)

    def finish(self) -> Usage:
        """The usage; the answer is over."""
        return UNKNOWN if self._inner is None else self._inner.finish()


class Pairs:
    """Begins pairs and, off the hot path, hands whole ones to `sender`."""

    def __init__(
        self,
        sender: PairSender,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._sender = sender
        self._chance = chance
        self._open = 0

    def begin(self, exchange: Exchange, route: Route, run: str) -> OpenPair | None:
        """A pair for a request about to be mirrored; None when it is not in the sample."""
        comparing = route.flags.comparing
        if comparing is None:
            return None
        if comparing.sample < FULL and self._chance() * FULL >= comparing.sample:
            return None
        if self._open >= MOST_OPEN:
            self._sender.dropped((route.rollout, route.epoch, route.agent))
            return None
        self._open += 1
        kind = exchange.header(b"content-type") or b""
        pair = OpenPair(run, comparing.max_body, exchange.body, kind)
        if (
            comparing.twice
            and exchange.method.decode("latin-1") in comparing.twice_methods
            and self._chance() * FULL < comparing.twice
        ):
            pair.with_twin()
        return pair

    def take(
        self,
        exchange: Exchange,
        decided: Decided,
        route: Route,
        seen: Observation,
        began: float,
        subject: str | None,
    ) -> None:
        """One exchange of a pair has ended, that came at `began` (unix seconds).

        `subject` is a keyed hash.
        """
        pair = decided.pair
        if pair is None or pair.waiting <= 0:
            return
        answer = pair.answer_of(exchange, decided)
        if exchange.outcome in _COMPLETE:
            answer.side = _side(exchange, answer, seen)
        if answer is pair.control:
            pair.began = began
        pair.waiting -= 1
        if pair.waiting:
            return
        self._open -= 1
        control, candidate = pair.control.side, pair.candidate.side
        if control is None or candidate is None or control.outcome != "ok":
            return  # the user left, or the copy was never sent: there is nothing to compare
        self._sender.add(
            RawPair(
                id=pair.id,
                rollout=route.rollout,
                epoch=route.epoch,
                agent=route.agent,
                at=datetime.fromtimestamp(pair.began, UTC),
                subject=subject,
                bucket=route.statistics_bucket(decided.subject or pair.id),
                trace=decided.trace.decode(),
                method=exchange.method.decode("latin-1"),
                path=exchange.target.partition(b"?")[0].decode("latin-1"),
                request_type=pair.request_type.decode("latin-1"),
                request=pair.request,
                control=control,
                candidate=candidate,
                twin=None if pair.twin is None else pair.twin.side,
                who={
                    name: value
                    for name, value in (("session", decided.session), ("subject", decided.subject))
                    if value
                },
            )
        )

    def abandon(self, decided: Decided | None) -> None:
        """Give up the pair, if it is one, of an exchange that could not be read."""
        if decided is not None and decided.pair is not None and decided.pair.waiting > 0:
            decided.pair.waiting = 0
            self._open -= 1


def _side(exchange: Exchange, answer: Answer, seen: Observation) -> RawSide:
    usage = exchange.usage
    return RawSide(
        status=exchange.status,
        outcome=exchange.outcome,
        latency_ms=round(1000.0 * (exchange.finished - exchange.started), 3),
        tokens_in=usage.input_tokens if usage else None,
        tokens_out=usage.output_tokens if usage else None,
        cost=seen.cost,
        content_type=answer.kind.decode("latin-1"),
        encoding=answer.encoding.decode("latin-1"),
        body=b"".join(answer.body),
        cut=answer.cut,
    )
