"""Four eyes: approvals answer what was asked, come from somebody else, and expire."""

from datetime import timedelta

import pytest
from msgspec import structs

from molt.core import commands
from molt.core.approvals import digest
from molt.core.errors import Refused
from molt.core.events import (
    ApprovalAsked,
    Approved,
    ProcedureStepDone,
    QuestionAsked,
    StepEntered,
)
from molt.core.rollout import Phase

from .traffic import Load
from .world import HOUR, World, plan, step

HEALTHY = Load(1200, errors=0.001)
LADDER = plan(
    ("shadow", [step(0)]),
    ("canary", [step(5, {"kind": "error_rate", "below": "1%"}, max_hold="3h"), step(20)]),
    ("progressive", [step(50, {"kind": "approval", "expires": "6h"}), step(100)]),
)


def ready() -> World:
    """A rollout that `eve` began, at the step that needs an approval, its hold over."""
    w = World(LADDER).begin().at_step("progressive")
    w.rollout = structs.replace(w.rollout, climb_by="eve")
    return w.serve(HOUR, HEALTHY, HEALTHY)


def alone(command):
    """The command in an installation of one person."""
    return lambda scene, *args, **more: command(scene._replace(four_eyes=False), *args, **more)


def asked_of(w: World) -> ApprovalAsked:
    """The request that is open."""
    assert w.rollout.asked
    return w.rollout.asked


def test_molt_asks_once_when_the_approval_is_all_that_is_missing():
    w = ready()
    asked = [e for e in w.decide() if isinstance(e, ApprovalAsked)]
    assert [(e.by, e.phase, e.step) for e in asked] == [("molt", "progressive", 0)]
    assert {r.name: r.verdict for r in asked[0].rulings} == {"hold": "pass", "approval": "wait"}
    assert not any(isinstance(e, ApprovalAsked) for e in w.decide())


def test_nobody_is_asked_before_the_hold_is_over():
    w = World(LADDER).begin().at_step("progressive").serve(HOUR / 2, HEALTHY, HEALTHY)
    assert not any(isinstance(e, ApprovalAsked) for e in w.decide())


def test_who_began_the_climb_cannot_approve_it_whatever_the_case_of_the_name():
    w = ready()
    w.decide()
    for name in ("eve", "Eve"):
        with pytest.raises(Refused, match="Somebody else must approve"):
            w.do(commands.approve, by=name, reason="mine")
    (approved,) = w.do(commands.approve, by="ann", reason="yes")
    assert isinstance(approved, Approved)
    assert (approved.asked_by, approved.four_eyes) == ("molt", True)


def test_who_asked_cannot_approve():
    w = ready()
    w.do(commands.ask_approval, by="bob", reason="please")
    with pytest.raises(Refused, match="bob asked for this"):
        w.do(commands.approve, by="bob", reason="me again")
    (approved,) = w.do(commands.approve, by="ann", reason="yes")
    assert isinstance(approved, Approved)
    assert approved.asked_by == "bob"


def test_one_who_is_alone_may_and_it_stands_on_record():
    w = ready()
    _, approved = w.do(alone(commands.approve), by="eve", reason="nobody else is here")
    assert isinstance(approved, Approved)
    assert approved.four_eyes is False
    w = ready()
    _, approved = w.do(alone(commands.approve), by="ann", reason="I was not the one who asked")
    assert isinstance(approved, Approved)
    assert approved.four_eyes is True


def test_an_approval_answers_only_the_evidence_that_the_person_saw():
    w = ready()
    w.decide()
    seen = asked_of(w).digest
    w.serve(HOUR, HEALTHY, HEALTHY)
    w.do(commands.ask_approval, by="bob", reason="newer figures")
    with pytest.raises(Refused, match="Look again"):
        w.do(commands.approve, by="ann", reason="yes", digest=seen)
    (approved,) = w.do(commands.approve, by="ann", reason="yes", digest=asked_of(w).digest)
    assert isinstance(approved, Approved)
    assert approved.digest == asked_of(w).digest != seen


def test_a_digest_stands_for_step_plan_numbers_and_who_asks_for_what():
    w = ready()
    w.decide()
    rollout, rulings = w.rollout, asked_of(w).rulings
    first = rulings[0]
    other_numbers = (
        first.__class__(first.name, first.verdict, first.reason, {"n": 1}),
        *rulings[1:],
    )
    w.at_step("progressive", 1)
    known = {
        digest(rollout, rulings, "molt", False),
        digest(rollout, other_numbers, "molt", False),
        digest(w.rollout, rulings, "molt", False),
        digest(rollout, rulings, "bob", False),
        digest(rollout, rulings, "molt", True),
    }
    assert len(known) == 5
    assert rollout.asked
    assert rollout.asked.digest in known


def test_a_request_that_nobody_answered_expires_and_is_asked_again():
    w = ready()
    w.decide()
    first = asked_of(w)
    w.serve(timedelta(hours=6), HEALTHY, HEALTHY)
    with pytest.raises(Refused, match="Look again"):
        w.do(commands.approve, by="ann", reason="late", digest=first.digest)
    again = [e for e in w.decide() if isinstance(e, ApprovalAsked)]
    assert len(again) == 1
    assert again[0].digest != first.digest


def test_an_approval_expires():
    w = ready()
    w.decide()
    w.do(commands.approve, by="ann", reason="yes")
    w.do(commands.pause, by="ann", reason="lunch")
    w.serve(timedelta(hours=7), HEALTHY, HEALTHY)
    w.decide()
    assert {r.name: r.verdict for r in w.rollout.rulings}["approval"] == "wait"


def stuck() -> World:
    """Molt has asked what to do about a gate that waits."""
    w = World(LADDER).begin().at_step("canary").serve(3 * HOUR, Load(20), HEALTHY)
    assert any(isinstance(e, QuestionAsked) for e in w.decide())
    return w


def test_going_past_a_waiting_gate_takes_two_people():
    w = stuck()
    (asked,) = w.do(commands.promote, by="bob", reason="nobody is here in winter")
    assert isinstance(asked, ApprovalAsked)
    assert (asked.beyond, w.rollout.share) == (True, 5)
    with pytest.raises(Refused, match="bob asked for this"):
        w.do(commands.approve, by="bob", reason="and I agree")

    approved, entered = w.do(commands.approve, by="ann", reason="agreed")

    assert isinstance(approved, Approved)
    assert isinstance(entered, StepEntered)
    assert (entered.share, entered.by) == (20, "bob")
    assert {r.verdict for r in entered.rulings} == {"pass", "wait"}


def test_two_people_together_do_not_go_past_a_failed_gate():
    w = stuck()
    w.do(commands.promote, by="bob", reason="nobody is here in winter")
    w.serve(HOUR, Load(1200, errors=0.04), HEALTHY)
    with pytest.raises(Refused, match=r"error_rate \(fail"):
        w.do(commands.approve, by="ann", reason="agreed")


def test_who_resumes_after_a_rollback_began_the_climb_anew():
    w = ready()
    w.do(commands.roll_back, by="bob", reason="smoke")
    assert w.rollout.phase is Phase.ROLLED_BACK
    incident = w.rollout.incidents[0].id
    for one in LADDER.procedure:
        w.apply(ProcedureStepDone(at=w.now, incident=incident, step=one, proof="done"))
    w.do(commands.resume, by="ann", reason="fixed", phase="progressive")
    w.serve(HOUR, HEALTHY, HEALTHY)
    with pytest.raises(Refused, match="ann began this climb"):
        w.do(commands.approve, by="ann", reason="mine")
    assert w.do(commands.approve, by="eve", reason="yes")
