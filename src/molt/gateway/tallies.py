"""Observations -> slots and bucket sums, added up until the next batch takes them."""

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


class Tallies:
    """What was observed since the last `take`."""

    def __init__(self) -> None:
        self._slots: dict[tuple[str, int, str, Arm, Mode, int], _SlotTally] = {}
        self._sums: dict[tuple[str, int, str, Arm, Mode, int], BucketSums] = {}

    def __bool__(self) -> bool:
        return bool(self._slots)

    def add(self, seen: Observation, decided: Decided, route: Route, ended: float) -> None:
        """Fold one observation that ended at `ended`, unix seconds.

        It is folded under the flags it was decided with, and in the slot in which it ended, so that
        a slot that is over does not grow when long requests end.
        """
        arm, mode = decided.arm, decided.mode
        start = int(ended // route.slot_seconds) * route.slot_seconds
        key = (route.rollout, route.epoch, route.agent, arm, mode, start)
        tally = self._slots.get(key)
        if tally is None:
            tally = self._slots[key] = _SlotTally(SlotKey(*key))
        subject = decided.subject
        bucket = -1 if subject is None else route.statistics_bucket(subject)
        tally.add(seen, route, bucket)
        if subject is not None and seen.kind in ("request", "aborted"):
            tier = route.tier(subject, decided.bucket)
            self._add_sums(seen, decided, route, bucket, tier)

    def _add_sums(
        self, seen: Observation, decided: Decided, route: Route, bucket: int, tier: int
    ) -> None:
        key = (route.rollout, route.epoch, route.agent, decided.arm, decided.mode, tier)
        sums = self._sums.get(key)
        if sums is None:
            place = SumsKey(
                route.rollout, route.epoch, tier, route.agent, decided.arm, decided.mode
            )
            sums = self._sums[key] = BucketSums(place, {})
        if decided.begins:
            sums.add(CONVERSATIONS, bucket)
        if seen.kind != "request":
            return
        sums.add(REQUESTS, bucket)
        if seen.error:
            sums.add(ERRORS, bucket)
        for cut, name in route.cuts:
            if seen.latency_ms <= cut:
                break
            sums.add(name, bucket)
        if seen.cost is not None:
            cap = route.flags.cost_cap
            sums.add(COST, bucket, seen.cost)
            sums.add(COST_CAPPED, bucket, seen.cost if cap is None else min(seen.cost, cap))
            sums.add(PRICED, bucket)

    def take(self) -> tuple[list[Slot], list[BucketSums]]:
        """The slots and sums so far; begins anew."""
        slots = [tally.finished() for tally in self._slots.values()]
        sums = [sums for sums in self._sums.values() if sums.columns]
        self._slots, self._sums = {}, {}
        return slots, sums
