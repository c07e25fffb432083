"""Violations are written before they are answered: the rollback stands when the agent is told no."""

import asyncio
import random
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from molt.core.errors import Refused
from molt.core.evidence import Violation
from molt.egress.runs import Callers
from molt.link.control_client import ControlClient, ControlUnreachable
from molt.link.tokens import Run

log = structlog.get_logger(__name__)

MOST_WAITING: Final = 10_000
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0


class Violations:
    """Reports to control and waits; where control is away, goes on reporting in the background."""

    def __init__(
        self,
        control: ControlClient,
        callers: Callers,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._control = control
        self._callers = callers
        self._now = now
        self._waiting: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many control does not know yet."""
        return len(self._waiting)

    async def report(
        self, run: Run, tool: str, *, arguments: str | None = None, detail: str | None = None
    ) -> bool:
        """End `run` here, and have control roll back; True when the rollback is written.

        False when control could not be reached: the report is repeated until it is. Deny the call
        in either case. `arguments` must be redacted already.
        """
        self._callers.revoke(run)
        violation = Violation(
            rollout=run.rollout,
            at=self._now(),
            agent=run.agent,
            tool=tool,
            source="enforced",
            arm=run.arm,
            mode=run.mode,
            run=run.id,
            subject=run.subject,
            arguments=arguments,
            detail=detail,
        )
        once = f"egress:{run.id}:{secrets.token_hex(6)}"
        try:
            await self._control.report_violation(violation, once)
        except Refused as error:
            log.warning("violation_of_no_rollout", run=run.id, tool=tool, error=str(error))
            return False
        except ControlUnreachable as error:
            log.error("violation_not_written", run=run.id, tool=tool, error=str(error))
            self._queue(violation, once)
            return False
        return True

    async def close(self, seconds: float) -> None:
        """Give what waits `seconds` more, then leave it to the audit log."""
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=seconds)
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)

    def _queue(self, violation: Violation, once: str) -> None:
        if len(self._waiting) < MOST_WAITING:
            task = asyncio.create_task(self._deliver(violation, once))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def _deliver(self, violation: Violation, once: str) -> None:
        pause = FIRST_PAUSE
        while True:
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries
            pause = min(2 * pause, LONGEST_PAUSE)
            try:
                await self._control.report_violation(violation, once)
            except ControlUnreachable:
                continue
            except Refused as error:
                log.warning("violation_of_no_rollout", run=violation.run, error=str(error))
            return
