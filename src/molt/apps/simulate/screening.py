"""At which slots a trigger could fire: a necessary condition, for all slots at once.

Every rule of the kind "rate above X for D" asks first that the pooled rate of a window of length
D, 2D, 4D ... 64D be above X (the literal one: of length D). Where no such window ends, looking
would find nothing, so nobody needs to look. A test holds the simulator to this: looking at every
slot decides the same.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from molt.apps.simulate.stream import Ints, Span
from molt.core.playbook import ErrorRateTrigger, LatencyTrigger, Playbook
from molt.core.stats import sustained

Mask = NDArray[np.bool_]
_LONGEST: Final = 1 << (sustained.DOUBLINGS - 1)


class Watch:
    """What the triggers of one plan would see, slot by slot."""

    def __init__(self, playbook: Playbook) -> None:
        self._slot = max(1, round(playbook.timing.slot.total_seconds()))
        self._rates = [
            t for t in playbook.triggers if isinstance(t, ErrorRateTrigger | LatencyTrigger)
        ]
        self._complaints = [t for t in playbook.triggers if t.kind == "complaints"]
        self._blind = self._slots(playbook.timing.blind_after)
        spans = [self._slots(t.for_) * _LONGEST for t in self._rates]
        spans += [self._slots(t.within) for t in self._complaints]
        self._keep = max([self._blind, *spans]) + 2
        self.forget(None)

    def _slots(self, length: timedelta) -> int:
        return max(1, round(length.total_seconds() / self._slot))

    def forget(self, since: datetime | None) -> None:
        """Triggers do not look back across this moment."""
        self._since = since
        self._requests = np.zeros(0, np.int64)
        self._events: list[Ints] = [np.zeros(0, np.int64) for _ in self._series()]

    def _series(self) -> Sequence[object]:
        return [*self._rates, *self._complaints]

    def look(self, span: Span) -> list[int]:
        """The slots (within `span`) after which a trigger could fire, or sight be lost or found."""
        new, last = span.candidate, len(span)
        requests = _running(self._requests, new.requests)
        mask = np.zeros(last, np.bool_)
        for i, trigger in enumerate(self._rates):
            events = _running(self._events[i], self._of(trigger, span))
            mask |= self._above(trigger, requests, events, last)
        for i, trigger in enumerate(self._complaints, start=len(self._rates)):
            events = _running(self._events[i], self._of(trigger, span))
            size = self._slots(trigger.within) + 1
            mask |= _windowed(events, size, last) > trigger.above
        blind = _windowed(requests, self._blind, last + 1) == 0
        mask |= np.concatenate([[False], blind[1:] != blind[:-1]])[-last:]
        return np.flatnonzero(mask).tolist()

    def take(self, span: Span) -> None:
        """Remember slots that were delivered."""
        self._requests = np.concatenate([self._requests, span.candidate.requests])[-self._keep :]
        self._events = [
            np.concatenate([old, self._of(one, span)])[-self._keep :]
            for old, one in zip(self._events, self._series(), strict=True)
        ]

    @staticmethod
    def _of(one: object, span: Span) -> Ints:
        arm = span.candidate
        if isinstance(one, ErrorRateTrigger):
            return arm.errors
        if isinstance(one, LatencyTrigger):
            return arm.slow[one.above.total_seconds() * 1000]
        return arm.timed.get(getattr(one, "outcome", ""), arm.requests * 0)

    def _above(
        self, trigger: ErrorRateTrigger | LatencyTrigger, requests: Ints, events: Ints, last: int
    ) -> Mask:
        limit = trigger.above if isinstance(trigger, ErrorRateTrigger) else trigger.rate
        literal = trigger.rule == "literal"
        least = 1 if literal else sustained.MIN_EVENTS
        mask = np.zeros(last, np.bool_)
        if events[-1] < least:
            return mask
        # The window's last slot has just begun and is empty, so one slot less is looked at; the
        # whole length is asked, too, for rules that look once the slot is over.
        for doubling in range(1 if literal else sustained.DOUBLINGS):
            size = self._slots(trigger.for_) << doubling
            for length in {size, max(1, size - 1)}:
                x = _windowed(events, length, last)
                enough = np.flatnonzero(x >= least)
                if len(enough):
                    n = _windowed(requests, length, last)[enough]
                    mask[enough[x[enough] > limit * n]] = True
        return mask


def _running(known: Ints, new: Ints) -> Ints:
    """Sums of all slots before each edge, from 0 on."""
    sums = np.zeros(len(known) + len(new) + 1, np.int64)
    np.cumsum(np.concatenate([known, new]), out=sums[1:])
    return sums


def _windowed(upto: Ints, size: int, last: int) -> Ints:
    """Sums of windows of `size` slots that end with each of the `last` slots (or all there are)."""
    first = max(1, len(upto) - last)
    sums = upto[first:].copy()
    before = max(0, size - first)  # windows that begin before the first slot
    sums[before:] -= upto[max(0, first - size) : len(upto) - size] if size < len(upto) else 0
    return sums
