"""What a planner advises: plain, and right about where to begin."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from molt.adapters.playbooks import load_playbook
from molt.apps.simulate.planner import advice_on, cause_of
from molt.apps.simulate.run import START
from molt.apps.simulate.scenario import Scenario
from molt.core.events import IncidentOpened, Ruling
from molt.core.prediction import GateTime, StepPlan


def step(share: float, harm: float, margin: float, stuck: tuple[str, ...] = ()) -> StepPlan:
    return StepPlan(
        phase="canary",
        share=share,
        planned_hours=48,
        users=10,
        users_a_day=12,
        requests=100,
        margin=margin,
        smallest_harm={"order_completion": harm},
        gates=[GateTime(gate, None, None) for gate in stuck],
        reached=1,
    )


def advice(*steps: StepPlan) -> list[str]:
    world = Scenario.model_validate({"arrivals": {"requests_per_day": 1200}})
    return advice_on(load_playbook("wf-11"), world, steps)


def test_a_step_that_proves_too_little_is_told_where_to_begin():
    (said,) = advice(step(1, 0.9, 0.5), step(5, 0.3, 0.2), step(10, 0.07, 0.08))[:1]
    assert said.startswith(
        "At 1% you will see about 12 users a day: in 2 d 0 h this step can rule out"
    )
    assert said.endswith("or begin at 10%.")  # at 5% its own gate would ask for more than it shows


def test_a_bar_too_small_for_the_whole_plan_is_told_so_once():
    (said,) = advice(step(1, 1.79, 0.5), step(5, 0.56, 0.2), step(75, 0.18, 0.02))
    assert said.startswith("1,200 requests a day are too few for this plan")
    assert "all steps together, 6 days, one of 18% in Order completion rate (asked: 2%)" in said
    assert "at least 18%" in said


def test_gates_that_do_not_pass_in_time_are_told_step_by_step():
    (said,) = advice(step(1, 0.1, 0.5, stuck=("error_rate", "latency", "stable:engagement")))
    assert said.startswith("At 1% error_rate, latency and stable:engagement mostly do not pass")


def test_a_plan_that_proves_what_it_asks_for_needs_no_advice():
    assert advice(step(1, 0.1, 0.5)) == [
        "Every step can prove what its gates ask for in its planned time."
    ]


@pytest.mark.parametrize(
    ("triggers", "cause"),
    [
        (["latency", "complaints", "person"], "complaints"),
        (["cost"], "cost"),
        (["person"], "a person"),
    ],
)
def test_what_sent_a_run_back_is_what_a_person_was_asked_about(triggers: list[str], cause: str):
    events = [
        IncidentOpened(
            at=START + i * timedelta(hours=1),
            incident=f"i{i}",
            trigger=trigger,
            action="review",
            ruling=Ruling(trigger, "fail", "so"),
            reason="so",
        )
        for i, trigger in enumerate(triggers)
    ]
    course: Any = SimpleNamespace(events=events)
    assert cause_of(course) == cause
