"""Slots of one epoch, arm and mode as columns, so that a look reads slices and walks through nothing.

A track is indexed by slot number (start / slot length). Slots may come late, in any order and in
any number of parts.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from molt.core.evidence import Slot, Spent, Tally

Ints = NDArray[np.int64]

_NOBODY: Final = Tally().buckets
_ROOM: Final = 512
"""Slots that are made room for at once."""


class _Events:
    """Counts of one kind of event, and the statistics buckets they came from, per slot."""

    __slots__ = ("buckets", "counts")

    def __init__(self, size: int) -> None:
        self.counts: Ints = np.zeros(size, dtype=np.int64)
        self.buckets = [0] * size

    def add(self, i: int, tally: Tally) -> None:
        self.counts[i] += tally.count
        self.buckets[i] |= int.from_bytes(tally.buckets, "little")

    def moved(self, low: int, before: int, after: int) -> "_Events":
        """Without the first `low` slots, with so many empty ones before and after."""
        fresh = _Events(0)
        fresh.counts = np.pad(self.counts[low:], (before, after))
        fresh.buckets = [0] * before + self.buckets[low:] + [0] * after
        return fresh


def _happened(tally: Tally) -> bool:
    return tally.count != 0 or tally.buckets != _NOBODY


class Track:
    """Requests, errors and slow requests per slot; `first` is the number of the first one."""

    def __init__(self, number: int) -> None:
        self.first = number
        self.requests: Ints = np.zeros(_ROOM, dtype=np.int64)
        self._errors = _Events(_ROOM)
        self._over: dict[str, _Events] = {}

    def __len__(self) -> int:
        return len(self._errors.buckets)

    def add(self, number: int, slot: Slot) -> None:
        """Add one slot, or a part of one, of any agent."""
        i = number - self.first
        if not 0 <= i < len(self._errors.buckets):
            self._make_room(i)
            i = number - self.first
        if slot.requests:
            self.requests[i] += slot.requests
        if _happened(slot.errors):
            self._errors.add(i, slot.errors)
        if not slot.over:
            return
        for name, tally in slot.over.items():
            if not _happened(tally):
                continue
            events = self._over.get(name)
            if events is None:
                events = self._over[name] = _Events(len(self))
            events.add(i, tally)

    def _make_room(self, i: int) -> None:
        if i < 0:
            self._move(0, _ROOM - i, 0)
        else:
            self._move(0, 0, max(len(self), i + _ROOM) - len(self) + len(self) // 2)

    def forget(self, oldest: int) -> None:
        """Drop slots before number `oldest`, some at a time."""
        low = oldest - self.first
        if low > _ROOM:
            self._move(min(low, len(self)), 0, 0)

    def _move(self, low: int, before: int, after: int) -> None:
        self.requests = np.pad(self.requests[low:], (before, after))
        self._errors = self._errors.moved(low, before, after)
        self._over = {name: e.moved(low, before, after) for name, e in self._over.items()}
        self.first += low - before

    def window(self, first: int, end: int) -> tuple[int, int]:
        """The indices of slot numbers `first` up to `end`, as far as they are here."""
        low = min(max(0, first - self.first), len(self))
        return low, max(low, min(end - self.first, len(self)))

    def events(self, cut: str | None, low: int, high: int) -> tuple[Ints, list[int]] | None:
        """Errors, or requests over `cut`, of the slots at these indices; None without any."""
        found = self._errors if cut is None else self._over.get(cut)
        return None if found is None else (found.counts[low:high], found.buckets[low:high])


class Ledger:
    """What was spent, per minute."""

    def __init__(self) -> None:
        self._first = 0
        self._rows: NDArray[np.float64] = np.zeros((0, len(Spent())))

    def add(self, minute: int, spent: Spent) -> None:
        """Add to one minute, in any order."""
        if not len(self._rows):
            self._first = minute
        before = max(0, self._first - minute)
        after = max(0, minute - self._first - len(self._rows) + 1)
        if before or after:
            self._rows = np.pad(self._rows, ((before, after + (_ROOM if after else 0)), (0, 0)))
            self._first -= before
        self._rows[minute - self._first] += spent

    def forget(self, oldest: int) -> None:
        """Drop minutes before `oldest`, some at a time."""
        low = oldest - self._first
        if low > _ROOM:
            self._rows = self._rows[low:].copy()
            self._first = oldest

    def since(self, minute: int) -> Spent:
        """All from that minute on."""
        rows = self._rows[max(0, minute - self._first) :]
        cost, priced, metered, requests = rows.sum(axis=0).tolist()
        return Spent(cost, int(priced), metered, int(requests))
