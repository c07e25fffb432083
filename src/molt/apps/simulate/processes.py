"""What users do besides asking, derived from the metrics of a plan: which outcomes, how often.

Every process is a Poisson process in the requests, thinned by each user's own propensity. Sums of
those are Poisson again, so that drawing whole statistics buckets instead of users is exact.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from molt.apps.simulate.scenario import BUILT_IN, DEFAULT_RATES, Rate, Scenario
from molt.core.errors import OperatorError
from molt.core.evidence import value
from molt.core.playbook import CONVERSATIONS_UNIT, REQUESTS_UNIT, Metric, Playbook

Kind = Literal["choice", "events", "values", "talk"]

_BASES: Final[dict[Kind, float]] = {"choice": 0.7, "events": 0.002, "values": 60.0, "talk": 2.4}


@dataclass
class Process:
    """One thing that happens. `choice`: attempts that end in `yes` or in one of `no`; `events`:
    counts per request; `values`: a value each; `talk`: requests in a conversation.

    `every` are outcome kinds that count all attempts.
    """

    kind: Kind
    metric: str
    rate: Rate
    yes: str = ""
    no: tuple[str, ...] = ()
    every: list[str] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """The columns of bucket sums that it fills, besides `conversations`."""
        if self.kind == "values":
            return [self.yes, value(self.yes)]
        return [name for name in (self.yes, *self.no, *self.every) if name]


@dataclass
class Processes:
    """All processes of a plan, and which of them each metric moves, in which direction."""

    all: list[Process]
    moved: dict[str, tuple[Process, bool]]
    """Metric -> its process, and whether the metric counts what is not a `yes`."""
    primary: Process | None
    """The conversion whose failures are counted as failed orders."""


def processes_of(playbook: Playbook, scenario: Scenario) -> Processes:
    """The processes behind a plan's metrics. Raises `OperatorError` for what cannot be made."""
    found: list[Process] = []
    moved: dict[str, tuple[Process, bool]] = {}
    for name, metric in playbook.metrics.items():
        process, other = _join(metric, found) or (None, False)
        if process is None:
            process = _new(name, metric, scenario.rates)
            found.append(process)
        moved[name] = (process, other)
    _refuse_unknown(scenario, moved)
    return Processes(found, moved, _primary(playbook, moved))


def _join(metric: Metric, found: list[Process]) -> tuple[Process, bool] | None:
    """A metric that counts what a process makes already, per all of its attempts."""
    if metric.value:
        return None
    for process in found:
        if process.kind != "choice" or metric.of not in (process.yes, *process.no):
            continue
        kinds = {process.yes, *process.no}
        if set(metric.per) != kinds:
            if len(metric.per) != 1:
                return None
            process.every.append(metric.per[0])
        return process, metric.of != process.yes
    return None


def _new(name: str, metric: Metric, rates: Mapping[str, Rate]) -> Process:
    kind = _kind(metric)
    given = rates.get(name)
    if given is None:
        given = Rate.model_validate(DEFAULT_RATES.get(name, {"base": _BASES[kind]}))
    if kind == "choice" and given.base > 1:
        raise OperatorError(f"rates.{name}.base: {given.base:g}, expected a probability up to 1")
    made = Process(kind, name, given, yes=metric.of)
    if kind == "choice":
        made.no = tuple(per for per in metric.per if per != metric.of)
        if not made.no and metric.of not in metric.per:
            made.every = list(metric.per)
    if kind == "choice" and metric.of not in metric.per:
        made.no, made.every = (), list(metric.per)
    if kind == "values" and metric.per != (metric.of,):
        made.every = [p for p in metric.per if p not in (metric.of, REQUESTS_UNIT)]
    if kind == "talk":
        made.yes = ""
    return made


def _kind(metric: Metric) -> Kind:
    if metric.of == REQUESTS_UNIT and metric.per == (CONVERSATIONS_UNIT,):
        return "talk"
    if metric.value:
        return "values"
    if set(metric.per) <= {REQUESTS_UNIT, CONVERSATIONS_UNIT}:
        return "events"
    return "choice"


def _primary(playbook: Playbook, moved: Mapping[str, tuple[Process, bool]]) -> Process | None:
    guarded = [
        name
        for _, step in playbook.ladder()
        for gate in step.gates
        if gate.kind == "no_degradation"
        for name in gate.metrics
    ]
    for name in [*guarded, *moved]:
        process, other = moved[name]
        if process.kind == "choice" and not other:
            return process
    return None


def _refuse_unknown(scenario: Scenario, moved: Mapping[str, tuple[Process, bool]]) -> None:
    known = ", ".join((*moved, *BUILT_IN))
    for name in scenario.rates:
        if name not in moved:
            raise OperatorError(f"rates.{name}: no such metric in the playbook; known: {known}")
    for i, effect in enumerate(scenario.effects):
        if effect.metric not in moved and effect.metric not in BUILT_IN:
            raise OperatorError(
                f"effects.{i}.metric: {effect.metric!r} is no metric of the playbook; "
                f"known: {known}"
            )
        process, _ = moved.get(effect.metric, (None, False))
        if effect.to is not None and process is not None and process.kind != "choice":
            raise OperatorError(
                f"effects.{i}.to: {effect.metric} is no share of attempts; expected a relative `size`"
            )
