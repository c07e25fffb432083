"""From generated arrays to what gateways send: slots, bucket sums, new subjects, outcomes."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

import numpy as np

from molt.apps.simulate.money import Money
from molt.apps.simulate.stream import ArmSlots, Interval, Ints, Regime, Span
from molt.core.assignment import CANDIDATE, CONTROL, Arm, bucket_of
from molt.core.evidence import (
    LIVE,
    SHADOW,
    BucketSums,
    Mode,
    Outcome,
    Seen,
    Slot,
    SlotKey,
    SumsKey,
    Tally,
    Violation,
    over,
)

CONTROL_SLOTS: Final = 6
"""Slots of busy control that are sent as one: rules only ask how much traffic was due lately, and
where there is plenty nothing is silent by chance."""
_NONE: Final = Tally()
PANEL: Final = 20_000
"""Named users that outcomes with a time are reported of."""


class Feed:
    """Writes evidence of one rollout and agent."""

    def __init__(self, rollout: str, agent: str, salt: str, money: Money) -> None:
        self.rollout, self.agent = rollout, agent
        self._money = money
        names = [f"user-{i}" for i in range(PANEL)]
        buckets = [bucket_of(salt, name) for name in names]
        order = np.argsort(buckets, kind="stable")
        self._names = [names[i] for i in order]
        self._buckets = np.array(buckets)[order]
        self._subjects = 0
        self._outcomes = 0

    def slots(self, span: Span, regime: Regime, first: int, end: int) -> list[Slot]:
        """The slots `first` up to `end` (within the span) that saw anything."""
        candidate: Mode = SHADOW if regime.mode == "shadow" else LIVE
        return [
            *self._fine(span, regime, candidate, first, end),
            *self._coarse(span, regime, first, end),
        ]

    def _fine(self, span: Span, regime: Regime, mode: Mode, first: int, end: int) -> Iterator[Slot]:
        arm = span.candidate
        errors = _tallies(arm.errors, arm.error_at, first, end)
        slow = {
            over(c): _tallies(counts, arm.slow_at[c], first, end) for c, counts in arm.slow.items()
        }
        for i, requests in enumerate(arm.requests[first:end].tolist(), start=first):
            if not requests:
                continue
            key = SlotKey(
                self.rollout,
                regime.epoch,
                self.agent,
                CANDIDATE,
                mode,
                (span.first + i) * span.seconds,
            )
            yield Slot(
                key,
                requests,
                errors.get(i, _NONE),
                {name: tallies[i] for name, tallies in slow.items() if i in tallies},
            )

    def _coarse(self, span: Span, regime: Regime, first: int, end: int) -> Iterator[Slot]:
        arm = span.control
        together = CONTROL_SLOTS if arm.requests.sum() > 20 * len(arm.requests) else 1
        lows = range(first, end, together)
        requests, errors = (
            np.add.reduceat(counts[:end], lows).tolist() if lows else []
            for counts in (arm.requests, arm.errors)
        )
        for low, asked, failed in zip(lows, requests, errors, strict=True):
            if asked:
                start = (span.first + min(end, low + together) - 1) * span.seconds
                key = SlotKey(self.rollout, regime.epoch, self.agent, CONTROL, LIVE, start)
                yield Slot(key, asked, Tally(failed) if failed else _NONE)

    def violations(
        self, span: Span, regime: Regime, at: Sequence[int]
    ) -> tuple[list[Violation], list[Slot]]:
        """A forbidden tool call in each of these slots, and the slots that count them."""
        mode: Mode = SHADOW if regime.mode == "shadow" else LIVE
        found: list[Violation] = []
        slots: list[Slot] = []
        for i in at:
            start = (span.first + i) * span.seconds
            when = datetime.fromtimestamp(start, UTC)
            found.append(
                Violation(self.rollout, when, self.agent, "forbidden_tool", "observed", mode=mode)
            )
            key = SlotKey(self.rollout, regime.epoch, self.agent, CANDIDATE, mode, start)
            slots.append(Slot(key, violations=1))
        return found, slots

    def totals(self, interval: Interval) -> list[Slot]:
        """What nothing reads slot by slot - latencies, status classes, money - in a last one."""
        span, found = interval.span, list[Slot]()
        for arm, slots in _arms(span):
            requests, errors = int(slots.requests.sum()), int(slots.errors.sum())
            if not requests:
                continue
            mode = SHADOW if arm == CANDIDATE and interval.regime.mode == "shadow" else LIVE
            start = (span.first + len(span) - 1) * span.seconds
            key = SlotKey(self.rollout, interval.regime.epoch, self.agent, arm, mode, start)
            found.append(
                Slot(
                    key,
                    statuses={"2": requests - errors, "5": errors},
                    latency=interval.latency[arm],
                    **(self._spent(interval, requests) if arm == CANDIDATE else {}),
                )
            )
        return found

    def _spent(self, interval: Interval, requests: int) -> dict[str, Any]:
        return {
            "tokens_in": round(requests * self._money.tokens_in),
            "tokens_out": round(requests * self._money.tokens_out),
            "cost": interval.spent,
            "priced": requests,
        }

    def sums(self, interval: Interval) -> list[BucketSums]:
        """The interval's bucket sums. Their amounts are whole arrays, which never cross a wire."""
        shadow = interval.regime.mode == "shadow"
        return [
            BucketSums(
                SumsKey(
                    self.rollout,
                    interval.regime.epoch,
                    tier,
                    self.agent,
                    cast("Arm", arm),
                    SHADOW if shadow and arm == CANDIDATE else LIVE,
                ),
                cast("dict[str, Any]", columns),
            )
            for arm, tiers in interval.sums.items()
            for tier, columns in tiers.items()
        ]

    def seen(self, interval: Interval) -> list[Seen]:
        """The interval's new subjects, under made-up hashes."""
        found: list[Seen] = []
        for arm, count in interval.seen.items():
            for _ in range(count):
                self._subjects += 1
                name = f"n{self._subjects}"
                found.append(Seen(self.rollout, interval.regime.epoch, cast("Arm", arm), name))
        return found

    def outcomes(self, span: Span, regime: Regime, first: int, end: int) -> list[Outcome]:
        """Outcomes whose time matters, of users who are on that arm."""
        found: list[Outcome] = []
        for arm, slots in _arms(span):
            for kind, counts in slots.timed.items():
                for i in np.flatnonzero(counts[first:end]) + first:
                    at = datetime.fromtimestamp((span.first + i + 0.5) * span.seconds, UTC)
                    each = range(int(counts[i]))
                    found.extend(self._outcome(kind, at, arm, regime) for _ in each)
        return found

    def _outcome(self, kind: str, at: datetime, arm: Arm, regime: Regime) -> Outcome:
        self._outcomes += 1
        edge = int(np.searchsorted(self._buckets, regime.share))
        low, high = (0, edge) if arm == CANDIDATE else (edge, len(self._names))
        place = low + self._outcomes * 7919 % max(1, high - low)
        name = self._names[min(place, len(self._names) - 1)]
        return Outcome(f"o{self._outcomes}", name, kind, at, agent=self.agent)


def _arms(span: Span) -> tuple[tuple[Arm, ArmSlots], tuple[Arm, ArmSlots]]:
    return (CANDIDATE, span.candidate), (CONTROL, span.control)


def _tallies(counts: Ints, at: tuple[Ints, Ints], first: int, end: int) -> dict[int, Tally]:
    """Per slot with events, how many, and which statistics buckets they came from."""
    slots, buckets = at
    low, high = np.searchsorted(slots, [first, end])
    bits: dict[int, int] = {}
    for i, bucket in zip(slots[low:high].tolist(), buckets[low:high].tolist(), strict=True):
        bits[i] = bits.get(i, 0) | 1 << bucket
    return {i: Tally(int(counts[i]), b.to_bytes(32, "little")) for i, b in bits.items()}
