"""What follows from the evidence: triggers first, then the climb, each with its reason."""

from datetime import timedelta
from typing import Any

import pytest

from molt.core import commands
from molt.core.assignment import CONTROL
from molt.core.decide import decide
from molt.core.errors import Refused
from molt.core.events import (
    AlarmCleared,
    AlarmRaised,
    AnyEvent,
    BoundsChanged,
    CandidateChanged,
    Completed,
    Halved,
    IncidentOpened,
    Paused,
    QuestionAsked,
    ReviewAsked,
    RolledBack,
    RulingsChanged,
    StepEntered,
)
from molt.core.evidence import LIVE, Seen
from molt.core.playbook import Playbook
from molt.core.rollout import Phase

from .traffic import Load
from .world import HOUR, MINUTE, World, plan, step, verdicts, wf11

TEN_SECONDS = timedelta(seconds=10)
APPROVAL = {"kind": "approval"}
LADDER = plan(
    ("shadow", [step(0)]),
    ("canary", [step(5, planned="2h"), step(20)]),
    ("progressive", [step(50, APPROVAL, planned="3h"), step(100)]),
    cost={"projected_per_request": 0.002},
)
HEALTHY = Load(1200)


def world(phase: str = "canary", index: int = 0, playbook: Playbook = LADDER) -> World:
    w = World(playbook).begin()
    return w if phase == "shadow" else w.wait(HOUR).at_step(phase, index)


def served(w: World, length: timedelta, **more: Any) -> World:
    control = HEALTHY if w.rollout.share < 100 else None
    return w.serve(length, HEALTHY._replace(**more), control)


def kinds(events: list[AnyEvent]) -> list[type]:
    return [type(e) for e in events]


# --- the climb


def test_nothing_follows_before_a_start_or_after_the_end():
    assert decide(World(LADDER).scene) == []
    w = world()
    w.violate()
    w.decide()
    assert w.rollout.phase is Phase.ROLLED_BACK
    w.violate()
    assert decide(w.wait(timedelta(days=99)).scene) == []


def test_a_verdict_is_recorded_once_when_it_changes():
    w = world()
    assert kinds(served(w, 10 * MINUTE).decide()) == [RulingsChanged]
    assert served(w, 10 * MINUTE).decide() == []
    served(w, 40 * MINUTE)
    assert kinds(w.decide()) == [RulingsChanged]
    assert verdicts(w.rollout.rulings) == {"hold": "pass"}


def test_the_automatic_advance_never_runs_ahead_of_the_planned_pace():
    w = served(world(), 2 * HOUR - MINUTE)
    assert StepEntered not in kinds(w.decide())
    assert StepEntered in kinds(served(w, MINUTE).decide())
    assert w.rollout.share == 20


def test_a_step_without_a_planned_length_is_left_when_its_hold_is_over():
    w = served(world("canary", 1), HOUR - TEN_SECONDS)
    assert StepEntered not in kinds(w.decide())
    assert StepEntered in kinds(served(w, TEN_SECONDS).decide())
    assert (w.rollout.phase, w.rollout.step, w.rollout.share) == (Phase.PROGRESSIVE, 0, 50)


def test_the_step_up_carries_rulings_that_all_passed():
    w = served(world("canary", 1), HOUR)
    (entered,) = w.decide()
    assert isinstance(entered, StepEntered)
    assert verdicts(entered.rulings) == {"hold": "pass"}


def test_leaving_the_last_step_completes_the_rollout():
    w = served(world("progressive", 1), HOUR)
    assert kinds(w.decide()) == [Completed]
    assert (w.rollout.phase, w.rollout.share) == (Phase.COMPLETE, 100)


def test_a_complete_rollout_is_still_watched():
    w = served(world("progressive", 1), HOUR)
    w.decide()
    w.violate()
    assert kinds(w.decide()) == [IncidentOpened, RolledBack]
    assert w.rollout.share == 0


def test_the_median_of_control_is_frozen_when_a_step_begins():
    w = served(world("canary", 1), HOUR)
    w.decide()
    assert w.rollout.control_p50_ms == pytest.approx(400, rel=0.05)


def test_the_projected_cost_is_measured_in_shadow_when_the_plan_has_none():
    free = LADDER.model_copy(update={"cost": wf11().cost})
    w = served(world("shadow", playbook=free), HOUR, cost=0.004)
    w.decide()
    assert w.rollout.phase is Phase.CANARY
    assert w.rollout.projected_cost == pytest.approx(0.004, rel=0.1)


def test_the_projected_cost_is_what_the_egress_counted_where_answers_tell_less():
    free = LADDER.model_copy(update={"cost": wf11().cost})
    w = served(world("shadow", playbook=free), HOUR, cost=0.0)
    n = w.book.spent_since(w.now - HOUR).requests
    w.note(metered=0.004 * n)
    w.decide()
    assert w.rollout.phase is Phase.CANARY
    assert w.rollout.projected_cost == pytest.approx(0.004)


def test_too_few_priced_requests_project_nothing():
    free = LADDER.model_copy(update={"cost": wf11().cost})
    w = world("shadow", playbook=free).serve(HOUR, Load(10), HEALTHY)
    w.decide()
    assert w.rollout.phase is Phase.CANARY
    assert w.rollout.projected_cost is None


def test_an_approval_lets_the_step_be_left_at_its_hold():
    w = served(world("progressive", 0), HOUR)
    assert StepEntered not in kinds(w.decide())
    w.do(commands.approve, reason="looks good")
    assert StepEntered in kinds(w.decide())
    assert w.rollout.share == 100


def test_a_new_candidate_begins_a_fresh_hold_and_loses_its_approval():
    w = served(world("progressive", 0), HOUR)
    w.do(commands.approve, reason="looks good")
    w.apply(CandidateChanged(at=w.now, epoch=w.rollout.epoch + 1, version="v2"))
    served(w, HOUR - MINUTE)
    w.decide()
    assert verdicts(w.rollout.rulings) == {"hold": "wait", "approval": "wait"}
    assert w.rollout.share == 50


# --- questions


ASKING = plan(
    ("shadow", [step(0)]),
    ("canary", [step(5, {"kind": "error_rate", "below": "1%"}, max_hold="3h"), step(20)]),
)


def test_a_gate_that_waits_too_long_becomes_one_question():
    w = world(playbook=ASKING)
    for _ in range(5):
        w.serve(30 * MINUTE, Load(20), HEALTHY)
        assert QuestionAsked not in kinds(w.decide())
    events = w.serve(30 * MINUTE, Load(20), HEALTHY).decide()
    assert QuestionAsked in kinds(events)
    assert "error_rate" in events[-1].reason
    assert "hold" not in events[-1].reason.partition(":")[2]
    for _ in range(10):
        assert QuestionAsked not in kinds(w.serve(MINUTE, Load(20), HEALTHY).decide())


def test_a_proven_failure_asks_at_once_and_only_once():
    w = world(playbook=ASKING).serve(HOUR, Load(1200, errors=0.04), HEALTHY)
    events = w.decide()
    assert QuestionAsked in kinds(events)
    assert "failed" in events[-1].reason
    assert w.rollout.share == 5
    for _ in range(5):
        assert QuestionAsked not in kinds(
            w.serve(MINUTE, Load(1200, errors=0.04), HEALTHY).decide()
        )


def test_a_question_about_a_failure_names_what_failed_and_not_what_waits():
    w = world(playbook=ASKING).serve(HOUR / 2, Load(2400, errors=0.04), HEALTHY)
    asked = w.decide()[-1]
    assert asked.reason == "a gate has failed: error_rate"
    assert verdicts(asked.rulings)["hold"] == "wait"


def test_a_question_is_answered_by_evidence_too():
    w = world(playbook=ASKING)
    w.serve(3 * HOUR, Load(20), HEALTHY).decide()
    assert w.rollout.halt
    w.serve(2 * HOUR, Load(1200), HEALTHY)
    assert StepEntered in kinds(w.decide())
    assert w.rollout.halt is None


def test_a_failed_comparison_takes_the_traffic_back():
    gate = {"kind": "no_degradation", "metrics": ["order_completion"]}
    harmed = plan(
        ("shadow", [step(0)]),
        ("canary", [step(50, gate)]),
        metrics={"order_completion": wf11().metrics["order_completion"].model_dump()},
    )
    w = world(playbook=harmed).serve(
        12 * HOUR, Load(1000, outcomes={"order_completed": 0.1}), Load(1000)
    )
    events = w.decide()
    assert kinds(events) == [IncidentOpened, RolledBack]
    assert isinstance(events[0], IncidentOpened)
    assert events[0].trigger == "no_degradation:order_completion"
    assert (w.rollout.phase, w.rollout.share) == (Phase.ROLLED_BACK, 0)


# --- triggers come first


def _violation(w: World) -> None:
    w.violate()


def _approved_and_ready(w: World) -> None:
    served(w, 3 * HOUR)
    w.do(commands.approve, reason="ok")


def _paused(w: World) -> None:
    w.do(commands.pause, reason="lunch")


def _halved(w: World) -> None:
    w.apply(Halved(at=w.now, incident="i", share=25, epoch=w.rollout.epoch + 1))


def _asked(w: World) -> None:
    w.apply(QuestionAsked(at=w.now, rulings=()))


@pytest.mark.parametrize("before", [lambda _: None, _approved_and_ready, _paused, _halved, _asked])
@pytest.mark.parametrize("phase", ["shadow", "canary", "progressive"])
def test_a_violation_preempts_holds_approvals_halts_and_questions(phase: str, before: Any):
    w = world(phase)
    if before is _approved_and_ready and phase != "progressive":
        served(w, 3 * HOUR)
    elif before is not _halved or phase != "shadow":
        before(w)
    w.violate()
    assert kinds(w.decide()) == [IncidentOpened, RolledBack]
    assert (w.rollout.phase, w.rollout.share) == (Phase.ROLLED_BACK, 0)


def test_an_incident_tells_since_when_its_condition_can_have_been_true():
    w = world()
    w.violate()
    quiet = w.now - TEN_SECONDS
    opened = decide(w.scene, quiet)[0]
    assert isinstance(opened, IncidentOpened)
    assert opened.quiet_until == quiet
    assert (opened.trigger, opened.action) == ("violation", "roll_back")
    assert opened.ruling.numbers["violations"] == 1


def test_the_strongest_of_several_actions_is_taken():
    w = world()
    w.report("complaint", 20)
    w.serve(15 * MINUTE, Load(1800, slow=0.5), HEALTHY, every=TEN_SECONDS)
    w.violate()
    assert kinds(w.decide()) == [IncidentOpened, RolledBack]
    w = world()
    w.report("complaint", 20)
    w.serve(15 * MINUTE, Load(1800, slow=0.5), HEALTHY, every=TEN_SECONDS)
    assert kinds(w.decide()) == [IncidentOpened, Halved]


# --- halving


def slow(w: World, length: timedelta) -> World:
    return w.serve(length, Load(1800, slow=0.5), HEALTHY, every=TEN_SECONDS)


def test_a_halving_halves_and_holds():
    w = slow(world("canary", 1), 11 * MINUTE)
    opened, halved = w.decide()
    assert isinstance(opened, IncidentOpened)
    assert isinstance(halved, Halved)
    assert opened.action == "halve"
    assert w.rollout.share == 10
    for _ in range(40):
        assert StepEntered not in kinds(served(w, 30 * MINUTE).decide())
    assert w.rollout.share == 10, "until a person resumes"


def test_it_halves_again_only_after_another_ten_minutes():
    w = slow(world("canary", 1), 11 * MINUTE)
    w.decide()
    shares = []
    for _ in range(66):
        slow(w, TEN_SECONDS).decide()
        shares.append(w.rollout.share)
    assert shares.count(10) * 10 >= 590
    assert shares[-1] == 5


def test_halving_below_one_bucket_goes_back_to_control():
    w = world("canary", 0, plan(("shadow", [step(0)]), ("canary", [step(0.01)])))
    opened, last = slow(w, 11 * MINUTE).decide()
    assert isinstance(opened, IncidentOpened)
    assert opened.action == "roll_back"
    assert isinstance(last, RolledBack)


def test_in_shadow_there_is_nothing_to_halve_so_it_pauses_once():
    w = slow(world("shadow"), 11 * MINUTE)
    opened, paused = w.decide()
    assert isinstance(opened, IncidentOpened)
    assert isinstance(paused, Paused)
    assert opened.action == "pause"
    for _ in range(5):
        assert IncidentOpened not in kinds(slow(w, TEN_SECONDS).decide())


def test_a_halving_halves_what_users_really_meet():
    w = world("canary", 1)
    w.apply(BoundsChanged(at=w.now, by="operator", bounds={"traffic_percent": 4.0}))
    slow(w, 11 * MINUTE).decide()
    assert w.rollout.share == 2


# --- the operator's flags


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"traffic_percent": 4.0}, "MOLTBOT_TRAFFIC_PERCENT"),
        ({"shadow_mode": True}, "MOLTBOT_SHADOW_MODE"),
        ({"enabled": False}, "MOLTBOT_ENABLED"),
    ],
)
def test_the_climb_stands_where_the_operator_holds_it(said: dict[str, Any], named: str):
    w = world("canary", 1)
    w.apply(BoundsChanged(at=w.now, by="operator", bounds=said))
    served(w, 3 * HOUR)
    assert StepEntered not in kinds(w.decide())
    assert named in next(r.reason for r in w.rollout.rulings if r.name == "bounds")
    with pytest.raises(Refused, match="bounds"):
        w.do(commands.promote, reason="I want to")
    w.apply(QuestionAsked(at=w.now, rulings=()))
    with pytest.raises(Refused, match="bounds"):
        w.do(commands.promote, reason="I really want to")
    w.apply(BoundsChanged(at=w.now, by="operator", bounds={}))
    assert StepEntered not in kinds(w.decide()), "a fresh hold, now at the step's own share"
    assert StepEntered in kinds(served(w, HOUR).decide())


def test_a_bound_at_the_steps_share_lets_the_step_be_left():
    w = world("canary", 1)
    w.apply(BoundsChanged(at=w.now, by="operator", bounds={"traffic_percent": 20.0}))
    assert StepEntered in kinds(served(w, HOUR).decide())


def test_bounded_traffic_is_no_mismatch_of_the_sample_ratio():
    w = world("canary", 1)
    w.apply(BoundsChanged(at=w.now, by="operator", bounds={"traffic_percent": 2.0}))
    for _ in range(20):
        served(w, HOUR).decide()
    assert w.rollout.alarms == {}


# --- pause and review


def test_a_pause_is_caused_once_however_long_the_condition_lasts():
    w = world().serve(HOUR, Load(1200, cost=0.05), HEALTHY)
    assert kinds(w.decide()) == [IncidentOpened, Paused]
    for _ in range(5):
        assert IncidentOpened not in kinds(
            w.serve(TEN_SECONDS, Load(1200, cost=0.05), HEALTHY).decide()
        )
    assert len(w.rollout.incidents) == 1


def test_a_pause_and_a_review_at_once_open_one_incident_each():
    w = world().serve(30 * MINUTE, Load(1200, cost=0.05), HEALTHY)
    w.report("complaint", 20)
    for _ in range(6):
        w.decide()
        w.wait(timedelta(seconds=1))
    assert [i.trigger for i in w.rollout.incidents] == ["cost", "complaints"]
    assert w.rollout.halt


def test_after_a_resume_the_same_condition_counts_afresh():
    w = world()
    w.report("complaint", 20)
    assert kinds(w.decide()) == [IncidentOpened, ReviewAsked]
    w.wait(MINUTE)
    w.do(commands.resume, reason="looked at them")
    assert IncidentOpened not in kinds(w.decide())
    w.report("complaint", 20)
    assert kinds(w.decide()) == [IncidentOpened, ReviewAsked]
    assert len(w.rollout.incidents) == 2


def test_a_halted_climb_stays_where_it_is_although_all_gates_pass():
    w = world("canary", 1)
    w.do(commands.pause, reason="waiting for legal")
    for _ in range(3):
        assert StepEntered not in kinds(served(w, 2 * HOUR).decide())
    with pytest.raises(Refused, match="paused"):
        w.do(commands.promote, reason="now")


# --- sight


def test_blindness_freezes_gates_raises_one_alarm_and_rolls_nothing_back():
    w = served(world("canary", 1), 50 * MINUTE)
    w.decide()
    events = w.serve(10 * MINUTE, None, HEALTHY).decide()
    assert AlarmRaised in kinds(events)
    assert RolledBack not in kinds(events)
    assert w.rollout.share == 20
    assert kinds(w.serve(MINUTE, None, HEALTHY).decide()) == []
    assert kinds(served(w, MINUTE).decide()) == [AlarmCleared, StepEntered]


def test_a_step_is_left_only_while_the_candidate_is_seen_though_little_was_due():
    w = served(world("canary", 1), 50 * MINUTE)
    w.decide()
    assert kinds(w.serve(10 * MINUTE, None, Load(30)).decide()) == [RulingsChanged]
    assert "the next one is waited for" in w.rollout.rulings[-1].reason
    assert not w.rollout.alarms
    assert StepEntered in kinds(served(w, MINUTE).decide())


def test_a_broken_sample_ratio_freezes_gates_and_raises_an_alarm():
    w = served(world("canary", 1), HOUR)
    epoch = w.rollout.epoch
    w.book.add_seen(Seen("r1", epoch, CONTROL, f"extra {i}") for i in range(5_000))
    events = w.decide()
    assert [e.alarm for e in events if isinstance(e, AlarmRaised)] == ["sample_ratio"]
    assert StepEntered not in kinds(events)
    assert w.rollout.share == 20
    assert w.scene.mode == LIVE
