"""Every exchange leaves one audit record and, where a rollout covers it, one observation.

The hot path appends to a queue. It is folded when a few exchanges wait, so that nobody waits
for long behind their folding, and on a timer; a violation, or the first error after a quiet time,
asks for it at once.
"""

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from molt.core.assignment import CANDIDATE
from molt.core.evidence import Seen, Violation
from molt.gateway.audit_records import AuditRecords, Hashes
from molt.gateway.generations import Generations
from molt.gateway.glimpses import Glimpses
from molt.gateway.observations import Observation, Pricing, observe
from molt.gateway.pairs import Pairs
from molt.gateway.routes import Decided, Route
from molt.gateway.tallies import Tallies
from molt.link.batches import Evidence
from molt.ports import AuditSink
from molt.wire.exchange import Exchange

log = structlog.get_logger(__name__)

FEW: Final = 64
"""Exchanges that are folded together: about a millisecond."""
SLICE_SECONDS: Final = 0.001
_CHUNK: Final = 16
QUIET_SECONDS: Final = 5.0
_FINE: Final = frozenset({"ok", "client_aborted"})
SEEN_SECONDS: Final = 6 * 3600.0
MOST_SEEN: Final = 100_000


class Recorder:
    """Takes finished exchanges; gives evidence.

    `crowd` is called, from the hot path, when `FEW` exchanges wait, and `hurry` when something
    should reach control at once. Both must only schedule.
    """

    def __init__(
        self,
        *,
        audit: AuditSink,
        pricing: Pricing,
        hash_subject: Callable[[str], str],
        hurry: Callable[[], None],
        crowd: Callable[[], None],
        pairs: Pairs | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._audit = audit
        self._pricing = pricing
        self._hashes = Hashes(hash_subject)
        self._records = AuditRecords(self._hashes)
        self._hurry = hurry
        self._crowd = crowd
        self._pairs = pairs
        self._wall = wall
        self._monotonic = monotonic
        self._pending: deque[Exchange] = deque()
        self._tallies = Tallies()
        self._known: Generations[tuple[str, str], bool] = Generations(SEEN_SECONDS, MOST_SEEN)
        self._seen: list[Seen] = []
        self._violations: list[Violation] = []
        self._versions: dict[str, str] = {}
        self._last_error = float("-inf")
        self._lost = 0
        self._glimpses = Glimpses()

    # --- the hot path

    def record(self, exchange: Exchange) -> None:
        """Keep a finished exchange for folding."""
        exchange.body = None
        self._pending.append(exchange)
        if len(self._pending) >= FEW:
            self._crowd()
        decided: Decided | None = exchange.token
        if decided is not None and decided.arm == CANDIDATE and self._is_urgent(exchange, decided):
            self._hurry()

    def hash_of(self, subject: str, now: float) -> str:
        """The keyed hash of a subject, remembered for its record; `now` is monotonic seconds."""
        return self._hashes.of(subject, now)

    def version_seen(self, rollout: str, version: str) -> None:
        """The candidate of `rollout` reported its version."""
        self._versions[rollout] = version

    def _is_urgent(self, exchange: Exchange, decided: Decided) -> bool:
        usage, route = exchange.usage, decided.route
        if usage is not None and usage.tools and route and route.forbidden(usage.tools):
            return True
        if exchange.status < 400 and exchange.outcome in _FINE and not exchange.fell_back:
            return False
        quiet = exchange.finished - self._last_error > QUIET_SECONDS
        self._last_error = exchange.finished
        return quiet

    # --- off it

    @property
    def has_evidence(self) -> bool:
        """Whether `take` would give anything."""
        return bool(self._tallies or self._versions or self._lost)

    def fold(self, seconds: float = SLICE_SECONDS) -> bool:
        """Fold for about `seconds`; True when nothing is left."""
        offset = self._wall() - self._monotonic()
        until = self._monotonic() + seconds
        pending = self._pending
        while pending:
            for _ in range(min(_CHUNK, len(pending))):
                exchange = pending.popleft()
                try:
                    self._fold_one(exchange, exchange.finished + offset)
                except Exception:
                    # Our own defect: it must not take the other observations with it.
                    self._lost += 1
                    if self._pairs is not None:
                        self._pairs.abandon(exchange.token)
                    log.exception("observation_lost", path=exchange.target)
            if self._monotonic() >= until:
                break
        return not pending

    def take(self) -> Evidence:
        """What was folded since the last call."""
        slots, sums = self._tallies.take()
        sample, offered = self._glimpses.take()
        taken = Evidence(
            slots, sums, self._seen, self._violations, self._versions, self._lost, sample, offered
        )
        self._seen, self._violations, self._versions, self._lost = [], [], {}, 0
        return taken

    def sweep(self) -> None:
        """Free forgotten memory, a little at a time."""
        self._hashes.sweep()
        self._known.sweep()

    def _fold_one(self, exchange: Exchange, ended: float) -> None:
        decided: Decided | None = exchange.token
        seen: Observation | None = None
        if decided is not None and (route := decided.route) is not None:
            seen = observe(exchange, decided, route, self._pricing)
            if decided.pair is not None:
                self._take_pair(exchange, decided, route, seen, ended)
                if decided.reason == "twin":  # nobody's request: no evidence
                    self._audit.append(self._records.of(exchange, seen, ended))
                    return
            self._tallies.add(seen, decided, route, ended)
            if seen.kind in ("request", "aborted") and not exchange.mirror:
                self._see_subject(decided, route, exchange.finished)
            if seen.forbidden:
                self._note_violations(seen, decided, route, ended)
        record = self._records.of(exchange, seen, ended)
        self._glimpses.offer(record, exchange, seen, ended)
        self._audit.append(record)

    def _take_pair(
        self, exchange: Exchange, decided: Decided, route: Route, seen: Observation, ended: float
    ) -> None:
        subject, now = decided.subject, exchange.finished
        hidden = None if subject is None else self._hashes.of(subject, now)
        began = ended - (exchange.finished - exchange.started)
        if self._pairs is not None:
            self._pairs.take(exchange, decided, route, seen, began, hidden)

    def _see_subject(self, decided: Decided, route: Route, now: float) -> None:
        conversation = decided.conversation
        if decided.subject is None or (conversation and conversation.noted == decided.subject):
            return
        if conversation:
            conversation.noted = decided.subject
        key = (route.rollout, decided.subject)
        if self._known.get(key, now) is None:
            self._known.put(key, True, now)
            subject = self._hashes.of(decided.subject, now)
            self._seen.append(Seen(route.rollout, route.epoch, decided.assigned, subject))

    def _note_violations(
        self, seen: Observation, decided: Decided, route: Route, ended: float
    ) -> None:
        subject = decided.subject
        self._violations += [
            Violation(
                rollout=route.rollout,
                at=datetime.fromtimestamp(ended, UTC),
                agent=route.agent,
                tool=tool,
                source="observed",
                arm=decided.arm,
                mode=decided.mode,
                run=decided.run or None,
                subject=None if subject is None else self._hashes.of(subject, self._monotonic()),
            )
            for tool in seen.forbidden
        ]
