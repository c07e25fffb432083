"""The way of the evidence to control: in parts, twice, late, or out of order."""

import heapq
from collections.abc import Sequence
from datetime import datetime
from itertools import count
from typing import Final

import numpy as np

from molt.apps.simulate.scenario import Scenario
from molt.apps.simulate.timeline import Timeline
from molt.core.evidence import Batch, BucketSums, Seen, Slot, Violation

_DISTURBING: Final = ("duplicated", "late", "reordered")


class Channel:
    """Turns evidence into numbered batches, and says which arrive when."""

    def __init__(self, scenario: Scenario, timeline: Timeline, seed: int) -> None:
        self._faults = [f for f in scenario.faults if f.kind in _DISTURBING]
        self._timeline = timeline
        self._gateways = scenario.gateways
        self._numbers = count(1)
        self._order = count()
        self._rng = np.random.default_rng([seed, 3])
        self._waiting: list[tuple[datetime, int, Batch]] = []

    def disturbed(self, at: float) -> bool:
        """Whether evidence does not simply arrive now."""
        return any(self._timeline.now(fault, at) for fault in self._faults)

    def next_due(self) -> datetime | None:
        """When the next late batch arrives."""
        return self._waiting[0][0] if self._waiting else None

    def send(
        self,
        now: datetime,
        *,
        slots: Sequence[Slot] = (),
        sums: Sequence[BucketSums] = (),
        seen: Sequence[Seen] = (),
        violations: Sequence[Violation] = (),
    ) -> None:
        """Evidence leaves the gateways; the first of them also tells all that is not a slot."""
        for gateway in range(self._gateways):
            mine = slots if self._gateways == 1 else slots[gateway :: self._gateways]
            first = gateway == 0
            if not (mine or first):
                continue
            batch = Batch(
                gateway=f"gateway-{gateway + 1}",
                sequence=next(self._numbers),
                sent_at=now,
                applied=0,
                slots=list(mine),
                sums=list(sums) if first else [],
                seen=list(seen) if first else [],
                violations=list(violations) if first else [],
            )
            self._post(batch, now)

    def _post(self, batch: Batch, now: datetime) -> None:
        due, copies = now, 1
        for fault in self._faults:
            if not self._timeline.now(fault, now.timestamp()):
                continue
            if fault.kind == "late":
                due = now + fault.by
            if fault.kind == "reordered":
                due = now + fault.by * float(self._rng.uniform())
            if fault.kind == "duplicated" and self._rng.uniform() < fault.share:
                copies = 2
        for _ in range(copies):
            heapq.heappush(self._waiting, (due, next(self._order), batch))

    def arrived(self, now: datetime) -> list[Batch]:
        """The batches that arrive by now, in the order of their arrival."""
        found: list[Batch] = []
        while self._waiting and self._waiting[0][0] <= now:
            found.append(heapq.heappop(self._waiting)[2])
        return found
