"""Each trigger: silence waits, health passes, the condition fires, and chance does not."""

from datetime import timedelta
from typing import Any

import pytest

from molt.core import triggers
from molt.core.events import CandidateChanged, Halved, Resumed, Ruling
from molt.core.playbook import Playbook

from .traffic import Load
from .world import HOUR, MINUTE, World, plan, step, wf11

PLAN = plan(("shadow", [step(0)]), ("canary", [step(5), step(20)]))
TEN_SECONDS = timedelta(seconds=10)


def world(phase: str = "canary", playbook: Playbook = PLAN, **more: Any) -> World:
    """A rollout that has been in its step for long, without traffic yet."""
    made = World(playbook, **more).begin()
    if phase != "shadow":
        made.at_step(phase)
    return made.wait(HOUR)


def rule(w: World, kind: str) -> Ruling:
    (found,) = [r.ruling for r in triggers.rule_all(w.scene) if r.ruling.name == kind]
    return found


def with_trigger(**changes: Any) -> Playbook:
    return plan(("shadow", [step(0)]), ("canary", [step(5)]), triggers=[changes])


def test_every_trigger_of_the_plan_is_ruled_in_its_order_with_its_action():
    assert [(r.ruling.name, r.action) for r in triggers.rule_all(world().scene)] == [
        ("error_rate", "roll_back"),
        ("latency", "halve"),
        ("violation", "roll_back"),
        ("cost", "pause"),
        ("complaints", "review"),
    ]


@pytest.mark.parametrize("phase", ["shadow", "canary"])
def test_without_any_evidence_none_fires_and_rates_wait(phase: str):
    found = {r.ruling.name: r.ruling.verdict for r in triggers.rule_all(world(phase).scene)}
    assert found == {
        "error_rate": "wait",
        "latency": "wait",
        "violation": "pass",
        "cost": "wait",
        "complaints": "pass",
    }


@pytest.mark.parametrize("phase", ["shadow", "canary"])
def test_a_healthy_day_fires_nothing_whenever_one_looks(phase: str):
    w = world(phase)
    for _ in range(96):
        w.serve(15 * MINUTE, Load(600, errors=0.01), Load(600), every=TEN_SECONDS)
        assert "fail" not in {r.ruling.verdict for r in triggers.rule_all(w.scene)}


# --- errors


@pytest.mark.parametrize("phase", ["shadow", "canary"])
def test_one_request_in_five_failing_fires_after_the_five_minutes_it_must_last(phase: str):
    w = world(phase).serve(HOUR, Load(1800, errors=0.002), every=TEN_SECONDS)
    fired_after = 0
    while rule(w, "error_rate").verdict != "fail":
        w.serve(TEN_SECONDS, Load(1800, errors=0.2), every=TEN_SECONDS)
        fired_after += 10
        assert fired_after <= 360
    assert fired_after >= 200, "most of the five minutes must be bad"
    assert rule(w, "error_rate").numbers["limit"] == 0.05


def test_a_dead_agent_with_little_traffic_is_found_within_half_an_hour():
    w = world()
    for _ in range(30):
        w.serve(MINUTE, Load(60, errors=1.0), every=TEN_SECONDS)
    assert rule(w, "error_rate").verdict == "fail"


def test_one_error_in_three_requests_is_not_evidence():
    w = world().serve(5 * MINUTE, Load(30), every=TEN_SECONDS, advance=False)
    w.serve(5 * MINUTE, Load(15, errors=1.0), every=TEN_SECONDS)
    ruling = rule(w, "error_rate")
    assert ruling.numbers["events"] >= 1
    assert ruling.verdict == "pass"


def test_one_burst_of_errors_is_not_five_minutes():
    w = world().serve(10 * MINUTE, Load(1800), every=TEN_SECONDS)
    w.serve(timedelta(seconds=30), Load(1800, errors=1.0), every=TEN_SECONDS)
    w.serve(3 * MINUTE, Load(1800), every=TEN_SECONDS)
    assert rule(w, "error_rate").numbers["literal"]
    assert rule(w, "error_rate").verdict == "pass"


def test_the_literal_rule_takes_the_plan_at_its_word():
    literal = with_trigger(
        kind="error_rate", above="5%", action="roll_back", rule="literal", **{"for": "5m"}
    )
    w = world(playbook=literal).serve(5 * MINUTE, Load(120), every=TEN_SECONDS)
    assert rule(w, "error_rate").verdict == "pass"
    w.serve(MINUTE, Load(120, errors=1.0), every=TEN_SECONDS)
    assert rule(w, "error_rate").verdict == "fail"


def test_a_new_step_does_not_hide_errors_that_began_before_it():
    w = world().serve(4 * MINUTE, Load(1800, errors=0.3), every=TEN_SECONDS)
    w.at_step("canary", 1)
    w.serve(MINUTE, Load(1800, errors=0.3), every=TEN_SECONDS)
    assert rule(w, "error_rate").verdict == "fail"


@pytest.mark.parametrize("kind", ["halved", "resumed"])
def test_errors_from_before_a_halving_or_a_resume_do_not_count_again(kind: str):
    w = world().serve(10 * MINUTE, Load(1800, errors=0.5), every=TEN_SECONDS)
    assert rule(w, "error_rate").verdict == "fail"
    if kind == "halved":
        w.apply(Halved(at=w.now, incident="i", share=2.5, epoch=w.rollout.epoch + 1))
    else:
        w.apply(Resumed(at=w.now))
    assert rule(w, "error_rate").verdict == "wait"


def test_a_rate_must_have_been_watched_for_its_whole_duration():
    w = world().serve(10 * MINUTE, Load(1800), every=TEN_SECONDS)
    w.apply(Resumed(at=w.now))
    w.serve(timedelta(minutes=4, seconds=50), Load(1800, errors=0.5), every=TEN_SECONDS)
    assert rule(w, "error_rate").verdict != "fail"
    w.serve(TEN_SECONDS, Load(1800, errors=0.5), every=TEN_SECONDS)
    assert rule(w, "error_rate").verdict == "fail"


# --- latency


def test_a_tenth_slower_than_five_seconds_for_ten_minutes_fires():
    w = world().serve(HOUR, Load(1800), every=TEN_SECONDS)
    assert rule(w, "latency").verdict == "pass"
    w.serve(11 * MINUTE, Load(1800, slow=0.3), every=TEN_SECONDS)
    assert rule(w, "latency").verdict == "fail"
    assert rule(w, "error_rate").verdict == "pass"


def test_one_percent_slower_is_within_the_95th_percentile():
    w = world().serve(2 * HOUR, Load(1800, slow=0.01), every=TEN_SECONDS)
    assert rule(w, "latency").verdict == "pass"


# --- violations


@pytest.mark.parametrize("phase", ["shadow", "canary"])
def test_the_first_violation_fires(phase: str):
    w = world(phase).serve(HOUR, Load(600))
    assert rule(w, "violation").verdict == "pass"
    w.violate()
    assert rule(w, "violation").verdict == "fail"


def test_a_violation_counts_until_a_person_resumes():
    w = world()
    w.violate()
    w.apply(CandidateChanged(at=w.now, epoch=w.rollout.epoch + 1, version="v2"))
    assert rule(w.wait(HOUR), "violation").verdict == "fail"
    w.apply(Resumed(at=w.now))
    assert rule(w, "violation").verdict == "pass"


# --- cost

PRICED = plan(
    ("shadow", [step(0)]),
    ("canary", [step(5), step(20)]),
    cost={"projected_per_request": 0.002, "spend_cap_per_day": 50.0},
)


def test_cost_waits_for_a_projection():
    w = world().serve(HOUR, Load(600, cost=1.0))
    assert rule(w, "cost").verdict == "wait"
    assert "no projected cost" in rule(w, "cost").reason


def test_an_overrun_that_begins_after_cheap_days_is_found_within_hours():
    w = world(playbook=PRICED)
    for _ in range(3):
        w.serve(timedelta(days=1), Load(100, cost=0.002), every=timedelta(hours=1))
    assert rule(w, "cost").verdict == "pass"
    hours = 0
    while rule(w, "cost").verdict == "pass":
        w.serve(HOUR, Load(100, cost=0.0085), every=timedelta(hours=1))
        hours += 1
    assert "spent in 6h on" in rule(w, "cost").reason
    assert 3 <= hours <= 8


def test_cost_waits_for_thirty_priced_requests():
    w = world(playbook=PRICED).serve(MINUTE, Load(600, cost=0.1))
    assert rule(w, "cost").verdict == "wait"


@pytest.mark.parametrize(("cost", "verdict"), [(0.002, "pass"), (0.005, "pass"), (0.02, "fail")])
def test_cost_fires_only_beyond_three_times_the_projection(cost: float, verdict: str):
    w = world(playbook=PRICED).serve(HOUR, Load(600, cost=cost))
    assert rule(w, "cost").verdict == verdict


def test_a_cheap_past_does_not_hide_an_expensive_step():
    w = world(playbook=PRICED).serve(20 * HOUR, Load(600))
    w.at_step("canary", 1)
    w.serve(HOUR, Load(600, cost=0.02))
    assert rule(w, "cost").verdict == "fail"


def test_the_spend_cap_needs_no_statistics():
    w = world(playbook=PRICED).serve(10 * MINUTE, Load(60, cost=10.0))
    ruling = rule(w, "cost")
    assert ruling.verdict == "fail"
    assert "the cap is $50" in ruling.reason


def test_the_spend_cap_looks_back_one_day():
    w = world(playbook=PRICED).serve(10 * MINUTE, Load(60, cost=10.0))
    w.wait(timedelta(hours=23))
    assert rule(w, "cost").verdict == "fail"
    w.wait(timedelta(hours=2))
    assert rule(w, "cost").verdict != "fail"


def test_the_spend_cap_counts_what_the_egress_saw_where_answers_tell_less():
    w = world(playbook=PRICED).serve(HOUR, Load(60, cost=0.002))
    w.note(metered=49.0)
    assert rule(w, "cost").verdict == "pass"
    w.note(metered=1.0)
    assert "$50.00 spent in 24 h" in rule(w, "cost").reason


def test_the_same_money_told_twice_counts_once():
    w = world(playbook=PRICED).serve(10 * MINUTE, Load(600, cost=0.3))
    told = w.book.spent_since(w.now - HOUR).cost
    w.note(metered=told)
    assert told < 50.0 < 2 * told
    assert "cap" not in rule(w, "cost").reason


@pytest.mark.parametrize("told", [0.0, 0.0002])
def test_cost_is_held_against_the_projection_whatever_the_agent_tells(told: float):
    w = world(playbook=PRICED).serve(HOUR, Load(600, cost=told))
    projected = 0.002 * w.book.spent_since(w.now - HOUR).requests
    w.note(metered=2.9 * projected)
    assert rule(w, "cost").verdict != "fail"
    w.note(metered=0.2 * projected)
    assert "3.10x projected" in rule(w, "cost").reason
    assert rule(w, "cost").verdict == "fail"


# --- complaints


def test_ten_complaints_in_an_hour_are_allowed_and_eleven_are_not():
    w = world()
    w.report("complaint", 10)
    assert rule(w, "complaints").verdict == "pass"
    w.report("complaint", 1)
    assert rule(w, "complaints").verdict == "fail"


def test_complaints_leave_the_window_after_an_hour():
    w = world()
    w.report("complaint", 6)
    w.wait(HOUR + timedelta(seconds=1))
    w.report("complaint", 6)
    assert rule(w, "complaints").numbers["count"] == 6
    assert rule(w, "complaints").verdict == "pass"


def test_complaints_about_control_do_not_count():
    w = world()
    w.report("complaint", 50, arm="control")
    assert rule(w, "complaints").verdict == "pass"


def test_complaints_that_a_person_has_reviewed_do_not_count_again():
    w = world()
    w.report("complaint", 20)
    w.wait(MINUTE)
    w.apply(Resumed(at=w.now))
    assert rule(w, "complaints").verdict == "pass"


def test_few_complaints_fire_when_control_has_hardly_any_for_many_more_requests():
    w = world().serve(4 * HOUR, Load(100), Load(1_900))
    w.report("complaint", 2, arm="control")
    w.report("complaint", 8)
    ruling = rule(w, "complaints")
    assert ruling.numbers["count"] <= ruling.numbers["limit"]
    assert ruling.verdict == "fail"
    assert "more frequent than control's" in ruling.reason


def test_complaints_are_not_divided_by_requests_that_nobody_sees_but_counted_they_are():
    w = world().serve(4 * HOUR, Load(100), Load(1_900)).serve(3 * HOUR, None, Load(1_900))
    w.report("complaint", 8)
    blind = rule(w, "complaints")
    assert (blind.verdict, "not judged: no candidate request" in blind.reason) == ("wait", True)
    w.report("complaint", 3)
    assert rule(w, "complaints").verdict == "fail"


def test_complaints_are_compared_again_once_the_candidate_is_seen():
    w = world().serve(4 * HOUR, Load(100), Load(1_900)).serve(3 * HOUR, None, Load(1_900))
    w.report("complaint", 8)
    w.serve(MINUTE, Load(100), Load(1_900))
    assert "more frequent than control's" in rule(w, "complaints").reason


def test_as_many_complaints_a_request_as_control_has_do_not_fire():
    w = world().serve(4 * HOUR, Load(100), Load(1_900))
    w.report("complaint", 95, arm="control")
    w.report("complaint", 5)
    assert rule(w, "complaints").verdict == "pass"


def test_the_whole_plan_is_quiet_on_a_healthy_agent_over_a_week():
    w = World(wf11()).begin().at_step("canary", 2).wait(HOUR)
    for _ in range(7):
        w.serve(timedelta(days=1), Load(200, errors=0.005), Load(3_800, errors=0.005))
        w.book.forget(w.now)
        assert "fail" not in {r.ruling.verdict for r in triggers.rule_all(w.scene)}
