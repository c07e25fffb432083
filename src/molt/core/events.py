"""One class per fact. The log of these is the truth; everything else is a fold over it.

Names are past tense. Every event says when; those a person caused say who and why.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec

from molt.core.prediction import Prediction

Verdict = Literal["pass", "fail", "wait"]


class Ruling(msgspec.Struct, frozen=True):
    """The answer of a gate or trigger, with its reason and the numbers it was made from."""

    name: str
    verdict: Verdict
    reason: str
    numbers: dict[str, Any] = {}


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Base of all facts. `by` names a person or `molt`."""

    at: datetime
    by: str = "molt"
    reason: str = ""


class RolloutStarted(Event, frozen=True, kw_only=True):
    """A rollout of `playbook` (its canonical text) began. Both salts stay for its whole life.

    `prediction` is what `molt plan` had foreseen, where it was given.
    """

    rollout: str
    playbook: str
    playbook_hash: str
    salt: str
    statistics_salt: str
    agents: tuple[str, ...]
    waived: tuple[str, ...] = ()
    prediction: Prediction | None = None


class StepEntered(Event, frozen=True, kw_only=True):
    """The rollout moved to a step; a fresh hold and a new epoch began.

    `control_p50_ms` is control's median, frozen for the comparison of medians;
    `projected_cost` is the cost of a request in USD that later cost is held against.
    """

    phase: Literal["shadow", "canary", "progressive"]
    step: int
    share: float
    epoch: int
    control_p50_ms: float | None = None
    projected_cost: float | None = None
    rulings: tuple[Ruling, ...] = ()


class Completed(Event, frozen=True, kw_only=True):
    """The last step's gates passed: all traffic is on the candidate."""

    rulings: tuple[Ruling, ...] = ()


class RulingsChanged(Event, frozen=True, kw_only=True):
    """At least one verdict differs from the one before."""

    rulings: tuple[Ruling, ...]


class ApprovalAsked(Event, frozen=True, kw_only=True):
    """Somebody asked to leave this step: a person, or Molt once all other gates had passed.

    `digest` stands for the step, the plan and these rulings; an approval answers exactly that, until
    `expires_at`. `beyond` asks to go on past gates that still wait.
    """

    phase: str
    step: int
    epoch: int
    playbook_hash: str
    digest: str
    expires_at: datetime
    beyond: bool = False
    rulings: tuple[Ruling, ...] = ()


class Approved(Event, frozen=True, kw_only=True):
    """A person approved leaving this step, seeing these rulings.

    `four_eyes` is false when it came from one who had asked for it, in an installation that allows
    this.
    """

    phase: str
    step: int
    epoch: int
    playbook_hash: str
    rulings: tuple[Ruling, ...] = ()
    digest: str = ""
    asked_by: str = "molt"
    expires_at: datetime | None = None
    four_eyes: bool = True


class QuestionAsked(Event, frozen=True, kw_only=True):
    """A gate waited longer than the maximum hold, or failed without taking traffic back."""

    rulings: tuple[Ruling, ...]


class CandidateChanged(Event, frozen=True, kw_only=True):
    """The candidate's version or its prompts or tools changed: new epoch, fresh hold.

    With the present epoch it is the first version seen, which changes nothing.
    """

    epoch: int
    version: str
    note: str = ""


class Noted(Event, frozen=True, kw_only=True):
    """A person recorded something about the rollout; `playbook` is the text of a plan they propose."""

    note: str
    playbook: str = ""


class IncidentOpened(Event, frozen=True, kw_only=True):
    """A trigger fired. `quiet_until` is when its condition became true, where that is known, else the
    last look at which it was not true yet. `detail` names the violation, if it was one."""

    incident: str
    trigger: str
    action: str
    ruling: Ruling
    quiet_until: datetime | None = None
    detail: dict[str, Any] = {}


class IncidentNoted(Event, frozen=True, kw_only=True):
    """A person added to an incident's timeline."""

    incident: str
    note: str


class IncidentClosed(Event, frozen=True, kw_only=True):
    """A person closed an incident with its cause."""

    incident: str
    cause: str


class RolledBack(Event, frozen=True, kw_only=True):
    """All traffic went back to control. `incident` names the procedure that follows."""

    incident: str
    cause: str


class Halved(Event, frozen=True, kw_only=True):
    """The traffic was halved and holds there, in a new epoch."""

    incident: str
    share: float
    epoch: int


class Paused(Event, frozen=True, kw_only=True):
    """The climb stopped where it was."""

    incident: str | None = None


class ReviewAsked(Event, frozen=True, kw_only=True):
    """The climb waits for a person's review."""

    incident: str


class Resumed(Event, frozen=True, kw_only=True):
    """A person let the climb go on after a pause, a review, a question or a halving."""


class Aborted(Event, frozen=True, kw_only=True):
    """A person ended the rollout; all traffic is on control."""


class ProcedureStepDone(Event, frozen=True, kw_only=True):
    """One step of the rollback procedure was done and read back; `proof` says what was seen."""

    incident: str
    step: str
    proof: str
    attempts: int = 1


class ProcedureStepFailed(Event, frozen=True, kw_only=True):
    """One step of the rollback procedure could not be done or verified yet; it is tried again."""

    incident: str
    step: str
    error: str


class TaskAssigned(Event, frozen=True, kw_only=True):
    """A task of the time after the rollout has an owner; `due` is a day, such as 2026-05-31."""

    task: str
    owner: str
    due: str | None = None


class TaskSigned(Event, frozen=True, kw_only=True):
    """Somebody signed that a task is done."""

    task: str


class AlarmRaised(Event, frozen=True, kw_only=True):
    """Something a person must know that decides nothing by itself."""

    alarm: str
    text: str


class AlarmCleared(Event, frozen=True, kw_only=True):
    """The alarm's condition is over."""

    alarm: str


class BoundsChanged(Event, frozen=True, kw_only=True):
    """The operator's flags changed: what they allow now."""

    bounds: dict[str, Any]


class DifferenceRuled(Event, frozen=True, kw_only=True):
    """A person said whether pairs with this kind of difference can be acceptable.

    `difference` is a kind (`call_extra:menu_search`) or a whole family (`wording`).
    """

    difference: str
    acceptable: bool


class AnomalySeen(Event, frozen=True, kw_only=True):
    """Something unlike all before it: an alert with its numbers, never a decision.

    `anomaly` is `tool`, `arguments`, `error`, `latency`, `tokens`, `cost` or `tool_mix`; `what` names
    the tool, shape or class. `more` counts others that were not written, because they were too many.
    """

    anomaly: str
    what: str
    text: str
    agent: str = ""
    numbers: dict[str, Any] = {}
    more: int = 0


AnyEvent = (
    RolloutStarted
    | StepEntered
    | Completed
    | RulingsChanged
    | ApprovalAsked
    | Approved
    | QuestionAsked
    | CandidateChanged
    | Noted
    | IncidentOpened
    | IncidentNoted
    | IncidentClosed
    | RolledBack
    | Halved
    | Paused
    | ReviewAsked
    | Resumed
    | Aborted
    | ProcedureStepDone
    | ProcedureStepFailed
    | TaskAssigned
    | TaskSigned
    | AlarmRaised
    | AlarmCleared
    | BoundsChanged
    | DifferenceRuled
    | AnomalySeen
)


class Recorded(msgspec.Struct, frozen=True):
    """An event as it stands in the log: its number from 1, and the chained hash of its record."""

    seq: int
    event: AnyEvent
    hash: str = ""
