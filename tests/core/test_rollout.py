"""The rollout is a fold over its facts, and one table says which may follow which."""

from datetime import timedelta
from typing import Any, get_args

import msgspec
import pytest

from molt.core.assignment import CANDIDATE, CONTROL
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
    Recorded,
    Resumed,
    ReviewAsked,
    RolledBack,
    RolloutStarted,
    Ruling,
    RulingsChanged,
    StepEntered,
    TaskAssigned,
    TaskSigned,
)
from molt.core.evolve import TRANSITIONS, evolve, replay
from molt.core.rollout import ACTIVE, WATCHED, Phase, Rollout, arm_at

from .world import HOUR, T0

RULING = Ruling("error_rate", "fail", "too many", {"rate": 0.2})

STARTED = RolloutStarted(
    at=T0,
    rollout="r1",
    playbook="{}",
    playbook_hash="abc",
    salt="s",
    statistics_salt="t",
    agents=("guest",),
)
OPENED = IncidentOpened(at=T0, incident="i1", trigger="error_rate", action="x", ruling=RULING)

FACTS: dict[type[Event], AnyEvent] = {
    RolloutStarted: STARTED,
    StepEntered: StepEntered(at=T0, phase="canary", step=0, share=5, epoch=9),
    Completed: Completed(at=T0),
    RulingsChanged: RulingsChanged(at=T0, rulings=(RULING,)),
    TaskAssigned: TaskAssigned(at=T0, task="train", owner="bea", due="2026-05-31"),
    TaskSigned: TaskSigned(at=T0, by="bea", task="train"),
    ApprovalAsked: ApprovalAsked(
        at=T0,
        phase="canary",
        step=0,
        epoch=1,
        playbook_hash="abc",
        digest="d",
        expires_at=T0 + HOUR,
    ),
    Approved: Approved(at=T0, phase="canary", step=0, epoch=1, playbook_hash="abc"),
    QuestionAsked: QuestionAsked(at=T0, rulings=()),
    CandidateChanged: CandidateChanged(at=T0, epoch=9, version="v2"),
    Noted: Noted(at=T0, note="n"),
    IncidentOpened: OPENED,
    IncidentNoted: IncidentNoted(at=T0, incident="i1", note="n"),
    IncidentClosed: IncidentClosed(at=T0, incident="i1", cause="c"),
    RolledBack: RolledBack(at=T0, incident="i1", cause="c"),
    Halved: Halved(at=T0, incident="i1", share=2.5, epoch=9),
    Paused: Paused(at=T0),
    ReviewAsked: ReviewAsked(at=T0, incident="i1"),
    Resumed: Resumed(at=T0),
    Aborted: Aborted(at=T0),
    ProcedureStepDone: ProcedureStepDone(at=T0, incident="i1", step="disable", proof="p"),
    ProcedureStepFailed: ProcedureStepFailed(at=T0, incident="i1", step="disable", error="e"),
    AlarmRaised: AlarmRaised(at=T0, alarm="blind", text="t"),
    AlarmCleared: AlarmCleared(at=T0, alarm="blind"),
    BoundsChanged: BoundsChanged(at=T0, bounds={"enabled": False}),
    DifferenceRuled: DifferenceRuled(at=T0, difference="wording", acceptable=True),
    AnomalySeen: AnomalySeen(at=T0, anomaly="tool", what="pay", text="t"),
}


def entered(phase: Any, index: int, share: float, epoch: int, at: Any = T0) -> StepEntered:
    return StepEntered(at=at, phase=phase, step=index, share=share, epoch=epoch)


SHADOW = [STARTED, entered("shadow", 0, 0, 1)]
CANARY = [*SHADOW, entered("canary", 0, 5, 2), OPENED]
PROGRESSIVE = [*CANARY, entered("progressive", 0, 100, 3)]
HISTORIES: dict[Phase, list[AnyEvent]] = {
    Phase.NEW: [],
    Phase.SHADOW: [*SHADOW, OPENED],
    Phase.CANARY: CANARY,
    Phase.PROGRESSIVE: PROGRESSIVE,
    Phase.COMPLETE: [*PROGRESSIVE, Completed(at=T0)],
    Phase.ROLLED_BACK: [*CANARY, FACTS[RolledBack]],
    Phase.ABORTED: [*CANARY, Aborted(at=T0)],
}


# --- the table


def test_there_is_an_example_of_every_fact_and_phase():
    assert set(FACTS) == set(get_args(AnyEvent))
    assert set(HISTORIES) == set(Phase)
    assert all(replay(log).phase is phase for phase, log in HISTORIES.items())


@pytest.mark.parametrize("kind", FACTS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("phase", Phase)
def test_each_fact_in_each_phase_is_legal_or_raises(phase: Phase, kind: type[Event]):
    before, fact = replay(HISTORIES[phase]), FACTS[kind]
    allowed = TRANSITIONS.get((phase, kind))
    if allowed is None:
        with pytest.raises(IllegalTransition, match=f"{kind.__name__} cannot follow .* {phase}"):
            evolve(before, fact)
        return
    after = evolve(before, fact)
    assert after.phase in allowed
    assert after.version == before.version + 1
    assert after.updated_at == fact.at


def test_a_fact_that_names_a_phase_which_the_table_forbids_raises():
    with pytest.raises(IllegalTransition, match="cannot lead"):
        evolve(replay(CANARY), msgspec.structs.replace(FACTS[StepEntered], phase="complete"))


def test_only_entering_a_step_leads_out_of_a_rollback():
    ways_out = {
        kind
        for (phase, kind), targets in TRANSITIONS.items()
        if phase is Phase.ROLLED_BACK and targets - {Phase.ROLLED_BACK}
    }
    assert ways_out == {StepEntered, Aborted}


def test_nothing_leads_out_of_an_abort():
    targets = [t for (phase, _), t in TRANSITIONS.items() if phase is Phase.ABORTED]
    assert set().union(*targets) == {Phase.ABORTED}


def test_every_watched_phase_can_be_rolled_back_and_aborted():
    for phase in WATCHED:
        assert TRANSITIONS[phase, RolledBack] == {Phase.ROLLED_BACK}
        assert TRANSITIONS[phase, Aborted] == {Phase.ABORTED}


# --- the fold


def test_replaying_the_log_from_its_stored_form_rebuilds_the_rollout():
    log = [*PROGRESSIVE, FACTS[CandidateChanged], FACTS[RolledBack], FACTS[ProcedureStepDone]]
    stored = msgspec.json.encode([Recorded(i, e) for i, e in enumerate(log, 1)])
    read = msgspec.json.decode(stored, type=list[Recorded])
    assert replay(r.event for r in read) == replay(log)


def test_a_step_begins_an_epoch_and_a_hold():
    rollout = replay([*SHADOW, entered("canary", 1, 2, 2, T0 + HOUR)])
    assert (rollout.phase, rollout.plan_phase, rollout.step) == (Phase.CANARY, "canary", 1)
    assert (rollout.share, rollout.epoch, rollout.hold_since) == (2, 2, T0 + HOUR)


def test_a_step_clears_approval_rulings_and_halt():
    asked = [FACTS[ApprovalAsked], FACTS[Approved]]
    rollout = replay([*CANARY, *asked, FACTS[RulingsChanged], FACTS[QuestionAsked]])
    assert rollout.asked
    assert rollout.approved
    assert rollout.rulings
    assert rollout.halt
    after = evolve(rollout, entered("progressive", 0, 10, 3))
    assert (after.asked, after.approved, after.rulings, after.halt) == (None, None, (), None)


def test_climbing_keeps_the_window_that_triggers_look_at():
    assert replay(PROGRESSIVE).window_epoch == replay(SHADOW).window_epoch == 1


def test_a_rollback_takes_all_traffic_and_begins_its_procedure():
    rollout = replay(HISTORIES[Phase.ROLLED_BACK])
    assert (rollout.share, rollout.epoch, rollout.rollbacks) == (0, 3, (T0,))
    assert rollout.incidents[0].procedure
    assert rollout.plan_phase == "canary", "where it came from is remembered"


def test_after_a_rollback_neither_triggers_nor_comparisons_look_back():
    back = replay(HISTORIES[Phase.ROLLED_BACK])
    again = evolve(evolve(back, FACTS[Resumed]), entered("shadow", 0, 0, 4, T0 + HOUR))
    assert (again.window_epoch, again.evidence_epoch) == (4, 4)
    assert again.window_since == T0 + HOUR


def test_resuming_after_a_rollback_alone_changes_no_traffic():
    resumed = evolve(replay(HISTORIES[Phase.ROLLED_BACK]), FACTS[Resumed])
    assert (resumed.phase, resumed.share) == (Phase.ROLLED_BACK, 0)


def test_a_halving_keeps_its_step_and_waits_for_a_person():
    halved = evolve(replay(CANARY), msgspec.structs.replace(FACTS[Halved], epoch=3))
    assert (halved.share, halved.plan_phase, halved.step, halved.epoch) == (2.5, "canary", 0, 3)
    assert halved.window_epoch == 3
    assert halved.halt
    assert halved.halt.kind == "halved"


def test_halving_a_complete_rollout_puts_it_back_on_the_climb():
    halved = evolve(replay(HISTORIES[Phase.COMPLETE]), FACTS[Halved])
    assert (halved.phase, halved.plan_phase) == (Phase.PROGRESSIVE, "progressive")


def test_a_changed_candidate_begins_its_own_evidence_but_stays_watched():
    before = replay(CANARY)
    after = evolve(before, CandidateChanged(at=T0 + HOUR, epoch=3, version="v2"))
    assert (after.candidate_version, after.epoch, after.evidence_epoch) == ("v2", 3, 3)
    assert after.hold_since == T0 + HOUR
    assert after.share == before.share
    assert after.window_epoch == before.window_epoch


@pytest.mark.parametrize(
    ("fact", "kind"), [(Paused, "paused"), (ReviewAsked, "review"), (QuestionAsked, "question")]
)
def test_a_halt_lasts_until_a_person_resumes(fact: type[Event], kind: str):
    halted = evolve(replay(CANARY), FACTS[fact])
    assert halted.halt
    assert halted.halt.kind == kind
    resumed = evolve(halted, Resumed(at=T0 + HOUR))
    assert resumed.halt is None
    assert resumed.hold_since == T0 + HOUR, "the hold begins afresh"
    assert resumed.window_epoch == resumed.epoch == halted.epoch + 1
    assert resumed.share == halted.share


def test_an_incident_is_told_by_the_log():
    log = [*HISTORIES[Phase.ROLLED_BACK], FACTS[ProcedureStepDone]]
    (incident,) = replay(log).incidents
    assert (incident.id, incident.trigger, incident.ruling) == ("i1", "error_rate", RULING)
    assert incident.steps == ("disable",)
    assert replay(log).open_incidents == (incident,)
    closed = replay([*log, IncidentClosed(at=T0 + HOUR, incident="i1", cause="a bad deploy")])
    assert closed.open_incidents == ()
    assert closed.incidents[0].cause == "a bad deploy"


def test_alarms_stand_until_cleared():
    alarmed = evolve(replay(CANARY), FACTS[AlarmRaised])
    assert alarmed.alarms == {"blind": "t"}
    assert evolve(alarmed, FACTS[AlarmCleared]).alarms == {}


def test_a_projection_once_known_is_kept():
    with_cost = msgspec.structs.replace(entered("canary", 0, 5, 2), projected_cost=0.01)
    rollout = replay([*SHADOW, with_cost, entered("canary", 1, 10, 3)])
    assert rollout.projected_cost == 0.01


# --- the operator's flags


def bounds(at: Any = T0, **said: Any) -> BoundsChanged:
    return BoundsChanged(at=at, by="operator", bounds=said)


def test_bounds_that_change_what_users_meet_begin_an_epoch():
    before = replay(PROGRESSIVE)
    after = evolve(before, bounds(T0 + HOUR, traffic_percent=20))
    assert (after.share, after.live_share) == (100, 20)
    assert after.epoch == before.epoch + 1
    assert after.hold_since == T0 + HOUR
    assert after.stays[-1].share == 20


@pytest.mark.parametrize("said", [{}, {"traffic_percent": 50}, {"agents": {"guest": False}}])
def test_bounds_that_change_nothing_for_users_leave_the_hold_alone(said: dict[str, Any]):
    before = replay(CANARY)
    after = evolve(before, bounds(T0 + HOUR, **said))
    assert (after.epoch, after.hold_since, after.stays) == (
        before.epoch,
        before.hold_since,
        before.stays,
    )


@pytest.mark.parametrize("said", [{"enabled": False}, {"shadow_mode": True}])
def test_while_switched_off_or_in_shadow_everybody_counts_as_on_control(said: dict[str, Any]):
    rollout = evolve(replay(PROGRESSIVE), bounds(T0 + HOUR, **said))
    assert arm_at(rollout, 0, T0 + HOUR)[0] == CONTROL
    again = evolve(rollout, bounds(T0 + 2 * HOUR))
    assert arm_at(again, 0, T0 + 2 * HOUR) == (CANDIDATE, rollout.epoch + 1)
    assert arm_at(again, 0, T0 + HOUR) == (CONTROL, rollout.epoch)


# --- who was where, when


def test_a_subject_was_on_the_arm_of_its_time():
    hours = [T0 + n * HOUR for n in range(5)]
    rollout = replay(
        [
            STARTED,
            entered("shadow", 0, 0, 1, hours[0]),
            entered("canary", 0, 5, 2, hours[1]),
            entered("canary", 1, 10, 3, hours[2]),
            msgspec.structs.replace(OPENED, at=hours[3]),
            RolledBack(at=hours[3], incident="i1", cause="c"),
        ]
    )
    half = timedelta(minutes=30)
    assert [arm_at(rollout, 700, hour + half) for hour in hours[:4]] == [
        (CONTROL, 1),
        (CONTROL, 2),
        (CANDIDATE, 3),
        (CONTROL, 4),
    ]
    assert arm_at(rollout, 499, hours[1]) == (CANDIDATE, 2), "from its first instant on"
    assert arm_at(rollout, 0, T0 - half) == (CONTROL, 0), "before the start"


def test_a_new_rollout_is_nowhere():
    rollout = Rollout()
    assert (rollout.phase, rollout.share, rollout.stay_at(T0)) == (Phase.NEW, 0, None)
    assert Phase.NEW not in WATCHED
    assert set(ACTIVE) < set(WATCHED)
