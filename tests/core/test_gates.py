"""Each gate: no evidence waits, clear health passes, clear harm fails."""

from datetime import timedelta
from typing import Any, get_args

import numpy as np
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

from .traffic import Load, Place, gather
from .world import HOUR, MINUTE, T0, World, plan, step, verdicts, wf11

METRICS = {name: metric.model_dump() for name, metric in wf11().metrics.items()}
FIGURES = ["order_completion", "cart_abandonment", "staff_response", "satisfaction"]
HEALTHY = Load(2000)

GATES: dict[str, dict[str, Any]] = {
    "error_rate": {"kind": "error_rate", "below": "1%"},
    "latency": {"kind": "latency", "quantile": "95%", "below": "2s"},
    "latency_stable": {"kind": "latency_stable", "within": "10%"},
    "no_degradation": {"kind": "no_degradation", "metrics": FIGURES},
    "stable": {"kind": "stable", "metric": "engagement"},
    "unchanged": {"kind": "unchanged", "metric": "support_tickets"},
    "no_critical_error": {"kind": "no_critical_error", "for": "2h"},
    "no_rollback": {"kind": "no_rollback", "within": "2h"},
    "no_violation": {"kind": "no_violation"},
    "cost_within_budget": {"kind": "cost_within_budget"},
    "approval": {"kind": "approval"},
}


def world(*wanted: dict[str, Any], share: float = 50, phase: str = "canary", **more: Any) -> World:
    """A rollout at the end of a long step with these gates, without any traffic in it."""
    inside = [step(0, *wanted)] if phase == "shadow" else [step(0)]
    playbook = plan(
        ("shadow", inside),
        ("canary", [step(share, *wanted, hold="2h")]),
        ("progressive", [step(100)]),
        metrics=METRICS,
        **more,
    )
    w = World(playbook).begin()
    if phase != "shadow":
        w.serve(HOUR, HEALTHY, HEALTHY).at_step("canary")
    return w


def ruled(w: World) -> dict[str, Ruling]:
    return {r.name: r for r in gates.rule_all(w.scene)}


def only(w: World, name: str) -> Ruling:
    (found,) = [r for r in gates.rule_all(w.scene) if r.name.partition(":")[0] == name]
    return found


def day(w: World, candidate: Load = HEALTHY, control: Load | None = HEALTHY) -> World:
    return w.serve(timedelta(days=1), candidate, control)


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


@settings(max_examples=25, deadline=None)
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
    assert only(w, "hold").reason == "1 s of 2h to go"
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


# --- comparisons


def test_no_degradation_rules_each_metric():
    found = ruled(day(world(GATES["no_degradation"] | {"margin": "10%"})))
    assert {name for name in found if ":" in name} == {f"no_degradation:{m}" for m in FIGURES}
    assert set(verdicts(list(found.values())).values()) == {"pass"}


@pytest.mark.parametrize(
    ("changes", "harmed"),
    [
        ({"outcomes": {"order_completed": 0.15}}, "order_completion"),
        ({"outcomes": {"cart_abandoned": 0.2}}, "cart_abandonment"),
        ({"response_s": 90.0}, "staff_response"),
        ({"outcomes": {"satisfied": 0.08, "dissatisfied": 0.17}}, "satisfaction"),
    ],
)
def test_harm_to_any_one_metric_fails_it(changes: dict[str, Any], harmed: str):
    w = day(world(GATES["no_degradation"]), HEALTHY._replace(**changes))
    assert ruled(w)[f"no_degradation:{harmed}"].verdict == "fail"
    assert gates.failed_with(w.scene, gates.rule_all(w.scene), "roll_back")
    assert gates.failed_with(w.scene, gates.rule_all(w.scene), "hold") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"outcomes": {"order_completed": 0.40, "cart_abandoned": 0.05}},
        {"response_s": 30.0},
    ],
)
def test_doing_better_than_control_is_never_a_failure(changes: dict[str, Any]):
    w = day(world(GATES["no_degradation"]), HEALTHY._replace(**changes))
    assert "fail" not in verdicts(gates.rule_all(w.scene)).values()


@pytest.mark.parametrize(("share", "margin"), [(1, 0.5), (2, 0.4), (5, 0.2), (10, 0.08)])
def test_the_margin_keeps_the_harm_of_the_next_step_constant(share: float, margin: float):
    following = {1: 2, 2: 5, 5: 10, 10: 25}[int(share)]
    gate = {"kind": "no_degradation", "metrics": ["order_completion"]}
    w = World(plan(("canary", [step(share, gate), step(following)]), metrics=METRICS)).begin()
    (parsed,) = w.scene.step.gates
    assert gates.step_margin(w.scene, parsed) == pytest.approx(margin)  # type: ignore[arg-type]


def test_the_last_margin_is_the_harm_budget_itself_and_a_fixed_one_wins():
    gate = {"kind": "no_degradation", "metrics": ["order_completion"]}
    playbook = plan(
        ("canary", [step(50, gate), step(100, gate | {"margin": "7%"})]), metrics=METRICS
    )
    w = World(playbook).begin()
    assert gates.step_margin(w.scene, w.scene.step.gates[0]) == 0.02  # type: ignore[arg-type]
    w.at_step("canary", 1)
    assert gates.step_margin(w.scene, w.scene.step.gates[0]) == 0.07  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("conversations", "verdict"), [(0.25, "pass"), (0.5, "fail"), (0.17, "fail")]
)
def test_engagement_must_not_move_either_way(conversations: float, verdict: str):
    changed = HEALTHY._replace(outcomes={"conversations": conversations})
    w = day(world(GATES["stable"]), changed)
    assert only(w, "stable").verdict == verdict


@pytest.mark.parametrize(("tickets", "verdict"), [(0.002, "pass"), (0.02, "fail")])
def test_support_tickets_must_not_become_more_frequent(tickets: float, verdict: str):
    changed = HEALTHY._replace(outcomes={"support_ticket": tickets})
    w = day(world(GATES["unchanged"]), changed)
    assert only(w, "unchanged").verdict == verdict


def test_comparisons_pool_the_steps_of_one_candidate_and_no_other():
    w = day(world(GATES["no_degradation"]))
    w.apply(CandidateChanged(at=w.now, epoch=w.rollout.epoch + 1, version="v2"))
    assert {r.verdict for r in gates.rule_all(w.scene)} == {"wait"}


def test_the_shadow_period_sharpens_the_comparison_of_the_same_users():
    """CUPED: users differ much more from each other than their orders before and after do."""
    gate = {"kind": "no_degradation", "metrics": ["spend"]}
    spend = {"of": "spent", "value": True, "per": ["requests"], "better": "higher"}
    playbook = plan(("shadow", [step(0)]), ("canary", [step(50, gate)]), metrics={"spend": spend})
    w = World(playbook).begin().wait(HOUR)
    rng = np.random.default_rng(7)
    wealth = {arm: rng.gamma(2, 10, 256) for arm in ("candidate", "control")}
    tiers = {"candidate": 0, "control": 1}
    for arm, habit in wealth.items():
        _spend(w, "control", tiers[arm], habit + rng.normal(0, 1, 256))
    w.at_step("canary").wait(2 * HOUR)
    for arm, habit in wealth.items():
        _spend(w, arm, tiers[arm], habit + rng.normal(0, 1, 256))
    ruling = ruled(w)["no_degradation:spend"]
    assert ruling.numbers["variance_kept"] < 0.1


def _spend(w: World, arm: Any, tier: int, amounts: Any) -> None:
    key = SumsKey("r1", w.rollout.epoch, tier, "guest", arm, LIVE)
    columns = {
        "requests": dict.fromkeys(range(256), 1.0),
        "spent.value": dict(enumerate(amounts.tolist())),
    }
    w.book.add_sums(BucketSums(key, columns))


def test_evidence_of_all_tiers_counts_in_a_comparison():
    w = world(GATES["stable"])
    for tier in (0, 1, 2):
        for arm in ("candidate", "control"):
            place = Place("r1", w.rollout.epoch, arm, LIVE, tier)  # type: ignore[arg-type]
            w.take(gather(w.rng, place, Load(1000), w.now, HOUR))
    w.now += 3 * HOUR
    assert only(w, "stable").numbers["candidate_n"] == pytest.approx(750, rel=0.15)


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


def test_a_quiet_night_for_both_arms_is_no_sight_either():
    w = all_passing().wait(10 * MINUTE)
    assert "no request of either arm" in ruled(w)["sight"].reason


def test_few_missing_requests_at_a_small_share_are_not_blindness():
    w = world(GATES["error_rate"], share=1)
    w.serve(HOUR, None, Load(600))
    assert "sight" not in ruled(w)
    w.serve(10 * MINUTE, None, Load(60_000))
    assert "no candidate request for" in ruled(w)["sight"].reason


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
    assert sorted(kinds) == sorted(GATES)
