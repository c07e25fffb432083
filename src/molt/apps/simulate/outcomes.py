"""What users do besides asking: conversations, events, values, choices, drawn per statistics bucket."""

import numpy as np

from molt.apps.simulate.curves import night, weekend
from molt.apps.simulate.population import Group
from molt.apps.simulate.processes import Process, Processes
from molt.apps.simulate.scenario import Rate
from molt.apps.simulate.stream import Floats
from molt.core.assignment import STATISTICS_BUCKETS
from molt.core.evidence import CONVERSATIONS, value


def add_outcomes(
    processes: Processes,
    columns: dict[str, Floats],
    rng: np.random.Generator,
    group: Group,
    load: float,
    at: float,
) -> None:
    """One draw for everything that users do besides asking."""
    lines: list[tuple[Process, str, Floats]] = []
    for process in processes.all:
        lines += _lines(process, group, load, at)
    if not lines:
        return
    drawn = rng.poisson(np.maximum(np.array([line for _, _, line in lines]), 0.0))
    for (process, column, _), counts in zip(lines, drawn.astype(np.float64), strict=True):
        names = [column]
        if process.kind == "choice":
            names += process.every
        for name in filter(None, names):
            columns[name] = columns[name] + counts if name in columns else counts
        if process.kind == "values":
            columns[value(column)] = _values(process, rng, group, counts, at)


def _lines(
    process: Process, group: Group, load: float, at: float
) -> list[tuple[Process, str, Floats]]:
    """(process, column, expected counts per statistics bucket)."""
    rate, inclined = process.rate, group.inclined[process.metric]
    swing = swing_at(rate, at)
    match process.kind:
        case "talk":
            usual = group.activity * rate.base
            own = np.divide(inclined, group.activity, out=usual * 0, where=group.activity > 0)
            length = np.maximum(1.0, rate.base * own * swing)
            return [(process, CONVERSATIONS, load * group.activity / length)]
        case "events":
            return [(process, process.yes, load * inclined * rate.base * swing)]
        case "values":
            return [(process, process.yes, load * group.activity * rate.per_request)]
        case "choice":
            tries = load * rate.per_request
            yes = np.minimum(inclined * swing, group.activity)
            no = (group.activity - yes) / max(1, len(process.no))
            return [
                (process, process.yes, tries * yes),
                *((process, name, tries * no) for name in process.no or ("",)),
            ]


def _values(
    process: Process, rng: np.random.Generator, group: Group, counts: Floats, at: float
) -> Floats:
    """Sums of gamma-distributed values."""
    own = np.divide(
        group.inclined[process.metric],
        group.activity,
        out=np.ones(STATISTICS_BUCKETS),
        where=group.activity > 0,
    )
    shape = 1 / process.rate.spread**2
    scale = process.rate.base * swing_at(process.rate, at) * own / shape
    return rng.gamma(np.maximum(counts, 1e-9) * shape, np.maximum(scale, 1e-12)) * (counts > 0)


def swing_at(rate: Rate, at: float) -> float:
    """How the base swings over week and day."""
    if rate.weekend == rate.night == 1.0:
        return 1.0
    times = np.array([at])
    factor = rate.weekend if weekend(times)[0] else 1.0
    return factor * (rate.night if night(times)[0] else 1.0)
