"""Asks a judge about compared pairs, within a budget. What it says is kept with the pair as evidence;
it decides nothing, and a judge that fails changes nothing."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

import structlog

from molt.control.desk import Desk
from molt.control.shadowing import Shadowing
from molt.core.errors import MoltError
from molt.core.pairs import Pair
from molt.ports import Clock, Judge, SettingStore

log = structlog.get_logger(__name__)

MOST_WAITING: Final = 200
MINUTE: Final = 60.0


class Budget(NamedTuple):
    """Calls a minute, USD a day, and what a call is taken to cost when its price is unknown."""

    per_minute: int
    usd_per_day: float
    usd_per_call: float


class Judging:
    """One judge for all rollouts; a call at a time, off the loop that decides."""

    def __init__(
        self,
        judge: Judge,
        budget: Budget,
        shadowing: Shadowing,
        settings: SettingStore,
        clock: Clock,
    ) -> None:
        self._judge = judge
        self._budget = budget
        self._shadowing = shadowing
        self._settings = settings
        self._clock = clock
        self._waiting: deque[Pair] = deque(maxlen=MOST_WAITING)
        self._wanted = asyncio.Event()
        self._calls: deque[float] = deque()

    async def see_pairs(self, desk: Desk, pairs: Sequence[Pair]) -> None:
        """Queue pairs; under load the oldest are let go."""
        self._waiting.extend(pairs)
        if pairs:
            self._wanted.set()

    async def run(self) -> None:
        """Judge, for ever."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._waiting:
                if not await self.judge_next():
                    await self._clock.sleep(1.0)

    async def judge_next(self) -> bool:
        """Judge the pair that came last; False when the budget does not allow it now."""
        now = self._clock.monotonic()
        while self._calls and now - self._calls[0] >= MINUTE:
            self._calls.popleft()
        if len(self._calls) >= self._budget.per_minute or not self._waiting:
            return False
        try:
            spent = await self._spent()
            if spent + self._budget.usd_per_call > self._budget.usd_per_day:
                self._waiting.clear()  # until tomorrow; what comes then is judged
                return False
            pair = self._waiting.pop()
            self._calls.append(now)
            # Charged before it is asked: a crash in between costs the budget, never more money.
            await self._spend(spent + self._budget.usd_per_call)
            verdict = await self._judge.judge(pair)
            if verdict.cost is not None:
                await self._spend(spent + verdict.cost)
            await self._shadowing.keep_verdict(pair, verdict)
        except MoltError as error:
            log.warning("not_judged", error=str(error))
        return True

    def _day(self) -> str:
        return f"judge_spent_{self._clock.now():%Y-%m-%d}"

    async def _spent(self) -> float:
        return float(await self._settings.setting(self._day()) or 0.0)

    async def _spend(self, usd: float) -> None:
        await self._settings.set_setting(self._day(), f"{usd:.9f}")
