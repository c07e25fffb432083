"""Slots of long time ranges, merged to what a chart can show, each old one read once."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from molt.control.analytics import GRAINS
from molt.core.evidence import Batch, Slot
from molt.ports import EvidenceStore

HOUR: Final = 3600
DAY: Final = 86_400
KEPT: Final[dict[int, int]] = dict(zip(GRAINS, (DAY, 4 * DAY, 15 * DAY, 60 * DAY), strict=True))
"""For how long merged slots are held, by their width in seconds: some ten thousand at most."""
OPEN: Final = 2 * HOUR
"""Seconds that slots stay open to gateways that tell late; these are read anew every time."""
HELD: Final = 8
"""Rollouts times widths of which merged slots are held."""
PIECE: Final = 2 * HOUR
"""Seconds of evidence that are read and held at a time; every one of `GRAINS` divides it."""

Pieces = dict[int, list[Slot]]


class Condensed:
    """Slots of a time range, none finer than is asked for, merged in a thread beside decisions."""

    def __init__(self, store: EvidenceStore) -> None:
        self._store = store
        self._turn = asyncio.Lock()
        self._held: dict[tuple[str, int], Pieces] = {}
        self._changed: set[tuple[str, int]] = set()
        self._ahead: dict[tuple[str, int], asyncio.Task[list[Slot]]] = {}

    async def slots(self, rollout: str, start: int, end: int, now: int, grain: int) -> list[Slot]:
        """Slots that start in [start, end), unix seconds, merged to `grain` seconds, one of `GRAINS`; 0: as they are.

        The first and the last are whole, so that they may reach a little beyond the range.
        """
        if not grain:
            return list(await self._store.slots(rollout, start, end))
        start = start // grain * grain
        firsts = [first for first in _pieces(start, now, grain) if first < end]
        if not firsts:
            return await self._read(rollout, start, end, grain)
        held = await self._filled(rollout, firsts, grain)
        old = [slot for slot in held if start <= slot.key.start < end]
        return old + await self._read(rollout, firsts[-1] + PIECE, end, grain)

    def ready(self, rollout: str, start: int, now: int, grain: int) -> float:
        """How much of what `slots` would read once is held, 0..1."""
        firsts = _pieces(start // grain * grain, now, grain) if grain else ()
        held = self._held.get((rollout, grain), {})
        return sum(first in held for first in firsts) / len(firsts) if firsts else 1.0

    async def prepare(
        self, rollout: str, start: int, now: int, grain: int, seconds: float
    ) -> float:
        """Read ahead what `slots` will need, waiting `seconds` for it at most; how much is `ready`."""
        if self.ready(rollout, start, now, grain) < 1:
            task = self._ahead.get((rollout, grain))
            if task is None or task.done():
                firsts = _pieces(start // grain * grain, now, grain)
                task = asyncio.create_task(self._filled(rollout, firsts, grain))
                self._ahead[(rollout, grain)] = task
            await asyncio.wait({task}, timeout=seconds)
            if seconds and task.done():
                task.result()
        return self.ready(rollout, start, now, grain)

    def late(self, batch: Batch) -> None:
        """Read again what a gateway has told of late."""
        for slot in batch.slots:
            first = slot.key.start // PIECE * PIECE
            self._changed.add((slot.key.rollout, first))
            for grain in GRAINS:
                self._held.get((slot.key.rollout, grain), {}).pop(first, None)

    async def _filled(self, rollout: str, firsts: Sequence[int], grain: int) -> list[Slot]:
        """The slots of these pieces; what was not held is read, what has grown too old let go of."""
        async with self._turn:
            held = self._held.pop((rollout, grain), {})
            self._held[(rollout, grain)] = held
            while len(self._held) > HELD:
                del self._held[next(iter(self._held))]
            for first in [f for f in held if f < firsts[-1] - KEPT[grain] - PIECE]:
                del held[first]
            while missing := [first for first in firsts if first not in held]:
                for first in missing:
                    self._changed.discard((rollout, first))
                    found = await self._read(rollout, first, first + PIECE, grain)
                    # What came while it was read may not be in it.
                    if (rollout, first) not in self._changed:
                        held[first] = found
            return [slot for first in firsts for slot in held[first]]

    async def _read(self, rollout: str, start: int, end: int, grain: int) -> list[Slot]:
        found: list[Slot] = []
        for first in range(start, end, PIECE):
            kept = await self._store.slots(rollout, first, min(first + PIECE, end))
            found += await asyncio.to_thread(merged, kept, grain)
        return found


def _pieces(start: int, now: int, grain: int) -> Sequence[int]:
    """Where the pieces begin that hold [start, `OPEN` before now); none when that is not held."""
    closed = (now - OPEN) // PIECE * PIECE
    if start < now - KEPT[grain]:
        return range(0)
    return range(start // PIECE * PIECE, closed, PIECE)


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
