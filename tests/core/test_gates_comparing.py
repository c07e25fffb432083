"""Gates that compare the candidate with control."""

from typing import Any

import numpy as np
import pytest

from molt.core import gates, gates_comparing
from molt.core.events import CandidateChanged
from molt.core.evidence import LIVE, BucketSums, SumsKey

from .gate_world import FIGURES, GATES, HEALTHY, METRICS, day, only, ruled, world
from .traffic import Load, Place, gather
from .world import HOUR, World, plan, step, verdicts


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
    assert gates_comparing.step_margin(w.scene, parsed) == pytest.approx(margin)  # type: ignore[arg-type]


def test_the_last_margin_is_the_harm_budget_itself_and_a_fixed_one_wins():
    gate = {"kind": "no_degradation", "metrics": ["order_completion"]}
    playbook = plan(
        ("canary", [step(50, gate), step(100, gate | {"margin": "7%"})]), metrics=METRICS
    )
    w = World(playbook).begin()
    assert gates_comparing.step_margin(w.scene, w.scene.step.gates[0]) == 0.02  # type: ignore[arg-type]
    w.at_step("canary", 1)
    assert gates_comparing.step_margin(w.scene, w.scene.step.gates[0]) == 0.07  # type: ignore[arg-type]


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
