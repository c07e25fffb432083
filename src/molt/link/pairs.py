"""Pairs of answers on their way to control: bounded, in batches, dropped and counted under load.

They are no evidence yet and hold nobody up: what does not fit is dropped at once, and what control
does not take for a while is dropped as it gets old.
"""

import asyncio
from collections import Counter, deque
from typing import Final

import msgspec
import structlog

from molt.core.pairs import RawPair, RawPairs
from molt.link.control_client import ControlClient, ControlUnreachable

log = structlog.get_logger(__name__)

MOST_BYTES: Final = 8 * 1024 * 1024
MOST_PAIRS: Final = 2000
PAIRS_AT_ONCE: Final = 100
BYTES_AT_ONCE: Final = 1024 * 1024
PAUSE_SECONDS: Final = 1.0

Place = tuple[str, int, str]
"""Rollout, epoch, agent."""


def size_of(pair: RawPair) -> int:
    """About how many bytes a pair takes."""
    sides = (pair.control, pair.candidate, pair.twin)
    return 512 + len(pair.request or b"") + sum(len(s.body) for s in sides if s is not None)


class PairSender:
    """Queues pairs and posts them, one batch at a time."""

    def __init__(self, control: ControlClient, gateway: str) -> None:
        self._control = control
        self._gateway = gateway
        self._queue: deque[RawPair] = deque()
        self._bytes = 0
        self._dropped: Counter[Place] = Counter()
        self._wanted = asyncio.Event()

    def add(self, pair: RawPair) -> None:
        """Queue a pair, or drop and count it."""
        size = size_of(pair)
        if len(self._queue) >= MOST_PAIRS or self._bytes + size > MOST_BYTES:
            self.dropped((pair.rollout, pair.epoch, pair.agent))
            return
        self._queue.append(pair)
        self._bytes += size
        self._wanted.set()

    def dropped(self, place: Place) -> None:
        """Count a pair that was not kept."""
        self._dropped[place] += 1
        self._wanted.set()

    async def run(self) -> None:
        """Send, for ever."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if not await self.send():
                await asyncio.sleep(PAUSE_SECONDS)
                self._wanted.set()

    async def send(self) -> bool:
        """Send what is queued; False when control did not take it, which keeps it."""
        while self._queue or self._dropped:
            batch = self._next()
            if not await self._post(batch):
                return False
            for pair in batch.pairs:
                if self._queue and self._queue[0] is pair:
                    self._queue.popleft()
                    self._bytes -= size_of(pair)
            for rollout, epoch, agent, count in batch.dropped:
                self._dropped[rollout, epoch, agent] -= count
            self._dropped = +self._dropped
        return True

    def _next(self) -> RawPairs:
        pairs: list[RawPair] = []
        room = BYTES_AT_ONCE
        for pair in self._queue:
            room -= size_of(pair)
            if pairs and (room < 0 or len(pairs) >= PAIRS_AT_ONCE):
                break
            pairs.append(pair)
        dropped = [(*place, count) for place, count in self._dropped.items()]
        return RawPairs(self._gateway, pairs, dropped)

    async def _post(self, batch: RawPairs) -> bool:
        """Whether control has it, or will never take it."""
        try:
            status = await self._control.post_pairs(msgspec.msgpack.encode(batch))
        except ControlUnreachable as error:
            log.debug("pairs_not_sent", error=str(error))
            return False
        if status in (400, 413, 422):
            log.warning("pairs_refused", status=status, pairs=len(batch.pairs))
        return status < 500 and status not in (401, 404)
