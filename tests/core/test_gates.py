"""Each gate: no evidence waits, clear health passes, clear harm fails."""

from datetime import timedelta
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from molt.core import gates
from molt.core.assignment import CONTROL
from molt.core.events import (
    Approved,
    CandidateChanged,
    Halved,
    IncidentOpened,
    Resumed,
    RolledBack,
    Ruling,
)
from molt.core.evidence import LIVE, BucketSums, Seen, SumsKey
from molt.core.playbook import AnyGate
from molt.core.stats import latency

from .gate_world import GATES, HEALTHY, day, only, ruled, world
from .traffic import Load
from .world import HOUR, MINUTE, T0, World, plan, step, verdicts

# --- nothing passes on nothing


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("phase", ["shadow", "canary"])
def test_without_evidence_no_gate_passes_or_fails(name: str, phase: str):
    w = world(GATES[name], phase=phase)
    if name == "no_rollback":
        assert only(w, name).verdict == "wait"
        return
    for _ in range(3):
        w.wait(timedelta(days=10))
        found = [r for r in gates.rule_all(w.scene) if r.name.partition(":")[0] == name]
        assert {r.verdict for r in found} == {"wait"}


@pytest.mark.parametrize("name", sorted(set(GATES) - {"no_rollback", "approval"}))
def test_with_control_alone_no_gate_passes_or_fails(name: str):
    w = world(GATES[name])
    w.serve(timedelta(days=1), None, HEALTHY)
    found = [r for r in gates.rule_all(w.scene) if r.name.partition(":")[0] == name]
    assert {r.verdict for r in found} == {"wait"}


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(1, 8), st.booleans()), max_size=4),
    st.sampled_from(sorted(set(GATES) - {"no_rollback", "approval", "no_critical_error"})),
)
def test_a_handful_of_requests_is_never_enough(bursts: list[tuple[int, bool]], name: str):
    w = world(GATES[name], cost={"budget_per_1000": 5.0})
    for n, failing in bursts:
        candidate = Load(float(n), errors=1.0 if failing else 0.0)
        w.serve(HOUR, candidate, Load(float(n)), every=MINUTE)
    assert all(
        r.verdict != "pass" or r.name in ("hold", "no_violation") for r in gates.rule_all(w.scene)
    )


# --- the hold


def test_the_hold_passes_to_the_second():
    w = world()
    w.wait(2 * HOUR - timedelta(seconds=1))
    assert only(w, "hold").verdict == "wait"
    assert only(w, "hold").reason == "1s of 2h to go"
    assert only(w.wait(timedelta(seconds=1)), "hold").verdict == "pass"


@pytest.mark.parametrize(
    "interruption",
    [
        lambda w: CandidateChanged(at=w.now, epoch=w.rollout.epoch + 1, version="v2"),
        lambda w: Resumed(at=w.now),
        lambda w: Halved(at=w.now, incident="i", share=25, epoch=w.rollout.epoch + 1),
    ],
)
def test_the_hold_begins_afresh_with_every_epoch(interruption: Any):
    w = world().wait(2 * HOUR)
    w.apply(interruption(w))
    assert only(w, "hold").verdict == "wait"


# --- rates


@pytest.mark.parametrize(("errors", "verdict"), [(0.001, "pass"), (0.03, "fail"), (0.0095, "wait")])
def test_the_error_rate_is_proven_below_or_above_its_limit(errors: float, verdict: str):
    w = day(world(GATES["error_rate"]), HEALTHY._replace(errors=errors))
    ruling = only(w, "error_rate")
    assert ruling.verdict == verdict
    assert ruling.numbers["rate"] == pytest.approx(errors, rel=0.3)
    assert ruling.numbers["low"] <= ruling.numbers["rate"] <= ruling.numbers["high"]


def test_a_clean_error_rate_below_one_percent_takes_some_hundred_requests():
    w = world(GATES["error_rate"]).serve(2 * HOUR, Load(100), HEALTHY)
    assert only(w, "error_rate").verdict == "wait"
    assert only(w.serve(6 * HOUR, Load(150), HEALTHY), "error_rate").verdict == "pass"


def test_the_error_rate_is_that_of_the_present_step():
    w = day(world(GATES["error_rate"]))
    w.apply(CandidateChanged(at=w.now, epoch=w.rollout.epoch + 1, version="v2"))
    assert only(w, "error_rate").verdict == "wait"


def test_errors_of_one_user_prove_less_than_errors_of_many():
    many, one = world(GATES["error_rate"]), world(GATES["error_rate"])
    for w, buckets in ((many, range(40)), (one, [0] * 40)):
        epoch = w.rollout.epoch
        key = SumsKey("r1", epoch, 0, "guest", "candidate", LIVE)
        sums = BucketSums(key, {"requests": dict.fromkeys(range(256), 4.0)})
        for b in buckets:
            sums.add("errors", b)
        w.book.add_sums(sums)
        w.now += 3 * HOUR
    assert only(many, "error_rate").numbers["log_e_above"] > 4.7
    assert only(one, "error_rate").numbers["log_e_above"] < 2
    assert only(one, "error_rate").numbers["design_effect"] > 10


@pytest.mark.parametrize(("slow", "verdict"), [(0.01, "pass"), (0.2, "fail"), (0.048, "wait")])
@pytest.mark.parametrize("phase", ["shadow", "canary"])
def test_a_quantile_below_a_limit_is_a_share_above_it(slow: float, verdict: str, phase: str):
    w = day(world(GATES["latency"], phase=phase), HEALTHY._replace(slow=slow))
    assert only(w, "latency").verdict == verdict
    assert only(w, "latency").numbers["limit"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("latency_ms", "verdict"), [(400.0, "pass"), (300.0, "pass"), (600.0, "fail")]
)
def test_the_median_must_stay_where_control_has_it_or_get_faster(latency_ms: float, verdict: str):
    w = day(world(GATES["latency_stable"]), HEALTHY._replace(latency_ms=latency_ms))
    assert w.rollout.control_p50_ms == pytest.approx(400, rel=0.03)
    assert only(w, "latency_stable").verdict == verdict


def test_the_margin_of_the_median_comes_from_controls_histogram():
    w = day(world(GATES["latency_stable"]))
    histogram = w.book.latency([w.rollout.epoch], CONTROL, LIVE)
    expected = latency.share_of_slowdown(histogram, 0.10)
    assert only(w, "latency_stable").numbers["margin"] == pytest.approx(expected)


# --- from the log and the counts


def test_no_critical_error_needs_watching_for_its_whole_time():
    w = world(GATES["no_critical_error"], phase="shadow").serve(119 * MINUTE, HEALTHY, HEALTHY)
    assert only(w, "no_critical_error").verdict == "wait"
    assert only(w.serve(MINUTE, HEALTHY, HEALTHY), "no_critical_error").verdict == "pass"


def test_a_reported_critical_error_starts_the_time_again():
    w = world(GATES["no_critical_error"]).serve(3 * HOUR, HEALTHY, HEALTHY)
    w.report("critical_error", 1)
    assert only(w.serve(2 * HOUR, HEALTHY, HEALTHY), "no_critical_error").verdict == "wait"
    assert only(w.serve(MINUTE, HEALTHY, HEALTHY), "no_critical_error").verdict == "pass"


def test_a_critical_error_is_remembered_for_72_hours():
    w = world({"kind": "no_critical_error", "for": "72h"})
    w.report("critical_error", 1)
    for _ in range(12):
        w.serve(6 * HOUR, Load(60), Load(60))
        w.book.forget(w.now)
        assert only(w, "no_critical_error").verdict == "wait"
    assert only(w.serve(HOUR, Load(60), Load(60)), "no_critical_error").verdict == "pass"


def test_an_incident_is_a_critical_error():
    w = world(GATES["no_critical_error"]).serve(3 * HOUR, HEALTHY, HEALTHY)
    ruling = Ruling("cost", "fail", "r")
    w.apply(IncidentOpened(at=w.now, incident="i", trigger="cost", action="pause", ruling=ruling))
    assert only(w, "no_critical_error").verdict == "wait"


def test_no_rollback_is_read_from_the_log():
    w = world(GATES["no_rollback"]).serve(3 * HOUR, HEALTHY, HEALTHY)
    assert only(w, "no_rollback").verdict == "pass"
    w.apply(RolledBack(at=w.now, incident="i", cause="c"))
    w.at_step("canary").serve(2 * HOUR, HEALTHY, HEALTHY)
    assert only(w, "no_rollback").verdict == "wait"
    assert only(w.serve(MINUTE, HEALTHY, HEALTHY), "no_rollback").verdict == "pass"


def test_no_violation_needs_requests_without_one():
    w = world(GATES["no_violation"])
    assert only(w, "no_violation").verdict == "wait"
    assert only(w.serve(HOUR, HEALTHY, HEALTHY), "no_violation").verdict == "pass"
    w.violate()
    assert only(w, "no_violation").verdict == "fail"


def test_cost_waits_without_a_budget():
    w = day(world(GATES["cost_within_budget"]))
    assert only(w, "cost_within_budget").verdict == "wait"
    assert "no budget" in only(w, "cost_within_budget").reason


@pytest.mark.parametrize(("cost", "verdict"), [(0.002, "pass"), (0.00495, "wait"), (0.02, "fail")])
@pytest.mark.parametrize("phase", ["shadow", "canary"])
def test_cost_is_within_budget_when_its_upper_end_is(cost: float, verdict: str, phase: str):
    w = world(GATES["cost_within_budget"], cost={"budget_per_1000": 5.0}, phase=phase)
    w.serve(3 * HOUR, Load(300, cost=cost), HEALTHY)
    ruling = only(w, "cost_within_budget")
    assert ruling.verdict == verdict
    assert ruling.numbers["low"] < 1000 * cost < ruling.numbers["high"]


@pytest.mark.parametrize(("counted", "verdict"), [(0.5, "pass"), (2.0, "pass"), (8.0, "fail")])
def test_an_agent_that_tells_a_part_of_its_usage_is_judged_by_what_the_egress_counted(
    counted: float, verdict: str
):
    w = world(GATES["cost_within_budget"], cost={"budget_per_1000": 5.0})
    w.serve(3 * HOUR, Load(300, cost=0.002), HEALTHY)
    alone = only(w, "cost_within_budget").numbers
    spent = w.book.counts([w.rollout.epoch], "candidate", "live").spent
    w.note(metered=counted * spent.cost)
    ruling = only(w, "cost_within_budget")
    assert ruling.verdict == verdict
    assert ruling.numbers["per_1000"] == pytest.approx(max(counted, 1.0) * alone["per_1000"])
    width = alone["high"] / alone["low"]
    assert ruling.numbers["high"] / ruling.numbers["low"] == pytest.approx(width)


def test_where_answers_tell_no_usage_the_cost_gate_says_what_the_egress_counted():
    w = world(GATES["cost_within_budget"], cost={"budget_per_1000": 5.0})
    w.note(requests=500, metered=1.5)
    ruling = only(w, "cost_within_budget")
    assert ruling.verdict == "wait"
    assert "the egress counted $1.50 for 500" in ruling.reason


def test_the_approval_is_read_from_the_rollout():
    w = world(GATES["approval"])
    assert only(w, "approval").verdict == "wait"
    w.apply(
        Approved(at=T0, by="ann", reason="ok", phase="canary", step=0, epoch=2, playbook_hash="x")
    )
    assert only(w, "approval").verdict == "pass"
    assert "ann" in only(w, "approval").reason


# --- freezing


def all_passing() -> World:
    names = ("error_rate", "stable", "no_violation", "cost_within_budget")
    w = world(*(GATES[n] for n in names), cost={"budget_per_1000": 5.0})
    day(w)
    assert set(verdicts(gates.rule_all(w.scene)).values()) == {"pass"}
    return w


def test_blindness_freezes_every_measured_gate():
    w = all_passing().serve(10 * MINUTE, None, HEALTHY)
    found = verdicts(gates.rule_all(w.scene))
    assert found.pop("hold") == "pass"
    assert set(found.values()) == {"wait"}
    assert "sight" in found
    w.serve(MINUTE, HEALTHY, HEALTHY)
    assert set(verdicts(gates.rule_all(w.scene)).values()) == {"pass"}


def test_silence_of_both_arms_is_blindness_where_a_day_ago_there_was_traffic():
    w = all_passing()  # it had traffic all day
    w.wait(10 * MINUTE)
    assert "no request of either arm for 5m; a day ago there were" in ruled(w)["sight"].reason
    young = world(GATES["error_rate"]).wait(10 * MINUTE)  # there is no day ago
    assert "no request of either arm was seen for 5m" in ruled(young)["sight"].reason


def test_a_night_as_quiet_as_the_last_one_is_not_blindness():
    w = world(GATES["error_rate"])
    w.wait(8 * HOUR).serve(16 * HOUR, HEALTHY, HEALTHY)
    w.wait(7 * HOUR)
    assert "sight" not in ruled(w)
    w.wait(2 * HOUR)  # it opened an hour ago, as yesterday
    assert "a day ago" in ruled(w)["sight"].reason


def test_silence_of_a_whole_day_is_blindness_however_quiet_the_day_before_was():
    w = world(GATES["error_rate"]).serve(HOUR, HEALTHY, HEALTHY).wait(timedelta(days=3))
    assert "no request of either arm" in ruled(w)["sight"].reason


def test_few_missing_requests_at_a_small_share_are_not_blindness():
    w = world(GATES["error_rate"], share=1)
    w.serve(HOUR, None, Load(600))
    assert "sight" not in ruled(w)
    w.serve(10 * MINUTE, None, Load(60_000))
    assert "no candidate request for" in ruled(w)["sight"].reason


def test_however_little_is_due_a_long_silence_is_blindness():
    w = world(GATES["error_rate"], share=1)
    w.serve(6 * HOUR, Load(10), Load(1000))
    assert "sight" not in ruled(w)
    w.serve(2 * HOUR, None, Load(1000))
    assert "sight" not in ruled(w)  # about 20 were due: two users may be away
    w.serve(8 * HOUR, None, Load(1000))
    assert "no candidate request for" in ruled(w)["sight"].reason
    assert "sight" not in ruled(w.serve(MINUTE, Load(10), Load(1000)))


def test_in_shadow_a_silent_agent_is_blindness_as_far_as_copies_are_due():
    w = world(GATES["no_violation"], phase="shadow").wait(HOUR).serve(10 * MINUTE, None, Load(600))
    assert "no candidate request for" in ruled(w)["sight"].reason
    quiet = world(GATES["no_violation"], phase="shadow").wait(HOUR)
    assert "sight" not in ruled(quiet.serve(10 * MINUTE, None, Load(60)))


def test_a_broken_sample_ratio_freezes_passes_and_failures():
    w = all_passing()
    w.book.add_seen(Seen("r1", w.rollout.epoch, CONTROL, f"x{i}") for i in range(3000))
    assert gates.sample_ratio(w.scene)
    assert set(verdicts(gates.rule_all(w.scene)).values()) == {"pass", "wait"}
    harmed = day(world(GATES["no_degradation"]), Load(2000, outcomes={"order_completed": 0.1}))
    harmed.book.add_seen(Seen("r1", harmed.rollout.epoch, CONTROL, f"x{i}") for i in range(9000))
    assert "fail" not in verdicts(gates.rule_all(harmed.scene)).values()


def test_a_fair_split_is_no_mismatch_however_often_one_looks():
    w = world(share=5)
    for _ in range(200):
        w.serve(HOUR, Load(50), Load(950))
        assert gates.sample_ratio(w.scene) is None


def test_more_errors_never_improve_a_verdict():
    order = ["pass", "wait", "fail"]
    seen = []
    for errors in (0.0, 0.005, 0.009, 0.012, 0.02, 0.05):
        w = world(GATES["error_rate"]).serve(3 * HOUR, Load(800, errors=errors), HEALTHY)
        seen.append(order.index(only(w, "error_rate").verdict))
    assert seen == sorted(seen)


def test_a_playbook_with_an_undeclared_metric_is_refused():
    with pytest.raises(ValueError, match="'engagement' is not declared"):
        plan(("canary", [step(5, GATES["stable"])]))


def test_every_kind_of_gate_has_an_example_here():
    (union, _) = get_args(AnyGate)
    kinds = [get_args(kind.model_fields["kind"].annotation)[0] for kind in get_args(union)]
    in_shadow_only = {"shadow_agreement"}  # compared pairs have tests of their own
    assert set(kinds) - in_shadow_only == set(GATES)
