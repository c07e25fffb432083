"""What a person may do, and what stands in the way."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from molt.core import commands, gates
from molt.core.errors import Refused
from molt.core.events import (
    Aborted,
    ApprovalAsked,
    Approved,
    CandidateChanged,
    Completed,
    Halved,
    IncidentClosed,
    IncidentNoted,
    IncidentOpened,
    Noted,
    Paused,
    ProcedureStepDone,
    QuestionAsked,
    Resumed,
    RolledBack,
    StepEntered,
)
from molt.core.evolve import replay
from molt.core.playbook import Playbook
from molt.core.rollout import Phase

from .traffic import Load
from .world import HOUR, MINUTE, World, plan, step

APPROVAL = {"kind": "approval"}
ERRORS = {"kind": "error_rate", "below": "1%"}
LADDER = plan(
    ("shadow", [step(0)]),
    ("canary", [step(5, planned="2h"), step(20, ERRORS, max_hold="3h")]),
    ("progressive", [step(50, ERRORS, APPROVAL, planned="3h"), step(100)]),
)
HEALTHY = Load(1200)


def world(phase: str = "canary", index: int = 0, playbook: Playbook = LADDER) -> World:
    w = World(playbook).begin()
    return w if phase == "shadow" else w.wait(HOUR).at_step(phase, index)


def rolled_back(*, procedure_done: bool = True) -> World:
    w = world("progressive")
    w.do(commands.roll_back, reason="smoke")
    if procedure_done:
        finish_procedure(w)
    return w


def finish_procedure(w: World) -> None:
    for name in w.playbook.procedure:
        w.apply(ProcedureStepDone(at=w.now, incident="r1-i1", step=name, proof="seen"))


def one_epoch_one_stay(w: World) -> bool:
    epochs = [stay.epoch for stay in w.rollout.stays]
    return all(b > a for a, b in pairwise(epochs))


def alone(command):
    """The command in an installation of one person."""
    return lambda scene, **more: command(scene._replace(four_eyes=False), **more)


# --- approve


def test_an_approval_is_taken_when_all_else_has_passed():
    w = world("progressive").serve(2 * HOUR, HEALTHY, HEALTHY)
    asked, approved = w.do(commands.approve, reason="numbers look right")
    assert isinstance(asked, ApprovalAsked)
    assert isinstance(approved, Approved)
    assert (approved.by, approved.reason) == ("ann", "numbers look right")
    assert approved.playbook_hash == LADDER.hash()
    assert (approved.phase, approved.step, approved.epoch) == ("progressive", 0, w.rollout.epoch)
    assert {r.name: r.verdict for r in approved.rulings} == {
        "hold": "pass",
        "error_rate": "pass",
        "approval": "wait",
    }


def test_an_approval_is_refused_while_another_gate_waits_and_says_which():
    w = world("progressive").serve(2 * HOUR, Load(10), HEALTHY)
    with pytest.raises(Refused, match=r"error_rate \(wait"):
        w.do(commands.approve, reason="please")


def test_an_approval_is_refused_while_a_gate_fails():
    w = world("progressive").serve(2 * HOUR, Load(1200, errors=0.04), HEALTHY)
    with pytest.raises(Refused, match=r"error_rate \(fail"):
        w.do(commands.approve, reason="please")


def test_an_approval_is_refused_during_the_hold_and_says_how_long():
    w = world("progressive").serve(20 * MINUTE, HEALTHY, HEALTHY)
    with pytest.raises(Refused, match="held for at least 1h, 40m00s to go"):
        w.do(commands.approve, reason="please")


def test_an_approval_is_refused_without_sight():
    w = world("progressive").serve(2 * HOUR, HEALTHY, HEALTHY).serve(10 * MINUTE, None, HEALTHY)
    with pytest.raises(Refused, match="sight"):
        w.do(commands.approve, reason="please")


def test_a_step_without_an_approval_gate_has_nothing_to_approve():
    w = world("canary").serve(2 * HOUR, HEALTHY, HEALTHY)
    with pytest.raises(Refused, match="no approval gate"):
        w.do(commands.approve, reason="please")


# --- promote


def test_a_person_may_run_ahead_of_the_pace():
    w = world("canary").serve(HOUR, HEALTHY, HEALTHY)
    (entered,) = w.do(commands.promote, reason="")
    assert isinstance(entered, StepEntered)
    assert (entered.share, entered.by) == (20, "ann")


def test_nobody_runs_ahead_of_the_hold():
    w = world("canary").serve(59 * MINUTE, HEALTHY, HEALTHY)
    with pytest.raises(Refused, match="1h, 1m00s to go"):
        w.do(commands.promote, reason="hurry")


def test_promoting_past_a_waiting_gate_needs_the_question_first():
    w = world("canary", 1).serve(2 * HOUR, Load(20), HEALTHY)
    with pytest.raises(Refused, match="have not passed: error_rate"):
        w.do(commands.promote, reason="I know better")


def test_after_the_question_a_person_with_a_reason_may_go_on():
    w = world("canary", 1).serve(3 * HOUR, Load(20), HEALTHY)
    assert any(isinstance(e, QuestionAsked) for e in w.decide())
    with pytest.raises(Refused, match="needs a reason"):
        w.do(commands.promote, reason="")
    (entered,) = w.do(alone(commands.promote), reason="nobody is here in winter")
    assert isinstance(entered, StepEntered)
    assert {r.verdict for r in entered.rulings} == {"pass", "wait"}
    assert entered.reason == "nobody is here in winter"


def test_no_question_allows_going_past_a_failure():
    w = world("canary", 1).serve(3 * HOUR, Load(1200, errors=0.04), HEALTHY)
    w.decide()
    assert w.rollout.halt
    with pytest.raises(Refused, match=r"error_rate \(fail"):
        w.do(commands.promote, reason="whatever")


def test_no_question_replaces_an_approval():
    w = world("progressive").serve(2 * HOUR, HEALTHY, HEALTHY)
    w.apply(QuestionAsked(at=w.now, rulings=()))
    with pytest.raises(Refused, match="approval"):
        w.do(commands.promote, reason="whatever")


def test_promoting_the_last_step_completes():
    w = world("progressive", 1).serve(HOUR, HEALTHY)
    (done,) = w.do(commands.promote, reason="")
    assert isinstance(done, Completed)
    assert done.by == "ann"


# --- pause and resume


def test_a_pause_stops_the_climb_and_cannot_be_repeated():
    w = world()
    (paused,) = w.do(commands.pause, reason="lunch")
    assert isinstance(paused, Paused)
    with pytest.raises(Refused, match="paused already: lunch"):
        w.do(commands.pause, reason="again")


def test_a_resume_needs_a_reason_and_something_to_resume():
    w = world()
    with pytest.raises(Refused, match="Nothing to resume"):
        w.do(commands.resume, reason="r")
    w.do(commands.pause, reason="lunch")
    with pytest.raises(Refused, match="needs a reason"):
        w.do(commands.resume, reason="")


def test_a_resume_begins_a_fresh_hold_at_the_same_share():
    w = world().serve(HOUR, HEALTHY, HEALTHY)
    w.do(commands.pause, reason="lunch")
    assert [type(e) for e in w.do(commands.resume, reason="back")] == [Resumed]
    assert w.rollout.share == 5
    with pytest.raises(Refused, match="1h00m00s to go"):
        w.do(commands.promote, reason="now")
    assert one_epoch_one_stay(w)


def test_a_phase_is_named_only_after_a_rollback():
    w = world()
    w.do(commands.pause, reason="lunch")
    with pytest.raises(Refused, match="after a rollback"):
        w.do(commands.resume, reason="back", phase="canary")


@pytest.mark.parametrize(
    ("phase", "index", "halved", "resumes"),
    [
        ("progressive", 1, 50, ("progressive", 0, 50)),
        ("progressive", 0, 25, ("canary", 1, 20)),
        ("canary", 1, 10, ("canary", 0, 5)),
        ("canary", 0, 2.5, ("shadow", 0, 0)),
    ],
)
def test_after_a_halving_it_resumes_from_the_highest_tier_below(
    phase: str, index: int, halved: float, resumes: Any
):
    w = world(phase, index)
    w.apply(Halved(at=w.now, incident="i", share=halved, epoch=w.rollout.epoch + 1))
    w.wait(HOUR)
    w.do(commands.resume, reason="the model's host is fast again")
    assert (w.rollout.plan_phase, w.rollout.step, w.rollout.share) == resumes
    assert w.rollout.hold_since == w.now
    assert w.rollout.halt is None


def test_resuming_after_a_halving_counts_no_evidence_twice():
    w = world("progressive", 0).serve(HOUR, HEALTHY, HEALTHY)
    w.apply(Halved(at=w.now, incident="i", share=25, epoch=w.rollout.epoch + 1))
    w.serve(HOUR, HEALTHY, HEALTHY)
    w.do(commands.resume, reason="better")
    assert one_epoch_one_stay(w)
    assert len(set(w.scene.live_epochs())) == len(w.scene.live_epochs())
    assert replay(w.log) == w.rollout


def test_after_a_halving_of_a_complete_rollout_it_climbs_again():
    w = world("progressive", 1)
    w.apply(Completed(at=w.now))
    w.apply(Halved(at=w.now, incident="i", share=50, epoch=w.rollout.epoch + 1))
    w.do(commands.resume, reason="better")
    assert (w.rollout.phase, w.rollout.step, w.rollout.share) == (Phase.PROGRESSIVE, 0, 50)


# --- after a rollback


def test_a_rollback_takes_everything_back_and_needs_a_reason():
    w = world("progressive")
    with pytest.raises(Refused, match="needs a reason"):
        w.do(commands.roll_back, reason="")
    opened, back = w.do(commands.roll_back, reason="smoke")
    assert isinstance(opened, IncidentOpened)
    assert isinstance(back, RolledBack)
    assert (opened.trigger, opened.by) == ("person", "ann")
    assert opened.incident == back.incident == "r1-i1"
    assert w.rollout.share == 0
    with pytest.raises(Refused, match="already"):
        w.do(commands.roll_back, reason="more smoke")


def test_after_a_rollback_the_phase_must_be_named_and_known():
    w = rolled_back()
    with pytest.raises(Refused, match="say from which phase"):
        w.do(commands.resume, reason="fixed")
    with pytest.raises(Refused, match="known: shadow, canary, progressive"):
        w.do(commands.resume, reason="fixed", phase="nowhere")


def test_nobody_resumes_before_the_procedure_is_finished():
    w = rolled_back(procedure_done=False)
    with pytest.raises(Refused, match="procedure of r1-i1 is not finished"):
        w.do(commands.resume, reason="fixed", phase="shadow")
    finish_procedure(w)
    w.do(commands.resume, reason="fixed", phase="shadow")
    assert w.rollout.phase is Phase.SHADOW


@pytest.mark.parametrize(("phase", "share"), [("shadow", 0), ("canary", 5), ("progressive", 50)])
def test_a_person_resumes_from_the_first_step_of_the_phase_they_name(phase: str, share: float):
    w = rolled_back().wait(HOUR)
    resumed, entered = w.do(commands.resume, reason="fixed", phase=phase)
    assert isinstance(resumed, Resumed)
    assert isinstance(entered, StepEntered)
    assert entered.by == "ann"
    assert w.rollout.share == share
    assert (w.rollout.window_epoch, w.rollout.evidence_epoch) == (entered.epoch, entered.epoch)
    assert one_epoch_one_stay(w)


def test_the_gate_on_past_rollbacks_remembers_across_a_resume():
    recent = plan(("canary", [step(5, {"kind": "no_rollback", "within": "48h"})]))
    w = World(recent).begin().wait(timedelta(hours=49)).serve(HOUR, HEALTHY, HEALTHY)
    assert gates.rule_all(w.scene)[-1].verdict == "pass"
    w.do(commands.roll_back, reason="smoke")
    finish_procedure(w)
    w.do(commands.resume, reason="fixed", phase="canary")
    w.serve(2 * HOUR, HEALTHY, HEALTHY)
    assert gates.rule_all(w.scene)[-1].verdict == "wait"


def test_an_abort_ends_it_for_good():
    w = world()
    with pytest.raises(Refused, match="needs a reason"):
        w.do(commands.abort, reason="")
    assert [type(e) for e in w.do(commands.abort, reason="cancelled")] == [Aborted]
    commands_with_a_reason = (
        commands.roll_back, commands.resume, commands.abort, commands.promote, commands.pause
    )  # fmt: skip
    for command in commands_with_a_reason:
        with pytest.raises(Refused):
            w.do(command, reason="again")


# --- notes


def test_a_note_changes_nothing_but_the_log():
    w = world()
    before = w.rollout
    assert [type(e) for e in w.do(commands.note, text="rain today", version=None)] == [Noted]
    assert (w.rollout.epoch, w.rollout.hold_since) == (before.epoch, before.hold_since)
    with pytest.raises(Refused, match="needs a text"):
        w.do(commands.note, text="", version=None)


def test_a_note_with_a_version_is_a_change_of_the_candidate():
    w = world().serve(30 * MINUTE, HEALTHY, HEALTHY)
    (changed,) = w.do(commands.note, text="new prompt", version="v2")
    assert isinstance(changed, CandidateChanged)
    assert (changed.version, changed.note, changed.by) == ("v2", "new prompt", "ann")
    assert w.rollout.hold_since == w.now


def test_an_incident_is_noted_and_closed_once():
    w = rolled_back()
    with pytest.raises(Refused, match="needs its cause"):
        w.do(commands.close_incident, "r1-i1", cause="")
    noted = w.do(commands.note_incident, "r1-i1", text="cable")
    closed = w.do(commands.close_incident, "r1-i1", cause="a loose cable")
    assert isinstance(noted[0], IncidentNoted)
    assert isinstance(closed[0], IncidentClosed)
    with pytest.raises(Refused, match="closed already"):
        w.do(commands.close_incident, "r1-i1", cause="again")
    with pytest.raises(Refused, match="no-such"):
        w.do(commands.note_incident, "no-such", text="x")


@pytest.mark.parametrize(
    "command", [commands.approve, commands.promote, commands.pause, commands.roll_back]
)
def test_a_rolled_back_rollout_takes_no_command_of_the_climb(command: Any):
    w = rolled_back()
    with pytest.raises(Refused):
        w.do(command, reason="r")
