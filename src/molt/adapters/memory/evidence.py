"""Evidence in memory."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from msgspec.structs import replace

from molt.adapters.sql.blobs import Sums, add_amounts, amounts_of, checked, no_sums
from molt.adapters.sql.values import (
    BATCHES_KEPT,
    CALLS_KEPT,
    FORGET_EVERY,
    RUNS_KEPT,
    SILENT_GATEWAYS_KEPT,
    folding,
    widened,
)
from molt.core.errors import VersionConflict
from molt.core.evidence import Batch, BucketSums, Call, Outcome, Seen, Slot, SlotKey, SumsKey


class MemoryEvidence:
    """Slots, bucket sums, outcomes and seen subjects; merging is addition."""

    _now: Callable[[], datetime]
    _runs: dict[str, tuple[bool, list[tuple[str, str]], datetime]]

    def __init__(self, *, measurements: bool = True) -> None:
        self._keeps_measurements = measurements
        self._batches: dict[str, dict[int, datetime]] = {}
        self._slots: dict[SlotKey, Slot] = {}
        self._spans: dict[SlotKey, int] = {}
        self._sums: dict[SumsKey, dict[str, Sums]] = {}
        self._outcomes: dict[tuple[str, str], Outcome] = {}
        self._seen: dict[tuple[str, str], Seen] = {}
        self._calls: dict[str, Call] = {}

    async def ingest(self, batch: Batch) -> Sequence[Seen] | None:
        """Fold `batch` in; None when this (gateway, sequence) was known."""
        numbers = self._batches.setdefault(batch.gateway, {})
        oldest = max(numbers, default=batch.sequence) - BATCHES_KEPT
        if batch.sequence in numbers or batch.sequence <= oldest:
            return None
        for one in batch.sums:
            for amounts in one.columns.values():
                if isinstance(amounts, dict):
                    checked(amounts)
        numbers[batch.sequence] = self._now()
        if batch.sequence % FORGET_EVERY == 0:
            for number in [n for n in numbers if n <= oldest]:
                del numbers[number]
        for slot in batch.slots:
            self._add_slot(slot)
        for sums in batch.sums:
            self._add_sums(sums)
        for call in batch.calls:
            self._calls.setdefault(call.id, call)
        new: dict[tuple[str, str], Seen] = {}
        for one in batch.seen:
            place = (one.rollout, one.subject)
            if place not in self._seen:
                new[place] = self._seen[place] = one
        return list(new.values())

    def _add_slot(self, slot: Slot, span: int = 0) -> None:
        if not self._keeps_measurements:
            return
        known = self._slots.get(slot.key)
        if known is None:
            self._slots[slot.key] = _copy(slot)
        else:
            known.merge(slot)
        if span:
            self._spans[slot.key] = span

    def _add_sums(self, sums: BucketSums) -> None:
        if not self._keeps_measurements:
            return
        columns = self._sums.setdefault(sums.key, {})
        for name, amounts in sums.columns.items():
            add_amounts(columns.setdefault(name, no_sums()), amounts)

    async def add_outcomes(
        self, rollout: str, outcomes: Sequence[Outcome], sums: Sequence[BucketSums]
    ) -> None:
        """Keep `outcomes` and fold the `sums` made from them; see the store on SQL for repeats."""
        rows = {(rollout, o.id): o for o in outcomes}
        known = rows.keys() & self._outcomes.keys()
        if rows and len(known) == len(rows):
            return
        if known:
            raise VersionConflict(f"{len(known)} of {len(rows)} outcomes were kept in the meantime")
        self._outcomes.update(rows)
        for one in sums:
            self._add_sums(one)

    async def known_outcomes(self, rollout: str, ids: Sequence[str]) -> set[str]:
        """Which of `ids` have been kept already."""
        return {i for i in ids if (rollout, i) in self._outcomes}

    async def known_subjects(self, rollout: str, subjects: Sequence[str]) -> set[str]:
        """Which of these subject hashes have been seen."""
        return {s for s in subjects if (rollout, s) in self._seen}

    async def slots(self, rollout: str, since: int = 0, until: int | None = None) -> Sequence[Slot]:
        """Slots of one rollout with `since <= start < until` (unix seconds), in order of start."""
        last = math.inf if until is None else until
        keys = [k for k in self._slots if k.rollout == rollout and since <= k.start < last]
        keys.sort(key=lambda k: (k.start, k.epoch, k.agent, k.arm, k.mode))
        return [_copy(self._slots[key]) for key in keys]

    async def sums(self, rollout: str) -> Sequence[BucketSums]:
        """All bucket sums of one rollout; buckets whose sum is zero are left out."""
        return [
            BucketSums(key, {name: amounts_of(sums) for name, sums in sorted(columns.items())})
            for key, columns in sorted(self._sums.items())
            if key.rollout == rollout and columns
        ]

    async def new_subjects(self, rollout: str) -> Mapping[int, tuple[int, int]]:
        """Per epoch, how many subjects were first seen on (candidate, control)."""
        counts: dict[int, tuple[int, int]] = {}
        for one in self._seen.values():
            if one.rollout == rollout:
                candidate, control = counts.get(one.epoch, (0, 0))
                here = one.arm == "candidate"
                counts[one.epoch] = (candidate + here, control + (not here))
        return counts

    async def outcomes(
        self, rollout: str, since: datetime, kinds: Sequence[str] | None = None
    ) -> Sequence[Outcome]:
        """Outcomes of one rollout that happened at `since` or later, in order of time."""
        found = (o for (r, _), o in self._outcomes.items() if r == rollout and o.at >= since)
        wanted = (o for o in found if kinds is None or o.kind in kinds)
        return sorted(wanted, key=lambda o: (o.at, o.id))

    async def calls_of(self, run: str) -> Sequence[Call]:
        """What `run` did, in order of time."""
        return self._sorted_calls(lambda c: c.run == run)

    async def calls(
        self, rollout: str, since: datetime, until: datetime, at_most: int = 1000
    ) -> Sequence[Call]:
        """The calls of one rollout with `since <= at < until`, in order of time, the last `at_most`."""
        found = self._sorted_calls(lambda c: c.rollout == rollout and since <= c.at < until)
        return found[-at_most:]

    def _sorted_calls(self, wanted: Callable[[Call], bool]) -> list[Call]:
        return sorted(filter(wanted, self._calls.values()), key=lambda c: (c.at, c.id))

    async def fold(self, now: datetime) -> None:
        """Merge slots older than a day to minutes, older than two weeks to hours; forget runs and
        silent gateways."""
        for span, before in folding(now):
            narrow = [k for k in self._slots if k.start < before and self._spans.get(k, 0) < span]
            for slot in [self._slots.pop(key) for key in narrow]:
                self._spans.pop(slot.key, None)
                self._add_slot(widened(slot, span), span)
        for gateway, numbers in list(self._batches.items()):
            if max(numbers.values()) < now - SILENT_GATEWAYS_KEPT:
                del self._batches[gateway]
        for run, (_, _, at) in list(self._runs.items()):
            if at < now - RUNS_KEPT:
                del self._runs[run]
        self._calls = {i: c for i, c in self._calls.items() if c.at >= now - CALLS_KEPT}


def _copy(slot: Slot) -> Slot:
    """Its own counters; tallies never change."""
    return replace(
        slot, over=dict(slot.over), statuses=dict(slot.statuses), latency=dict(slot.latency)
    )
