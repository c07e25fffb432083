"""Carries the procedure of every rollback through, also after a crash in its middle.

It runs beside the loop: traffic is back on control before its first step, and nothing here delays
a decision. A step that fails is tried again until it is verified.
"""

import asyncio

import structlog

from molt.control.controller import Controller
from molt.control.desk import Desk
from molt.control.procedure import Procedure
from molt.core.errors import MoltError
from molt.core.events import ProcedureStepDone, ProcedureStepFailed
from molt.core.rollout import Incident, Phase

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0


def open_steps(desk: Desk) -> list[tuple[Incident, str]]:
    """What is still to do, in order, of all rollbacks of one rollout."""
    return [
        (incident, step)
        for incident in desk.rollout.incidents
        if incident.procedure
        for step in desk.playbook.procedure
        if step not in incident.steps
    ]


class Rollbacks:
    """The one task that works off open procedure steps."""

    def __init__(self, controller: Controller, procedure: Procedure) -> None:
        self._controller = controller
        self._procedure = procedure
        self._wake = asyncio.Event()
        self._failures: dict[tuple[str, str], str] = {}
        controller.writer.on_records(lambda *_: self._wake.set())

    async def run(self) -> None:
        """Work until cancelled: at once when something was recorded, else when a retry is due."""
        while True:
            self._wake.clear()
            if await self.work():
                await self._controller.clock.sleep(RETRY_SECONDS)
            else:
                await self._wake.wait()

    async def work(self) -> bool:
        """Do every open step once, in order; True when some step must be tried again.

        A step that fails does not hold up the next: on-call hears of a rollback also while its
        flags file cannot be written.
        """
        again = False
        for desk in list(self._controller.desks.values()):
            for incident, step in open_steps(desk):
                if not await self._do(desk, incident.id, step):
                    again = True
        return again

    async def _do(self, desk: Desk, incident_id: str, step: str) -> bool:
        incident = next(i for i in desk.rollout.incidents if i.id == incident_id)
        now = self._controller.clock.now
        try:
            proof = await self._procedure.perform(step, desk, incident, self._alone(desk))
            done = ProcedureStepDone(at=now(), incident=incident_id, step=step, proof=proof)
            await self._controller.record(desk, done)
        except (MoltError, OSError) as error:
            log.error("procedure_step_failed", incident=incident_id, step=step, error=str(error))
            await self._record_failure(desk, incident_id, step, str(error))
            return False
        return True

    async def _record_failure(self, desk: Desk, incident: str, step: str, error: str) -> None:
        """Once per failure; repetitions, and a store that is away, are only logged."""
        if self._failures.get((incident, step)) == error:
            return
        failed = ProcedureStepFailed(
            at=self._controller.clock.now(), incident=incident, step=step, error=error
        )
        try:
            await self._controller.record(desk, failed)
            self._failures[incident, step] = error
        except MoltError as unkept:
            log.error("procedure_failure_not_kept", incident=incident, error=str(unkept))

    def _alone(self, desk: Desk) -> bool:
        idle = (Phase.ABORTED, Phase.ROLLED_BACK)
        others = (d for d in self._controller.desks.values() if d is not desk)
        return all(other.rollout.phase in idle for other in others)
