"""The rollout as a fold over its events: what may follow what stands in one table.

This module knows no evidence, no time but that in the events, and no numbers of any plan. The
state diagram in the documentation is generated from `TRANSITIONS`.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import reduce
from typing import Any, Final

import msgspec

from molt.core.errors import IllegalTransition
from molt.core.events import (
    Aborted,
    AlarmCleared,
    AlarmRaised,
    AnomalySeen,
    AnyEvent,
    ApprovalAsked,
    Approved,
    BoundsChanged,
    CandidateChanged,
    Completed,
    DifferenceRuled,
    Event,
    Halved,
    IncidentClosed,
    IncidentNoted,
    IncidentOpened,
    Noted,
    Paused,
    ProcedureStepDone,
    ProcedureStepFailed,
    QuestionAsked,
    Resumed,
    ReviewAsked,
    RolledBack,
    RolloutStarted,
    RulingsChanged,
    StepEntered,
    TaskAssigned,
    TaskSigned,
)
from molt.core.flags import Bounds
from molt.core.rollout import ACTIVE, WATCHED, Halt, Incident, Phase, Rollout, Stay, Task

_CLIMB: Final = frozenset(ACTIVE)

TRANSITIONS: Final[dict[tuple[Phase, type[Event]], frozenset[Phase]]] = {
    (Phase.NEW, RolloutStarted): frozenset({Phase.NEW}),
    (Phase.NEW, StepEntered): _CLIMB,
    (Phase.SHADOW, StepEntered): _CLIMB,
    (Phase.CANARY, StepEntered): _CLIMB,
    (Phase.PROGRESSIVE, StepEntered): _CLIMB,
    (Phase.ROLLED_BACK, StepEntered): _CLIMB,
    (Phase.SHADOW, Completed): frozenset({Phase.COMPLETE}),
    (Phase.CANARY, Completed): frozenset({Phase.COMPLETE}),
    (Phase.PROGRESSIVE, Completed): frozenset({Phase.COMPLETE}),
    **{(p, RolledBack): frozenset({Phase.ROLLED_BACK}) for p in WATCHED},
    **{(p, Aborted): frozenset({Phase.ABORTED}) for p in (*WATCHED, Phase.ROLLED_BACK)},
    (Phase.CANARY, Halved): frozenset({Phase.CANARY}),
    (Phase.PROGRESSIVE, Halved): frozenset({Phase.PROGRESSIVE}),
    (Phase.COMPLETE, Halved): frozenset({Phase.PROGRESSIVE}),
    **{(p, e): frozenset({p}) for p in ACTIVE for e in (ApprovalAsked, Approved, QuestionAsked)},
    **{
        (p, e): frozenset({p})
        for p in WATCHED
        for e in (Paused, ReviewAsked, Resumed, CandidateChanged, RulingsChanged, IncidentOpened)
    },
    (Phase.ROLLED_BACK, Resumed): frozenset({Phase.ROLLED_BACK}),
    **{
        (p, e): frozenset({p})
        for p in Phase
        for e in (
            Noted,
            IncidentNoted,
            IncidentClosed,
            TaskAssigned,
            TaskSigned,
            ProcedureStepDone,
            ProcedureStepFailed,
            AlarmRaised,
            AlarmCleared,
            BoundsChanged,
            DifferenceRuled,
            AnomalySeen,
        )
        if p is not Phase.NEW
    },
}
"""(phase, fact) -> the phases it may lead to; what is not here cannot happen."""


def evolve(rollout: Rollout, event: AnyEvent) -> Rollout:
    """Apply one fact; replaying the log rebuilds the rollout. Raises `IllegalTransition`."""
    allowed = TRANSITIONS.get((rollout.phase, type(event)))
    if allowed is None:
        raise IllegalTransition(f"{type(event).__name__} cannot follow in phase {rollout.phase}")
    phase = _next_phase(rollout, event)
    if phase not in allowed:
        raise IllegalTransition(
            f"{type(event).__name__} cannot lead from phase {rollout.phase} to {phase}"
        )
    change = _CHANGES.get(type(event), _nothing)
    changes: Changes = change(rollout, event)
    return msgspec.structs.replace(
        rollout,
        **{"phase": phase, "version": rollout.version + 1, "updated_at": event.at, **changes},
    )


def replay(events: Iterable[AnyEvent]) -> Rollout:
    """The rollout that a whole log describes."""
    return reduce(evolve, events, Rollout())


def _next_phase(rollout: Rollout, event: AnyEvent) -> Phase:
    if isinstance(event, StepEntered):
        return Phase(event.phase)
    if isinstance(event, Halved) and rollout.phase is Phase.COMPLETE:
        return Phase.PROGRESSIVE
    return _OUTCOMES.get(type(event), rollout.phase)


_OUTCOMES: Final[dict[type[Event], Phase]] = {
    Completed: Phase.COMPLETE,
    RolledBack: Phase.ROLLED_BACK,
    Aborted: Phase.ABORTED,
}

Changes = dict[str, Any]


def _started(_: Rollout, e: RolloutStarted) -> Changes:
    return {
        "id": e.rollout,
        "playbook": e.playbook,
        "playbook_hash": e.playbook_hash,
        "salt": e.salt,
        "statistics_salt": e.statistics_salt,
        "agents": e.agents,
        "started_at": e.at,
        "climb_by": e.by,
    }


def _stay(r: Rollout, at: datetime, epoch: int, share: float, phase: str, step: int) -> Changes:
    """A new epoch: fresh hold, no approval, no verdicts."""
    return {
        "epoch": epoch,
        "share": share,
        "hold_since": at,
        "asked": None,
        "approved": None,
        "rulings": (),
        "stays": (*r.stays, Stay(at, epoch, min(share, r.bounds.ceiling), phase, step)),
    }


def _entered(r: Rollout, e: StepEntered) -> Changes:
    fresh_window = r.phase in (Phase.NEW, Phase.ROLLED_BACK)
    return {
        **_stay(r, e.at, e.epoch, e.share, e.phase, e.step),
        "plan_phase": e.phase,
        "step": e.step,
        "halt": None,
        "control_p50_ms": e.control_p50_ms,
        "projected_cost": e.projected_cost if e.projected_cost is not None else r.projected_cost,
        **(_window(e.epoch, e.at) if fresh_window else {}),
        **({"evidence_epoch": e.epoch} if fresh_window else {}),
    }


def _window(epoch: int, at: datetime) -> Changes:
    return {"window_epoch": epoch, "window_since": at}


def _halved(r: Rollout, e: Halved) -> Changes:
    return {
        **_stay(r, e.at, e.epoch, e.share, r.plan_phase, r.step),
        **_window(e.epoch, e.at),
        "halt": Halt("halved", e.at, e.reason, e.incident),
    }


def _candidate_changed(r: Rollout, e: CandidateChanged) -> Changes:
    if e.epoch == r.epoch:
        return {"candidate_version": e.version}
    return {
        **_stay(r, e.at, e.epoch, r.share, r.plan_phase, r.step),
        "candidate_version": e.version,
        "evidence_epoch": e.epoch,
    }


def _rolled_back(r: Rollout, e: RolledBack) -> Changes:
    incidents = tuple(
        msgspec.structs.replace(i, procedure=True) if i.id == e.incident else i for i in r.incidents
    )
    return {
        **_to_zero(r, e),
        "incidents": incidents,
        "rollbacks": (*r.rollbacks, e.at),
    }


def _to_zero(r: Rollout, e: RolledBack | Aborted) -> Changes:
    phase = _OUTCOMES[type(e)]
    return {**_stay(r, e.at, r.epoch + 1, 0.0, phase, r.step), "halt": None}


def _nothing(_: Rollout, __: Event) -> Changes:
    return {}


def _ruled(_: Rollout, e: RulingsChanged) -> Changes:
    return {"rulings": e.rulings}


def _asked(_: Rollout, e: ApprovalAsked) -> Changes:
    return {"asked": e}


def _approved(_: Rollout, e: Approved) -> Changes:
    return {"approved": e}


def _completed(_: Rollout, e: Completed) -> Changes:
    return {"halt": None, "rulings": e.rulings}


def _halted(kind: str) -> Any:
    def change(_: Rollout, e: Paused | ReviewAsked | QuestionAsked) -> Changes:
        return {"halt": Halt(kind, e.at, e.reason, getattr(e, "incident", None))}

    return change


def _bounds_changed(r: Rollout, e: BoundsChanged) -> Changes:
    """When users meet another share than before, that is a new epoch with a fresh hold."""
    after = msgspec.structs.replace(r, bounds=msgspec.convert(e.bounds, Bounds))
    if after.live_share == r.live_share:
        return {"bounds": after.bounds}
    stay = _stay(after, e.at, r.epoch + 1, r.share, r.plan_phase, r.step)
    return {"bounds": after.bounds, **stay}


def _resumed(r: Rollout, e: Resumed) -> Changes:
    """The hold starts afresh, and triggers do not look back across the resume."""
    if r.phase is Phase.ROLLED_BACK:
        return {"climb_by": e.by}
    return {
        "halt": None,
        "hold_since": e.at,
        "approved": None,
        **_stay(r, e.at, r.epoch + 1, r.share, r.plan_phase, r.step),
        **_window(r.epoch + 1, e.at),
    }


def _incident_opened(r: Rollout, e: IncidentOpened) -> Changes:
    opened = Incident(e.incident, e.trigger, e.action, e.at, e.ruling)
    return {"incidents": (*r.incidents, opened)}


def _incident_closed(r: Rollout, e: IncidentClosed) -> Changes:
    return {"incidents": _with_incident(r, e.incident, closed_at=e.at, cause=e.cause)}


def _procedure_step(r: Rollout, e: ProcedureStepDone) -> Changes:
    done = next(i.steps for i in r.incidents if i.id == e.incident)
    return {"incidents": _with_incident(r, e.incident, steps=(*done, e.step))}


def _with_incident(r: Rollout, incident: str, **changes: Any) -> tuple[Incident, ...]:
    return tuple(
        msgspec.structs.replace(i, **changes) if i.id == incident else i for i in r.incidents
    )


def _task_assigned(r: Rollout, e: TaskAssigned) -> Changes:
    task = msgspec.structs.replace(r.tasks.get(e.task, Task()), owner=e.owner, due=e.due)
    return {"tasks": {**r.tasks, e.task: task}}


def _task_signed(r: Rollout, e: TaskSigned) -> Changes:
    task = r.tasks.get(e.task, Task())
    signed = msgspec.structs.replace(task, signed_by=e.by, signed_at=e.at, note=e.reason)
    return {"tasks": {**r.tasks, e.task: signed}}


def _alarm_raised(r: Rollout, e: AlarmRaised) -> Changes:
    return {"alarms": {**r.alarms, e.alarm: e.text}}


def _alarm_cleared(r: Rollout, e: AlarmCleared) -> Changes:
    return {"alarms": {k: v for k, v in r.alarms.items() if k != e.alarm}}


def _difference_ruled(r: Rollout, e: DifferenceRuled) -> Changes:
    return {"differences": {**r.differences, e.difference: e.acceptable}}


def _anomaly_seen(r: Rollout, e: AnomalySeen) -> Changes:
    return {"anomalies": (*r.anomalies, e)[-MOST_ANOMALIES:]}


MOST_ANOMALIES: Final = 20
"""Anomalies that the state shows; the log has all."""


_CHANGES: Final[dict[type[Event], Any]] = {
    RolloutStarted: _started,
    StepEntered: _entered,
    Completed: _completed,
    RulingsChanged: _ruled,
    ApprovalAsked: _asked,
    Approved: _approved,
    QuestionAsked: _halted("question"),
    Paused: _halted("paused"),
    ReviewAsked: _halted("review"),
    Resumed: _resumed,
    CandidateChanged: _candidate_changed,
    Halved: _halved,
    RolledBack: _rolled_back,
    Aborted: _to_zero,
    BoundsChanged: _bounds_changed,
    IncidentOpened: _incident_opened,
    IncidentClosed: _incident_closed,
    ProcedureStepDone: _procedure_step,
    TaskAssigned: _task_assigned,
    TaskSigned: _task_signed,
    AlarmRaised: _alarm_raised,
    AlarmCleared: _alarm_cleared,
    DifferenceRuled: _difference_ruled,
    AnomalySeen: _anomaly_seen,
}
