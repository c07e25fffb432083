"""Triggers of a plan that take a count literally, and how often chance alone would set them off."""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from molt.apps.simulate.curves import curve_of
from molt.apps.simulate.latencies import latencies_of
from molt.apps.simulate.run import DATA, START
from molt.apps.simulate.scenario import Scenario
from molt.control.retro_text import span
from molt.core.playbook import (
    ComplaintsTrigger,
    ErrorRateTrigger,
    LatencyTrigger,
    PhasePlan,
    Playbook,
    Step,
)
from molt.core.quantities import show_duration, show_fraction
from molt.core.stats.scan import log_quiet

WORTH_TELLING: Final = 0.05
"""Of healthy agents that such a trigger would hold back in the course of the plan."""
RARE: Final = 0.01
_WEEK: Final = START.timestamp() + 3600 * (np.arange(168) + 0.5)
_DAY: Final = timedelta(days=1)

Least = Callable[[float], int]
"""How many events in one window fire, by how many requests are in it."""


class _Stay(NamedTuple):
    """One step: how many windows long, and how many requests are in one: each number that an hour
    of a week has, with how many hours have it."""

    step: Step
    windows: float
    requests: list[tuple[float, int]]

    @property
    def mean(self) -> float:
        """Requests in a window, on average."""
        return sum(n * hours for n, hours in self.requests) / len(_WEEK)

    def log_quiet(self, rate: float, least: Least) -> float:
        """Log of the chance that nothing fires, if each request is an event at this rate."""
        each = (hours * log_quiet(least(n), rate * n) for n, hours in self.requests)
        return self.windows * sum(each) / len(_WEEK)


def literal_advice(playbook: Playbook, scenario: Scenario, data: Path = DATA) -> list[str]:
    """What to say of each trigger that a healthy agent would set off; nothing where all are calm."""
    said: list[str] = []
    for trigger in playbook.triggers:
        if isinstance(trigger, ComplaintsTrigger):
            said += _complaints(playbook, scenario, trigger, data)
        elif isinstance(trigger, ErrorRateTrigger | LatencyTrigger) and trigger.rule == "literal":
            said += _rate(playbook, scenario, trigger, data)
    return said


def _complaints(
    playbook: Playbook, scenario: Scenario, trigger: ComplaintsTrigger, data: Path
) -> list[str]:
    stays = [
        stay
        for stay in _stays(playbook, scenario, trigger.within, data)
        if stay.step.share > 0  # in shadow nobody meets the agent
    ]
    rate, within = scenario.complaints_per_1000 / 1000, show_duration(trigger.within)

    def whole(limit: int) -> float:
        return _fires(sum(stay.log_quiet(rate, lambda _: limit + 1) for stay in stays))

    if not stays or whole(trigger.above) < WORTH_TELLING:
        return []
    worst = min(stays, key=lambda stay: stay.log_quiet(rate, lambda _: trigger.above + 1))
    there = _fires(worst.log_quiet(rate, lambda _: trigger.above + 1))
    limits = range(trigger.above + 1, trigger.above + 100 + 10 * round(worst.mean * rate))
    calm = limits[bisect_left(limits, True, key=lambda limit: whole(limit) < RARE)]
    return [
        f"The trigger complaints (more than {trigger.above} in {within}) can fire on a healthy agent, "
        f"too: at {worst.step.share:g}% the usual {scenario.complaints_per_1000:g} complaints per 1,000 "
        f"requests are {rate * worst.mean:.1f} in {within}, and more than "
        f"{trigger.above} come together by chance in {there:.0%} of such steps of "
        f"{span(worst.step.pace)}; in {whole(trigger.above):.0%} of whole plans. "
        f"With `above: {calm}` that would be less than {RARE:.0%}."
    ]


def _rate(
    playbook: Playbook, scenario: Scenario, trigger: ErrorRateTrigger | LatencyTrigger, data: Path
) -> list[str]:
    if isinstance(trigger, ErrorRateTrigger):
        limit, usual, what = trigger.above, scenario.candidate.errors, "with an error"
    else:
        cut = trigger.above.total_seconds() * 1000
        usual = latencies_of(scenario.candidate.latency, data).share_over(cut)
        limit, what = trigger.rate, f"slower than {show_duration(trigger.above)}"
    stays = list(_stays(playbook, scenario, trigger.for_, data))

    def least(requests: float) -> int:
        return math.floor(limit * requests) + 1

    quiet = [stay.log_quiet(usual, least) for stay in stays]
    if _fires(sum(quiet)) < WORTH_TELLING:
        return []
    worst = stays[quiet.index(min(quiet))]
    mean, within = worst.mean, show_duration(trigger.for_)
    few = least(mean)
    return [
        f"The literal trigger {trigger.kind} can fire on a healthy agent, too: at "
        f"{worst.step.share:g}% some {mean:.2g} requests come in {within}, and {few} of them {what} "
        f"{'makes' if few == 1 else 'make'} more than {show_fraction(limit)}. With the usual "
        f"{show_fraction(float(f'{usual:.2g}'))} that happens by chance in {_fires(min(quiet)):.0%} of "
        f"such steps of {span(worst.step.pace)}; in {_fires(sum(quiet)):.0%} of whole plans. "
        "Leave out `rule: literal`."
    ]


def _stays(
    playbook: Playbook, scenario: Scenario, within: timedelta, data: Path
) -> Iterator[_Stay]:
    """Every step as long as it is planned; users who meet the agent, in shadow those mirrored."""
    each = scenario.arrivals.requests_per_day * (within / _DAY)
    curve = curve_of(scenario.arrivals, data)(_WEEK)
    for phase, step in playbook.ladder():
        requests = Counter(np.round(each * _part(phase, step) * curve, 6).tolist())
        yield _Stay(step, step.pace / within, list(requests.items()))


def _part(phase: PhasePlan, step: Step) -> float:
    return (step.share or phase.mirror) / 100


def _fires(log_quiet: float) -> float:
    return -math.expm1(log_quiet)
