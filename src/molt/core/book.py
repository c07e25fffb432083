"""The evidence of one rollout, gathered by addition and read by gates and triggers.

Merging order, repeats filtered out before, and restarts never change what is read here. Size grows
with epochs and with the time that triggers look back, never with requests or users.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from molt.core.assignment import STATISTICS_BUCKETS, Arm
from molt.core.derived import Derived
from molt.core.evidence import (
    LIVE,
    SHADOW,
    BucketSums,
    Mode,
    Outcome,
    Seen,
    Slot,
    Spent,
    Violation,
    add_counts,
)
from molt.core.tracks import Ledger, Track

Floats = NDArray[np.float64]

LOOK_BACK = timedelta(hours=26)
"""How long single slots are kept in memory: the longest window a trigger looks back, and a day of
spending."""


MOST_VIOLATIONS = 1000
"""Violations whose details are kept in memory, the latest ones."""


class Counts(NamedTuple):
    """Totals of one epoch and arm since it began."""

    requests: int
    errors: int
    spent: Spent
    violations: int


class Series(NamedTuple):
    """Consecutive slots up to now: aligned arrays, empty slots included."""

    requests: NDArray[np.int64]
    events: NDArray[np.int64]
    buckets: list[int]


class _Totals:
    """Everything of one epoch, arm and mode, since it began."""

    __slots__ = (
        "cost", "errors", "latency", "metered", "priced", "requests", "statuses", "violations",
    )  # fmt: skip

    def __init__(self) -> None:
        self.requests = self.errors = self.priced = self.violations = 0
        self.cost = self.metered = 0.0
        self.statuses: dict[str, int] = {}
        self.latency: dict[int, int] = {}

    def add(self, slot: Slot) -> None:
        self.requests += slot.requests
        self.errors += slot.errors.count
        self.priced += slot.priced
        self.cost += slot.cost
        self.metered += slot.metered
        self.violations += slot.violations
        if slot.latency:
            add_counts(self.latency, slot.latency)
        if slot.statuses:
            add_counts(self.statuses, slot.statuses)

    def less(self, slots: Iterable[Slot]) -> "_Totals":
        """The same without those slots."""
        left, gone = _Totals(), _Totals()
        for slot in slots:
            gone.add(slot)
        for name in ("requests", "errors", "priced", "violations", "cost", "metered"):
            setattr(left, name, getattr(self, name) - getattr(gone, name))
        left.statuses = {k: n - gone.statuses.get(k, 0) for k, n in self.statuses.items()}
        left.latency = {k: n - gone.latency.get(k, 0) for k, n in self.latency.items()}
        return left


_NOTHING = _Totals()


class Book(Derived):
    """Evidence of one rollout, in memory."""

    def __init__(
        self, slot_seconds: float = 10.0, timed: Mapping[str, timedelta] | None = None
    ) -> None:
        """`timed` names the outcome kinds whose times are kept, and for how long."""
        super().__init__()
        self._timed = timed or {}
        self.slot_seconds = max(1, round(slot_seconds))
        self._tracks: dict[tuple[int, Arm, Mode], Track] = {}
        self._oldest = 0
        self._oldest_second = 0
        self._totals: dict[tuple[int, Arm, Mode], _Totals] = defaultdict(_Totals)
        self._sums: dict[tuple[int, Arm, Mode], dict[str, Floats]] = defaultdict(dict)
        self._tiers: dict[tuple[int, Arm, Mode], dict[str, Floats]] = {}
        self._agents: dict[str, dict[tuple[int, Arm, Mode], dict[str, Floats]]] = {}
        self._paid = Ledger()
        self._recent: list[tuple[datetime, str, Arm, int]] = []
        self.new_subjects: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        self.violations: list[Violation] = []
        self.newest: int | None = None

    # --- gathering

    def add_slot(self, slot: Slot) -> None:
        """Add one slot; slots of one key may come in any number of parts."""
        at, start = slot.key, slot.key.start
        key = (at.epoch, at.arm, at.mode)
        number = start // self.slot_seconds
        track = self._tracks.get(key)
        if track is None:
            track = self._tracks[key] = Track(number)
        track.add(number, slot)
        self._totals[key].add(slot)
        if at.arm == "candidate":
            self._paid.add(start // 60, slot.spent)
        if self.newest is None or start > self.newest:
            self.newest = start

    def add_sums(self, sums: BucketSums) -> None:
        """Add bucket sums, pooled over agents, also kept by tier and by agent."""
        k = sums.key
        place = (k.epoch, k.arm, k.mode)
        by_agent = self._agents.setdefault(k.agent, defaultdict(dict))
        pools = (self._sums[place], by_agent[place])
        tiers = self._tiers.setdefault(place, {})
        for column, amounts in sums.columns.items():
            self._note(column, k.epoch)
            for pool in pools:
                array = pool.get(column)
                if array is None:
                    array = pool[column] = np.zeros(STATISTICS_BUCKETS)
                add_amounts(array, amounts)
            add_amounts(_tier_of(tiers, column, k.tier), amounts)

    def add_seen(self, seen: Iterable[Seen]) -> None:
        """Count subjects that nobody had seen before."""
        for subject in seen:
            self.new_subjects[subject.epoch][subject.arm != "candidate"] += 1

    def add_violations(self, violations: Iterable[Violation]) -> None:
        """Remember what the violations were; slots count them."""
        self.violations.extend(violations)
        self.violations.sort(key=lambda v: v.at)
        del self.violations[:-MOST_VIOLATIONS]

    def add_outcomes(self, outcomes: Iterable[tuple[Outcome, Arm, int]]) -> None:
        """Remember when the outcomes happened that rules look at, with their arm and epoch."""
        self.add_times((o.at, o.kind, arm, epoch) for o, arm, epoch in outcomes)

    def add_times(self, times: Iterable[tuple[datetime, str, Arm, int]]) -> None:
        """The same from (time, kind, arm, epoch)."""
        self._recent.extend(row for row in times if row[1] in self._timed)

    def forget(self, now: datetime) -> None:
        """Drop single slots and outcome times that no rule looks back to."""
        oldest = int((now - LOOK_BACK).timestamp())
        self._oldest_second = oldest
        self._oldest = -(-oldest // self.slot_seconds)
        for key, track in list(self._tracks.items()):
            track.forget(self._oldest)
            if not len(track):
                del self._tracks[key]
        self._paid.forget(oldest // 60)
        self._recent = [row for row in self._recent if row[0] >= now - self._timed[row[1]]]

    # --- reading

    def counts(self, epochs: Iterable[int], arm: Arm, mode: Mode) -> Counts:
        """Totals over `epochs`."""
        requests = errors = priced = violations = 0
        cost = metered = 0.0
        for epoch in epochs:
            found = self._totals.get((epoch, arm, mode))
            if found is not None:
                requests += found.requests
                errors += found.errors
                priced += found.priced
                cost += found.cost
                metered += found.metered
                violations += found.violations
        return Counts(requests, errors, Spent(cost, priced, metered, requests), violations)

    def without(self, slots: Sequence[Slot]) -> "Book":
        """This book, its totals without those slots; all else stays as it is and is shared."""
        left = copy(self)
        left._totals = defaultdict(_Totals, self._totals)
        of = defaultdict[tuple[int, Arm, Mode], list[Slot]](list)
        for slot in slots:
            of[slot.key.epoch, slot.key.arm, slot.key.mode].append(slot)
        for key, gone in of.items():
            left._totals[key] = self._totals.get(key, _NOTHING).less(gone)
        return left

    def unavailable(self, epochs: Iterable[int], arm: Arm) -> float:
        """The share of requests with a 5xx or no answer at all; 0 without requests."""
        totals: dict[str, int] = {}
        for epoch in epochs:
            for mode in (LIVE, SHADOW):
                add_counts(totals, self._totals.get((epoch, arm, mode), _NOTHING).statuses)
        everything = sum(totals.values())
        return (totals.get("5", 0) + totals.get("0", 0)) / everything if everything else 0.0

    def latency(self, epochs: Iterable[int], arm: Arm, mode: Mode) -> dict[int, int]:
        """The latency histogram over `epochs`: log index -> count."""
        merged: dict[int, int] = {}
        for epoch in epochs:
            add_counts(merged, self._totals.get((epoch, arm, mode), _NOTHING).latency)
        return merged

    def sums(self, epoch: int, arm: Arm, mode: Mode, columns: Sequence[str]) -> Floats:
        """Per statistics bucket, the sum of `columns`; zeros where nothing was seen."""
        return _total(self._sums.get((epoch, arm, mode), {}), columns)

    def agents(self) -> list[str]:
        """The agent types that something was measured of; "" for outcomes that name none."""
        return sorted(self._agents)

    def sums_of_agent(
        self, agent: str, epoch: int, arm: Arm, mode: Mode, columns: Sequence[str]
    ) -> Floats:
        """`sums` of one agent type."""
        return _total(self._agents.get(agent, {}).get((epoch, arm, mode), {}), columns)

    def columns(self, epoch: int, arm: Arm, mode: Mode) -> list[str]:
        """The columns that hold anything, by name."""
        return sorted(self._sums.get((epoch, arm, mode), {}))

    def sums_by_tier(
        self, epoch: int, tiers: slice, arm: Arm, mode: Mode, columns: Sequence[str]
    ) -> Floats:
        """The same, of the subjects in `tiers` only."""
        tables = self._of_tiers(epoch, tiers, arm, mode, columns)
        return sum(map(np.add.reduce, tables), np.zeros(STATISTICS_BUCKETS))

    def total_by_tier(
        self, epoch: int, tiers: slice, arm: Arm, mode: Mode, columns: Sequence[str]
    ) -> float:
        """The same of all statistics buckets together."""
        total = 0.0
        for table in self._of_tiers(epoch, tiers, arm, mode, columns):
            total += float(np.add.reduce(table, axis=None))
        return total

    def _of_tiers(
        self, epoch: int, tiers: slice, arm: Arm, mode: Mode, columns: Sequence[str]
    ) -> list[Floats]:
        """Each column's rows of those of `tiers` that it has."""
        place = self._tiers.get((epoch, arm, mode), {})
        return [place[column][tiers] for column in columns if column in place]

    def series(
        self, epochs: Iterable[int], until: datetime, length: timedelta, cut: str | None = None
    ) -> Series:
        """The candidate's slots (live and shadow) of the last `length`, oldest first.

        Events are errors, or requests over the latency `cut` (a column name). The slot that
        contains `until` is the last one.
        """
        step = self.slot_seconds
        last = int(until.timestamp()) // step
        size = max(1, round(length.total_seconds() / step))
        first = last - size + 1
        requests = np.zeros(size, dtype=np.int64)
        events = np.zeros(size, dtype=np.int64)
        buckets = [0] * size
        wanted = set(epochs)
        for (epoch, arm, _), track in self._tracks.items():
            if arm != "candidate" or epoch not in wanted:
                continue
            low, high = track.window(max(first, self._oldest), last + 1)
            if low == high:
                continue
            at = track.first + low - first
            requests[at : at + high - low] += track.requests[low:high]
            found = track.events(cut, low, high)
            if found is not None:
                events[at : at + high - low] += found[0]
                if any(buckets):
                    for i, bits in enumerate(found[1], start=at):
                        buckets[i] |= bits
                else:
                    buckets[at : at + high - low] = found[1]
        return Series(requests, events, buckets)

    def requests_since(self, arm: Arm, since: datetime, until: datetime | None = None) -> int:
        """Requests of `arm`, live and shadow, in slots that end after `since`.

        With `until`, in those that begin before it.
        """
        first = max(self._oldest, math.floor(since.timestamp() / self.slot_seconds))
        end = None if until is None else math.ceil(until.timestamp() / self.slot_seconds)
        total = 0
        for (_, its_arm, _), track in self._tracks.items():
            if its_arm == arm:
                low, high = track.window(first, track.first + len(track) if end is None else end)
                total += int(track.requests[low:high].sum())
        return total

    def spent_since(self, since: datetime) -> Spent:
        """What the candidate has cost, live and in shadow, from the minute of `since` on."""
        return self._paid.since(max(int(since.timestamp()), self._oldest_second) // 60)

    def outcomes_since(self, kind: str, since: datetime, arm: Arm | None = None) -> int:
        """How many outcomes of `kind` happened at `since` or later."""
        return sum(
            1 for at, k, a, _ in self._recent if at >= since and k == kind and arm in (None, a)
        )


def _tier_of(tiers: dict[str, Floats], column: str, tier: int) -> Floats:
    """The sums of one tier: a row of the column's table, which grows to hold it."""
    table = tiers.get(column)
    have = 0 if table is None else len(table)
    if table is None or tier >= have:
        grown = np.zeros((tier + 1, STATISTICS_BUCKETS))
        if table is not None:
            grown[:have] = table
        table = tiers[column] = grown
    return table[tier]


def add_amounts(sums: Floats, amounts: Mapping[int, float] | Floats) -> None:
    """Add amounts by bucket, or of all buckets at once (a whole array, as the simulator has it)."""
    if isinstance(amounts, np.ndarray):
        sums += amounts
        return
    for bucket, amount in amounts.items():
        sums[bucket] += amount


def _total(place: dict[str, Floats], columns: Sequence[str]) -> Floats:
    if len(columns) == 1 and columns[0] in place:
        return place[columns[0]].copy()
    found = [place[column] for column in columns if column in place]
    if not found:
        return np.zeros(STATISTICS_BUCKETS)
    total = found[0].copy()
    for array in found[1:]:
        total += array
    return total
