"""Observations -> slots and bucket sums, added up until the next batch takes them."""

from typing import Final

from molt.core.assignment import STATISTICS_BUCKETS, Arm
from molt.core.evidence import (
    CONVERSATIONS,
    COST,
    COST_CAPPED,
    ERRORS,
    PRICED,
    REQUESTS,
    BucketSums,
    Mode,
    Slot,
    SlotKey,
    SumsKey,
    Tally,
)
from molt.core.stats.latency import binned
from molt.gateway.observations import Observation
from molt.gateway.routes import Decided, Route

_BITMAP_BYTES = STATISTICS_BUCKETS // 8


class _Events:
    """A tally in the making."""

    __slots__ = ("bits", "count")

    def __init__(self) -> None:
        self.count = 0
        self.bits = 0

    def add(self, bucket: int) -> None:
        self.count += 1
        if bucket >= 0:
            self.bits |= 1 << bucket

    def tally(self) -> Tally:
        return Tally(self.count, self.bits.to_bytes(_BITMAP_BYTES, "little"))


class _SlotTally:
    """A slot in the making; latencies stay raw until it is taken."""

    __slots__ = ("errors", "latencies", "over", "slot")

    def __init__(self, key: SlotKey) -> None:
        self.slot = Slot(key)
        self.errors = _Events()
        self.over: dict[str, _Events] = {}
        self.latencies: list[float] = []

    def add(self, seen: Observation, route: Route, bucket: int) -> None:
        slot = self.slot
        if seen.fell_back:
            slot.fallbacks += 1
        if seen.kind != "request":
            self._add_apart(seen)
            return
        slot.requests += 1
        slot.statuses[seen.status] = slot.statuses.get(seen.status, 0) + 1
        self.latencies.append(seen.latency_ms)
        if seen.error:
            self.errors.add(bucket)
        for cut, name in route.cuts:
            if seen.latency_ms <= cut:
                break
            self.over.setdefault(name, _Events()).add(bucket)
        slot.tokens_in += seen.tokens_in
        slot.tokens_out += seen.tokens_out
        slot.tool_calls += seen.tool_calls
        slot.violations += len(seen.forbidden)
        if seen.cost is not None:
            slot.cost += seen.cost
            slot.priced += 1

    def _add_apart(self, seen: Observation) -> None:
        if seen.kind == "limited":
            self.slot.limited += 1
        elif seen.kind == "aborted":
            self.slot.aborted += 1
        else:
            self.slot.mirrors_dropped += 1

    def finished(self) -> Slot:
        self.slot.errors = self.errors.tally()
        self.slot.over = {name: events.tally() for name, events in self.over.items()}
        self.slot.latency = binned(self.latencies)
        return self.slot


_FIXED: Final = (REQUESTS, ERRORS, CONVERSATIONS, COST, COST_CAPPED, PRICED)
_OVER: Final = len(_FIXED)


class _Sums:
    """Bucket sums in the making: per statistics bucket one row, in the order of `_columns`."""

    __slots__ = ("_cap", "_columns", "_cuts", "_empty", "_key", "_rows")

    def __init__(self, key: SumsKey, route: Route) -> None:
        self._key = key
        self._cap = route.flags.cost_cap
        self._cuts = tuple(cut for cut, _ in route.cuts)
        self._columns = (*_FIXED, *(name for _, name in route.cuts))
        self._empty = [0.0] * len(self._columns)
        self._rows: dict[int, list[float]] = {}

    def add(self, seen: Observation, begins: bool, bucket: int) -> None:
        row = self._rows.get(bucket)
        if row is None:
            row = self._rows[bucket] = self._empty.copy()
        if begins:
            row[2] += 1.0
        if seen.kind != "request":
            return
        row[0] += 1.0
        if seen.error:
            row[1] += 1.0
        cost = seen.cost
        if cost is not None:
            row[3] += cost
            row[4] += cost if self._cap is None or cost < self._cap else self._cap
            row[5] += 1.0
        at, latency = _OVER, seen.latency_ms
        for cut in self._cuts:
            if latency <= cut:
                break
            row[at] += 1.0
            at += 1

    def finished(self) -> BucketSums:
        rows = self._rows.items()
        columns = {
            column: {bucket: row[at] for bucket, row in rows if row[at]}
            for at, column in enumerate(self._columns)
        }
        return BucketSums(self._key, {name: sums for name, sums in columns.items() if sums})


class Tallies:
    """What was observed since the last `take`."""

    def __init__(self) -> None:
        self._slots: dict[tuple[Route, Arm, Mode, int], _SlotTally] = {}
        self._sums: dict[tuple[Route, Arm, Mode, int], _Sums] = {}

    def __bool__(self) -> bool:
        return bool(self._slots)

    def add(self, seen: Observation, decided: Decided, route: Route, ended: float) -> None:
        """Fold one observation that ended at `ended`, unix seconds.

        It is folded under the flags it was decided with, and in the slot in which it ended, so that
        a slot that is over does not grow when long requests end.
        """
        arm, mode, subject = decided.arm, decided.mode, decided.subject
        start = int(ended // route.slot_seconds) * route.slot_seconds
        key = (route, arm, mode, start)
        tally = self._slots.get(key)
        if tally is None:
            place = SlotKey(route.rollout, route.epoch, route.agent, arm, mode, start)
            tally = self._slots[key] = _SlotTally(place)
        if subject is None:
            tally.add(seen, route, -1)
            return
        bucket = route.statistics_bucket(subject)
        tally.add(seen, route, bucket)
        if seen.kind == "request" or seen.kind == "aborted":
            tier = route.tier(subject, decided.bucket)
            sums = self._sums.get((route, arm, mode, tier))
            if sums is None:
                at = SumsKey(route.rollout, route.epoch, tier, route.agent, arm, mode)
                sums = self._sums[(route, arm, mode, tier)] = _Sums(at, route)
            sums.add(seen, decided.begins, bucket)

    def take(self) -> tuple[list[Slot], list[BucketSums]]:
        """The slots and sums so far; begins anew.

        Two may have the same key, when flags changed and the stratum did not.
        """
        slots = [tally.finished() for tally in self._slots.values()]
        sums = [sums.finished() for sums in self._sums.values()]
        self._slots, self._sums = {}, {}
        return slots, [entry for entry in sums if entry.columns]
