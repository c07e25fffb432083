"""Plans of WF-11's shape, and those that are refused."""

from datetime import timedelta
from typing import Any

import pytest

from molt.core.playbook import Playbook

from .world import plan, step, wf11

APPROVAL = {"kind": "approval"}


@pytest.mark.parametrize(
    ("phases", "complaint"),
    [
        ([("canary", [step(5)]), ("shadow", [step(0)])], "in this order"),
        ([("canary", [step(5)]), ("canary", [step(10)])], "at most once"),
        ([("canary", [step(5), step(5)])], "shares that rise"),
        ([("canary", [step(10)]), ("progressive", [step(5)])], "shares that rise"),
        ([("shadow", [step(1)])], "shadow has share 0"),
        ([("canary", [step(0), step(5)])], "shadow has share 0"),
        ([("canary", [step(101)])], "less than or equal to 100"),
        ([("canary", [])], "at least 1 item"),
    ],
)
def test_a_plan_that_is_no_climb_is_refused(phases: Any, complaint: str):
    with pytest.raises(ValueError, match=complaint):
        plan(*phases)


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"name": "Not A Name"}, "pattern"),
        ({"agents": {}}, "at least 1 item"),
        ({"triggers": []}, "at least 1 item"),
        ({"procedure": ["disable", "pray"]}, "pray"),
        ({"surprise": 1}, "surprise"),
        (
            {"triggers": [{"kind": "cost", "above": 3, "action": "halve"}]},
            "does not lower the cost",
        ),
        ({"triggers": [{"kind": "violation", "action": "shrug"}]}, "shrug"),
        ({"cost": {"budget_per_1000": 0}}, "greater than 0"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(more: dict[str, Any], complaint: str):
    with pytest.raises(ValueError, match=complaint):
        plan(("canary", [step(5)]), **more)


@pytest.mark.parametrize(
    "gate",
    [
        {"kind": "stable", "metric": "nothing"},
        {"kind": "unchanged", "metric": "nothing"},
        {"kind": "no_degradation", "metrics": ["nothing"]},
    ],
)
def test_a_gate_on_an_undeclared_metric_is_refused(gate: dict[str, Any]):
    with pytest.raises(ValueError, match="'nothing' is not declared"):
        plan(("canary", [step(5, gate)]))


def test_the_pace_is_never_shorter_than_the_hold():
    small = plan(("canary", [step(5, hold="2h", planned="1h"), step(6, planned="3h"), step(7)]))
    paces = [s.pace for _, s in small.ladder()]
    assert paces == [timedelta(hours=2), timedelta(hours=3), timedelta(hours=1)]


def test_any_plan_of_this_shape_survives_its_canonical_form():
    odd = plan(("canary", [step(0.01, APPROVAL, hold="1h1m1s"), step(99.99, planned="1500ms")]))
    assert Playbook.model_validate_json(odd.canonical()) == odd
    assert odd.tiers() == (1, 9_999)


def test_two_different_plans_have_different_hashes():
    one, other = plan(("canary", [step(5)])), plan(("canary", [step(6)]))
    assert one.hash() != other.hash() != wf11().hash()


def test_a_plan_names_the_outcomes_whose_times_matter_and_for_how_long():
    assert wf11().timed_outcomes() == {
        "complaint": timedelta(hours=1),
        "critical_error": timedelta(hours=72),
    }
    assert plan(("canary", [step(5)]), triggers=[{"kind": "violation", "action": "pause"}]).timed_outcomes() == {}  # fmt: skip


def test_an_unknown_phase_is_a_key_error():
    with pytest.raises(KeyError):
        plan(("canary", [step(5)])).phase("shadow")
