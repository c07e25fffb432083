"""Slots of long time ranges, merged to what a chart can show, each old one read once."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from molt.control.analytics import GRAINS
from molt.core.evidence import Slot
from molt.ports import EvidenceStore

HOUR: Final = 3600
DAY: Final = 86_400
KEPT: Final[dict[int, int]] = dict(zip(GRAINS, (DAY, 4 * DAY, 15 * DAY, 60 * DAY), strict=True))
"""For how long merged slots are held, by their width in seconds: some ten thousand at most."""
OPEN: Final = 2 * HOUR
"""Seconds that slots stay open to gateways that tell late; these are read anew every time."""
ROLLOUTS: Final = 2
"""Rollouts whose merged slots are held."""
PIECE: Final = DAY // 2
"""Seconds of evidence that are in memory unmerged at a time."""


@dataclass
class _Held:
    """The merged slots of [first, last)."""

    first: int
    last: int
    slots: list[Slot] = field(default_factory=list)


class Condensed:
    """Slots of a time range, none finer than is asked for, merged in a thread beside decisions."""

    def __init__(self, store: EvidenceStore) -> None:
        self._store = store
        self._turn = asyncio.Lock()
        self._held: dict[tuple[str, int], _Held] = {}

    async def slots(self, rollout: str, start: int, end: int, now: int, grain: int) -> list[Slot]:
        """Slots that start in [start, end), unix seconds, merged to `grain` seconds, one of `GRAINS`; 0: as they are.

        The first and the last are whole, so that they may reach a little beyond the range.

        Evidence that gateways bring later than
        `OPEN` joins when Molt has been started again.
        """
        if not grain:
            return list(await self._store.slots(rollout, start, end))
        start = start // grain * grain
        closed = (now - OPEN) // grain * grain
        if start < now - KEPT[grain] or start >= closed:
            return await self._read(rollout, start, end, grain)
        async with self._turn:
            held = await self._filled(rollout, start, closed, grain)
        old = [slot for slot in held.slots if start <= slot.key.start < end]
        return old + await self._read(rollout, closed, end, grain)

    async def _filled(self, rollout: str, start: int, closed: int, grain: int) -> _Held:
        """What is held of this rollout, grown to [start, closed)."""
        held = self._held.pop((rollout, grain), None) or _Held(closed, closed)
        if start < held.first:
            held.slots = await self._read(rollout, start, held.first, grain) + held.slots
            held.first = start
        if closed > held.last:
            held.slots += await self._read(rollout, held.last, closed, grain)
            held.last = closed
        oldest = closed - KEPT[grain]
        if held.first < oldest:
            held.first = oldest
            held.slots = [slot for slot in held.slots if slot.key.start >= oldest]
        self._held[(rollout, grain)] = held
        while len(self._held) > ROLLOUTS * len(KEPT):
            del self._held[next(iter(self._held))]
        return held

    async def _read(self, rollout: str, start: int, end: int, grain: int) -> list[Slot]:
        found: list[Slot] = []
        for first in range(start, end, PIECE):
            kept = await self._store.slots(rollout, first, min(first + PIECE, end))
            found += await asyncio.to_thread(merged, kept, grain)
        return found


def merged(slots: Iterable[Slot], grain: int) -> list[Slot]:
    """The same evidence in slots of `grain` seconds."""
    sums: dict[tuple[int, int, str, str, str], Slot] = {}
    for slot in slots:
        key = slot.key
        start = key.start // grain * grain
        place = (start, key.epoch, key.agent, key.arm, key.mode)
        if (total := sums.get(place)) is None:
            total = sums[place] = Slot(replace(key, start=start))
        total.merge(slot)
    return list(sums.values())
