"""What a plan will take, prove and cost with one's own traffic, before it starts.

What a step can prove comes from the formulas of `core.stats.power`; how long gates take, what the
whole plan costs and what a bad agent costs until it is stopped, from playing the plan through with
the production controller.
"""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import numpy as np

from molt.apps.simulate.course import Course
from molt.apps.simulate.flukes import literal_advice
from molt.apps.simulate.parallel import Done, run_seeds
from molt.apps.simulate.processes import Process, processes_of
from molt.apps.simulate.scenario import Effect, Scenario
from molt.control.retro_text import span
from molt.core.events import IncidentOpened, StepEntered
from molt.core.gate_times import hours_to_pass
from molt.core.playbook import NoDegradationGate, PhasePlan, Playbook, Step
from molt.core.prediction import GateTime, Prediction, StepPlan
from molt.core.stats import power
from molt.core.stats.wilson import wilson

BAD: Final = 0.8
"""The bad agent of the plan completes four orders where control completes five."""
BY_HAND: Final = "person"
"""What an incident of a person's own rollback is named after."""


def predict(
    playbook: Playbook,
    scenario: Scenario,
    *,
    seeds: int,
    made_at: datetime,
    jobs: int | None = None,
    done: Done = lambda _: None,
) -> Prediction:
    """The prediction for a plan in the scenario's world, from `seeds` healthy and as many bad runs.

    Lists of three are 10%, median and 90%. Raises `OperatorError`.
    """
    processes = processes_of(playbook, scenario)
    healthy, _ = run_seeds(
        scenario, playbook, range(1, seeds + 1), name="plan", jobs=jobs, done=done
    )
    bad: list[Course] = []
    if processes.primary is not None:
        effect = Effect(metric=processes.primary.metric, size="-20%")  # pyright: ignore[reportArgumentType]
        harmful = scenario.model_copy(update={"effects": (*scenario.effects, effect)})
        bad, _ = run_seeds(harmful, playbook, range(1, seeds + 1), name="bad", jobs=jobs, done=done)
    steps = _steps(playbook, scenario, processes.all, healthy)
    back = sum(c.verdict == "rolled_back" for c in healthy)
    n = max(1, len(healthy))
    return Prediction(
        playbook=playbook.name,
        playbook_hash=playbook.hash(),
        made_at=made_at,
        traffic=scenario.arrivals.requests_per_day,
        users=scenario.users.count,
        seeds=len(healthy),
        steps=steps,
        promoted=sum(c.verdict == "promoted" for c in healthy) / n,
        sent_back=back / n,
        sent_back_interval=[*wilson(back, len(healthy))],
        duration_days=_spread_of([_days(c) for c in healthy if c.verdict == "promoted"]),
        spent=_known([c.spent for c in healthy]),
        bad_stopped=sum(c.verdict == "rolled_back" for c in bad) / max(1, len(bad)),
        bad_hours=_spread_of([_live_hours(c) for c in bad if c.verdict == "rolled_back"]),
        bad_failed_orders=_known([c.failed_orders for c in bad]),
        bad_spent=_known([c.spent for c in bad]),
        advice=advice_on(playbook, scenario, steps),
        sent_back_by=dict(Counter(cause_of(c) for c in healthy if c.verdict == "rolled_back")),
    )


def _steps(
    playbook: Playbook,
    scenario: Scenario,
    processes: Sequence[Process],
    courses: Sequence[Course],
) -> list[StepPlan]:
    ladder, found, information = playbook.ladder(), list[StepPlan](), dict[str, float]()
    traffic, users = scenario.arrivals.requests_per_day, scenario.users.count
    for i, (phase, step) in enumerate(ladder):
        share = step.share / 100
        days = step.pace / timedelta(days=1)
        met = 1 - math.exp(-traffic / users * days)
        met_a_day = 1 - math.exp(-traffic / users)
        mirrored = phase.mirror / 100 if not step.share else share
        following = ladder[i + 1][1].share if i + 1 < len(ladder) else 100.0
        found.append(
            StepPlan(
                phase=phase.name,
                share=step.share,
                planned_hours=step.pace / timedelta(hours=1),
                users=users * mirrored * met,
                users_a_day=users * mirrored * met_a_day,
                requests=traffic * mirrored * days,
                margin=_margin(step, following),
                smallest_harm=_smallest(
                    step, traffic * days, share, processes, information, scenario
                ),
                gates=_gate_times(phase, i, step, playbook, courses),
                reached=_reached(courses, step.share) / max(1, len(courses)),
            )
        )
    return found


def _margin(step: Step, following: float) -> float | None:
    for gate in step.gates:
        if isinstance(gate, NoDegradationGate):
            if gate.margin is not None:
                return gate.margin
            return power.step_margin(gate.harm_budget, following / 100)
    return None


def _smallest(
    step: Step,
    requests: float,
    share: float,
    processes: Sequence[Process],
    information: dict[str, float],
    scenario: Scenario,
) -> dict[str, float]:
    """Per metric the relative harm that all steps up to this one can rule out together."""
    found: dict[str, float] = {}
    for process in processes:
        if process.kind not in ("choice", "values") or not 0 < share < 1:
            continue
        rate = process.rate
        spread = rate.spread**2 if process.kind == "values" else (1 - rate.base) / rate.base
        attempts = requests * share * rate.per_request
        each = requests * rate.per_request / scenario.users.count
        effect = 1 + scenario.users.correlation * max(0.0, each)
        gained = attempts * (1 - share) / (spread * effect)
        information[process.metric] = information.get(process.metric, 0.0) + gained
        if information[process.metric] > 0:
            found[process.metric] = math.sqrt(power.information() / information[process.metric])
    guarded = {n for g in step.gates if isinstance(g, NoDegradationGate) for n in g.metrics}
    return {name: harm for name, harm in found.items() if name in guarded}


def _reached(courses: Sequence[Course], share: float) -> int:
    return sum(
        any(isinstance(e, StepEntered) and e.share == share for e in c.events) for c in courses
    )


def _gate_times(
    phase: PhasePlan, _: int, step: Step, playbook: Playbook, courses: Sequence[Course]
) -> list[GateTime]:
    """From the log of each run: when each gate's last change to `pass` came in this step."""
    hours: dict[str, list[float]] = {}
    for course in courses:
        for name, taken in hours_to_pass(course.events, phase.name, step.share).items():
            hours.setdefault(name, []).append(taken)
    return [
        GateTime(name, *(_quantile(taken, q) for q in (0.5, 0.9))) for name, taken in hours.items()
    ]


def advice_on(playbook: Playbook, scenario: Scenario, steps: Sequence[StepPlan]) -> list[str]:
    """What to change, in plain words."""
    judged = [step for step in steps if step.margin is not None and step.smallest_harm]
    blunt = [step for step in judged if not _proves(step)]
    if len(blunt) > 1 and len(blunt) == len(judged):
        said = [_too_little(playbook, scenario, judged)]
    else:
        said = [_blunt(playbook, step, next(filter(_proves, judged), None)) for step in blunt]
    slow: list[str] = []
    for step in steps:
        names = [
            g.gate for g in step.gates if g.median is None and g.gate not in ("hold", "approval")
        ]
        if names:
            slow.append(
                f"At {step.share:g}% {_and(names)} mostly {'does' if len(names) == 1 else 'do'} not pass "
                "within the plan: expect a question, or give it more traffic or a wider margin."
            )
    return [*said, *slow, *literal_advice(playbook, scenario)] or [
        "Every step can prove what its gates ask for in its planned time."
    ]


def _worst(step: StepPlan) -> tuple[str, float]:
    """The metric that the step knows least of, and the harm that it can rule out there."""
    return max(step.smallest_harm.items(), key=lambda item: item[1])


def _proves(step: StepPlan) -> bool:
    """Whether the step can rule out in its planned time what its gate asks for."""
    return step.margin is not None and _worst(step)[1] <= step.margin


def _blunt(playbook: Playbook, step: StepPlan, sharp: StepPlan | None) -> str:
    """What to do about a step that can prove too little; `sharp` is the first that proves enough."""
    (name, harm), margin = _worst(step), step.margin or 1.0
    planned = timedelta(hours=step.planned_hours)
    begin = (
        f"begin at {sharp.share:g}%"
        if sharp and sharp.share > step.share
        else "allow a wider margin"
    )
    return (
        f"At {step.share:g}% you will see about {step.users_a_day:.0f} users a day: in {span(planned)} "
        f"this step can rule out a harm of {harm:.0%} in {playbook.metrics[name].title or name}, its gate "
        f"asks for {margin:.0%}. Hold it for about {span((harm / margin) ** 2 * planned)}, or {begin}."
    )


def _too_little(playbook: Playbook, scenario: Scenario, judged: Sequence[StepPlan]) -> str:
    """The same where no step can prove what it asks for: said once, not for each of them."""
    first, last = judged[0], judged[-1]
    (early, much), (late, harm) = _worst(first), _worst(last)
    titles = [playbook.metrics[name].title or name for name in (early, late)]
    days = sum(step.planned_hours for step in judged) / 24
    return (
        f"{scenario.arrivals.requests_per_day:,.0f} requests a day are too few for this plan: no step can "
        f"prove in its planned time what its gate asks for. At {first.share:g}% you will see about "
        f"{first.users_a_day:.0f} users a day, which rules out a harm of {much:.0%} in {titles[0]} (asked: "
        f"{first.margin:.0%}); all steps together, {days:.0f} days, one of {harm:.0%} in {titles[1]} (asked: "
        f"{last.margin:.0%}). Ask for margins that you can prove (`margin` of the gate, at least "
        f"{harm:.0%}) with fewer and larger steps, or let a person decide: each step will end with a "
        "question to you."
    )


def _and(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def cause_of(course: Course) -> str:
    """The trigger or gate that last spoke before the run was sent back, by itself or by a person."""
    opened = [e.trigger for e in course.events if isinstance(e, IncidentOpened)]
    return next((trigger for trigger in reversed(opened) if trigger != BY_HAND), "a person")


def _days(course: Course) -> float:
    return (course.hours or math.inf) / 24


def _live_hours(course: Course) -> float:
    """Hours from the first live step to the decision."""
    live = [e.at for e in course.events if isinstance(e, StepEntered) and e.share > 0]
    if not live or course.decided_at is None:
        return math.inf
    return (course.decided_at - live[0]).total_seconds() / 3600


def _quantile(values: Sequence[float], q: float) -> float | None:
    found = sorted(values)[min(len(values) - 1, math.ceil(q * len(values)) - 1)] if values else None
    return None if found is None or math.isinf(found) else round(found, 5)


def _spread_of(values: Sequence[float]) -> list[float | None]:
    return [_quantile(values, q) for q in (0.1, 0.5, 0.9)]


def _known(values: Sequence[float]) -> list[float]:
    return [round(float(np.quantile(values, q)), 2) for q in (0.1, 0.5, 0.9)] if values else []


def as_data(prediction: Prediction) -> dict[str, Any]:
    """The prediction as JSON data."""
    return msgspec.to_builtins(prediction)
