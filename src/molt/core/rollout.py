"""The rollout as it stands: phase, step, share, halt, incidents, tasks.

Facts change it in `molt.core.evolve`.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from molt.core.assignment import CANDIDATE, CONTROL, Arm
from molt.core.events import AnomalySeen, ApprovalAsked, Approved, Ruling
from molt.core.flags import Bounds


class Phase(StrEnum):
    """Where a rollout is; the last three are outcomes."""

    NEW = "new"
    SHADOW = "shadow"
    CANARY = "canary"
    PROGRESSIVE = "progressive"
    COMPLETE = "complete"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"


ACTIVE: Final = (Phase.SHADOW, Phase.CANARY, Phase.PROGRESSIVE)
WATCHED: Final = (*ACTIVE, Phase.COMPLETE)
"""Phases in which triggers are live."""


class Halt(msgspec.Struct, frozen=True):
    """Why the climb stands still: `paused`, `review`, `question` or `halved`."""

    kind: str
    at: datetime
    reason: str
    incident: str | None = None


class Incident(msgspec.Struct, frozen=True):
    """An incident as the log tells it. `ruling` has the evidence as it was; `steps` are the procedure
    steps done, in order; `procedure` is whether there is one to do, after a rollback."""

    id: str
    trigger: str
    action: str
    opened_at: datetime
    ruling: Ruling
    steps: tuple[str, ...] = ()
    procedure: bool = False
    closed_at: datetime | None = None
    cause: str = ""


class Task(msgspec.Struct, frozen=True):
    """Something to do once the rollout is complete; `due` is a day."""

    owner: str = ""
    due: str | None = None
    signed_by: str = ""
    signed_at: datetime | None = None
    note: str = ""


class Stay(msgspec.Struct, frozen=True):
    """From `at` on, this share (percent, inside the operator's bounds) and epoch were in force."""

    at: datetime
    epoch: int
    share: float
    phase: str
    step: int


class Rollout(msgspec.Struct, frozen=True):
    """The state of one rollout. `share` is what the plan gives now, in percent.

    `step` indexes the steps of the present phase, or of the phase that was left by an outcome.
    `hold_since` is when the present hold began; `window_epoch` is the first epoch that triggers
    look at: what happened before a halving or a resume does not count again. `evidence_epoch` is the
    first epoch of this candidate's A/B evidence. `differences` is what people said of kinds of
    differences (acceptable or not); `anomalies` are the latest ones.
    `climb_by` began the present climb: who started the rollout, or resumed it after a rollback.
    """

    id: str = ""
    phase: Phase = Phase.NEW
    version: int = 0
    playbook: str = ""
    playbook_hash: str = ""
    salt: str = ""
    statistics_salt: str = ""
    agents: tuple[str, ...] = ()
    started_at: datetime | None = None
    plan_phase: str = ""
    step: int = 0
    share: float = 0.0
    epoch: int = 0
    window_epoch: int = 0
    evidence_epoch: int = 0
    hold_since: datetime | None = None
    window_since: datetime | None = None
    control_p50_ms: float | None = None
    projected_cost: float | None = None
    candidate_version: str | None = None
    halt: Halt | None = None
    asked: ApprovalAsked | None = None
    approved: Approved | None = None
    climb_by: str = ""
    rulings: tuple[Ruling, ...] = ()
    stays: tuple[Stay, ...] = ()
    incidents: tuple[Incident, ...] = ()
    rollbacks: tuple[datetime, ...] = ()
    alarms: dict[str, str] = {}
    tasks: dict[str, Task] = {}
    bounds: Bounds = Bounds()
    differences: dict[str, bool] = {}
    anomalies: tuple[AnomalySeen, ...] = ()
    updated_at: datetime | None = None

    @property
    def live_share(self) -> float:
        """The share in percent that users really meet: the plan's, inside the operator's bounds."""
        return min(self.share, self.bounds.ceiling)

    def stay_at(self, at: datetime) -> Stay | None:
        """What was in force at `at`; None before the start."""
        return next((stay for stay in reversed(self.stays) if stay.at <= at), None)

    @property
    def open_incidents(self) -> tuple[Incident, ...]:
        """Incidents nobody has closed."""
        return tuple(i for i in self.incidents if i.closed_at is None)


def arm_at(rollout: Rollout, bucket: int, at: datetime) -> tuple[Arm, int]:
    """The arm that a subject in `bucket` was assigned to at `at`, and the epoch then."""
    stay = rollout.stay_at(at)
    if stay is None:
        return CONTROL, 0
    return (CANDIDATE if bucket < round(stay.share * 100) else CONTROL), stay.epoch
