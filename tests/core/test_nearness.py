"""How near a ruling was to its limit, as one figure for every kind of gate."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.adapters.playbooks import load_playbook
from molt.core.events import Ruling
from molt.core.nearness import Nearness, nearness

PLAN = load_playbook("wf-11")


def near(name: str, step: Any = None, **numbers: Any) -> Nearness:
    found = nearness(Ruling(name, "pass", "", numbers), PLAN, step)
    assert found is not None
    return found


def difference(control: float, candidate: float, half: float, **more: Any) -> dict[str, Any]:
    d = candidate - control
    return {"control": control, "difference": d, "low": d - half, "high": d + half, **more}


@given(st.floats(0.001, 0.5), st.floats(0, 1))
def test_a_rate_at_its_limit_has_used_all_of_it(limit: float, part: float):
    found = near("error_rate", rate=part * limit, high=limit, limit=limit)
    assert found.used == pytest.approx(part)
    assert found.at_most == pytest.approx(1)


def test_a_trigger_that_fired_says_how_far_over_its_limit_it_was():
    found = near("error_rate", rate=0.4, limit=0.05)
    assert (found.measured, found.limit, found.at_most) == ("40%", "5%", None)
    assert found.used == pytest.approx(8)


def test_agreement_uses_up_what_may_be_unacceptable():
    found = near("shadow_agreement", rate=0.95, low=0.9, limit=0.9)
    assert (found.used, found.at_most) == (pytest.approx(0.5), pytest.approx(1))


@pytest.mark.parametrize(
    ("metric", "candidate", "used", "limit"),
    [
        ("order_completion", 0.76, 0.5, "-10%"),  # higher is better: 5% lost of 10%
        ("order_completion", 0.84, -0.5, "-10%"),  # better than control
        ("cart_abandonment", 0.84, 0.5, "+10%"),  # lower is better: the other way round
    ],
)
def test_harm_counts_in_the_direction_that_is_worse(metric, candidate, used, limit):
    found = near(f"no_degradation:{metric}", **difference(0.8, candidate, 0.04, margin=0.1))
    assert found.used == pytest.approx(used)
    assert found.at_most == pytest.approx(used + 0.5)
    assert found.limit == limit


def test_stable_is_a_move_either_way():
    up = near("stable:engagement", **difference(2.0, 2.1, 0.1, margin=0.1))
    down = near("stable:engagement", **difference(2.0, 1.9, 0.1, margin=0.1))
    assert (up.used, up.at_most) == (pytest.approx(0.5), pytest.approx(1.0))
    assert (down.used, down.at_most) == (pytest.approx(0.5), pytest.approx(1.0))


def test_unchanged_takes_its_limit_from_the_gate_of_its_step():
    step = next(s for _, s in PLAN.ladder() if any(g.kind == "unchanged" for g in s.gates))
    gate = next(g for g in step.gates if g.kind == "unchanged")
    counts = {"candidate_events": 2, "candidate_exposure": 100}
    counts |= {"control_events": 40, "control_exposure": 2000}
    found = near(f"unchanged:{gate.metric}", step, **counts)
    assert found.used == pytest.approx(1 / gate.pass_ratio)
    assert nearness(Ruling(f"unchanged:{gate.metric}", "pass", "", counts), PLAN) is None


def test_where_none_is_allowed_one_is_over():
    assert near("no_violation", violations=0, requests=9).used == 0
    assert near("violation", violations=1, requests=9).used == math.inf
    assert near("no_critical_error", incidents=["i1"], reported=0).used == math.inf


@pytest.mark.parametrize("name", ["hold", "approval", "no_rollback", "error_rate", "stable:gone"])
def test_a_ruling_without_figures_has_no_nearness(name: str):
    assert nearness(Ruling(name, "wait", "too little"), PLAN) is None


def test_money_is_held_against_the_budget_the_projection_or_the_cap():
    assert near("cost_within_budget", per_1000=2.0, high=4.0, budget=8.0).at_most == 0.5
    assert near("cost", ratio=3.5, limit=3.0).measured == "3.50x projected"
    assert near("cost", spent=50.0, cap=100.0).used == 0.5
    assert near("complaints", count=11, limit=10).used == pytest.approx(1.1)
