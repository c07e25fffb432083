"""Clocks: the system's, and one whose time moves only when everybody waits."""

import asyncio
import contextlib
import heapq
import itertools
import time
from collections.abc import AsyncIterator, Sized
from datetime import UTC, datetime, timedelta
from typing import Final, Self

BLIND_TURNS: Final = 64
"""Turns given to a loop that does not show its queue (uvloop) before everybody counts as waiting."""


class SystemClock:
    """The machine's time."""

    def now(self) -> datetime:
        """The present instant, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never step."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class VirtualClock:
    """Time for tests and simulations: wakes sleepers in the order they are due, without waiting.

    Move it by hand with `advance` and `advance_to`, or enter `running()` to have it jump to the
    next deadline whenever nothing else can run, like a mock clock that follows its sleepers.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 5, tzinfo=UTC)) -> None:
        if start.tzinfo is None:
            raise ValueError("start: expected an aware datetime")
        self._start = start.astimezone(UTC)
        self._elapsed = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._wanted: asyncio.Event | None = None

    def now(self) -> datetime:
        """The present instant, aware, UTC."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has moved this far; zero or less lets others run once."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        entry = (self._elapsed + seconds, next(self._order), future)
        heapq.heappush(self._sleepers, entry)
        if self._wanted is not None:
            self._wanted.set()
        await future

    @property
    def next_due(self) -> float | None:
        """Seconds until the first sleeper is due; None when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():  # cancelled sleepers
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] - self._elapsed if self._sleepers else None

    async def advance(self, seconds: float) -> None:
        """Move on by this much; each sleeper due on the way wakes at its own time and runs."""
        end = self._elapsed + seconds
        await settle()
        while (due := self.next_due) is not None and self._elapsed + due <= end:
            self._wake_first()
            await settle()
        self._elapsed = max(self._elapsed, end)

    async def advance_to(self, instant: datetime) -> None:
        """Move on to `instant`; nothing happens when it has passed."""
        await self.advance(max(0.0, (instant - self.now()).total_seconds()))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Inside, the clock jumps to the next deadline whenever every task is waiting.

        What waits for real input (a socket, a thread) does not hold the clock: use `advance` there.
        """
        self._wanted = asyncio.Event()
        task = asyncio.create_task(self._run(self._wanted))
        try:
            yield self
        finally:
            self._wanted = None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, wanted: asyncio.Event) -> None:
        while True:
            await settle()
            if self.next_due is not None:
                self._wake_first()
            else:
                wanted.clear()
                await wanted.wait()

    def _wake_first(self) -> None:
        due, _, future = heapq.heappop(self._sleepers)
        self._elapsed = max(self._elapsed, due)
        future.set_result(None)


async def settle() -> None:
    """Let every task that can run do so until all wait; real input is not waited for."""
    queue: Sized | None = getattr(asyncio.get_running_loop(), "_ready", None)
    for _ in range(BLIND_TURNS) if queue is None else itertools.count():
        await asyncio.sleep(0)
        if queue is not None and not queue:
            return
