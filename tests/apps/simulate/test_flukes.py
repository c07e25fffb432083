"""What a planner says of triggers that a healthy agent would set off."""

import re

from molt.adapters.playbooks import load_playbook
from molt.apps.simulate.flukes import literal_advice
from molt.apps.simulate.scenario import Scenario
from molt.core.playbook import Playbook


def traffic(requests: float) -> Scenario:
    return Scenario.model_validate({"arrivals": {"requests_per_day": requests}})


def literal() -> Playbook:
    plan = load_playbook("wf-11")
    rates = ("error_rate", "latency")
    triggers = [
        t.model_copy(update={"rule": "literal"}) if t.kind in rates else t for t in plan.triggers
    ]
    return plan.model_copy(update={"triggers": tuple(triggers)})


def test_a_plan_is_told_of_complaints_that_come_together_by_chance():
    (said,) = literal_advice(load_playbook("wf-11"), traffic(400_000))
    assert "complaints (more than 10 in 1h) can fire on a healthy agent" in said
    assert "at 100% the usual 0.2 complaints per 1,000 requests are 3.3 in 1h" in said
    found = re.search(r"in (\d+)% of whole plans. With `above: (\d+)`", said)
    assert found
    assert 60 <= int(found[1]) <= 95  # three of four simulated rollouts were held by it
    assert 14 <= int(found[2]) <= 18


def test_the_limit_that_is_advised_is_quiet():
    (said,) = literal_advice(load_playbook("wf-11"), traffic(400_000))
    limit = int(said.split("`above: ")[1].split("`")[0])
    plan = load_playbook("wf-11")
    triggers = [
        t.model_copy(update={"above": limit}) if t.kind == "complaints" else t
        for t in plan.triggers
    ]
    assert literal_advice(plan.model_copy(update={"triggers": tuple(triggers)}), traffic(4e5)) == []


def test_a_small_bar_hears_nothing_of_it():
    assert literal_advice(load_playbook("wf-11"), traffic(1_000)) == []


def test_literal_rates_at_low_traffic_are_told():
    errors, slow = literal_advice(literal(), traffic(1_000))
    assert "trigger error_rate can fire on a healthy agent" in errors
    assert "1 of them with an error makes more than 5%" in errors
    assert "1 of them slower than 5s makes more than 5%" in slow
    assert errors.endswith("Leave out `rule: literal`.")
