"""The table of figures to reach: Molt's and the peers', each from the runs of the worlds it is about.

A cell is "-" where a rule does not look at such a thing, or where the runs are missing.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

Run = dict[str, Any]
Found = dict[str, dict[str, list[Run]]]
Cell = Callable[[list[Any]], float]

RULES: Final = (
    "Molt",
    "Argo-style threshold",
    "Flagger-style counter",
    "Prometheus `for:`",
    "Kayenta Mann-Whitney",
    "peeked z-test",
    "GrowthBook sequential",
)


class Row(NamedTuple):
    """A measure: `figure` of each world in `groups`, the worst of them against `limit`.

    `floor` says that more is better. `wrong_rate` is the error rate of requests that count as
    failed orders while nobody acts, per minute.
    """

    measure: str
    groups: tuple[str, ...]
    worlds: tuple[str, ...]
    figure: Cell
    limit: float
    unit: str = "%"
    floor: bool = False
    wrong_rate: float = 0.0


def _share(verdict: str) -> Cell:
    return lambda runs: 100 * sum(r["verdict"] == verdict for r in runs) / len(runs)


def _hits(runs: list[Any]) -> float:
    return 100 * sum(map(bool, runs)) / len(runs)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(len(values) / 2) - 1]


def _hours_back(runs: list[Any]) -> float:
    return _median([r["hours"] if r["verdict"] == "rolled_back" else math.inf for r in runs])


def _delay(runs: list[Any]) -> float:
    late = [r["hours"] - 408 for r in runs if r["verdict"] == "promoted"]
    return _median(late) if late else math.inf


BIG: Final = "50,000 users"
BOTH: Final = (BIG, "5,000 users")
CLIMBS: Final = ("climbs", "peers")
PER_MINUTE: Final = ("0.6", "6", "20", "60", "600")

ROWS: Final = (
    Row(
        "healthy candidate rolled back, 5 metrics",
        CLIMBS,
        tuple(f"healthy, {n}" for n in BOTH),
        _share("rolled_back"),
        5,
    ),
    Row(
        "the same with a 10% weekend dip during the ramp",
        CLIMBS,
        tuple(f"10% weekend dip, {n}" for n in BOTH),
        _share("rolled_back"),
        5,
    ),
    Row(
        "candidate at the harm margin reaches 100%",
        CLIMBS,
        (f"at the harm margin, {BIG}",),
        _share("promoted"),
        5,
    ),
    Row(
        "-5% candidate reaches 100%, 5,000 users",
        CLIMBS,
        ("-5% on one metric, 5,000 users",),
        _share("promoted"),
        2,
    ),
    *(
        Row(
            f"median time to fail -{harm}% on {metrics}, {BIG}",
            CLIMBS,
            (f"-{harm}% on {metrics}, {BIG}",),
            _hours_back,
            limit,
            " h",
        )
        for metrics in ("the only metric", "one metric", "all five")
        for harm, limit in ((5, 60), (10, 28), (20, 7))
    ),
    Row(
        f"healthy promoted, {BIG}", CLIMBS, (f"healthy, {BIG}",), _share("promoted"), 95, "%", True
    ),
    Row("its delay over plan, median", CLIMBS, (f"healthy, {BIG}",), _delay, 0, " h"),
    Row(
        "error trigger, false in 7 days at 1% errors, worst volume",
        ("weeks",),
        tuple(f"1% errors, {n}/min" for n in PER_MINUTE),
        _hits,
        1,
    ),
    Row(
        "finds 20% errors at 6 requests/min, median",
        ("finds",),
        ("20% errors, 6/min",),
        _median,
        25,
        " min",
        wrong_rate=6 * 0.2,
    ),
    Row(
        "finds a dead agent at 0.6 requests/min, median",
        ("finds",),
        ("dead agent, 0.6/min",),
        _median,
        30,
        " min",
        wrong_rate=0.6,
    ),
    Row(
        "a 30-second outage every day for a week rolls back, worst volume",
        ("weeks",),
        tuple(f"{e}% errors, 30 s outage a day, {n}/min" for e in (1, 2) for n in PER_MINUTE),
        _hits,
        2,
    ),
)


def reached(found: Found) -> Iterator[str]:
    """The table as Markdown lines; nothing where no row has a run."""
    rows = [line for row in ROWS if (line := _line(row, found))]
    rows += _without_data(found)
    if not rows:
        return
    yield "### Figures to reach"
    yield ""
    yield f"| measure | reach | {' | '.join(RULES)} | failed orders before it, Molt | met | seeds |"
    yield "|" + " --- |" * (len(RULES) + 5)
    yield from rows
    yield ""


def _line(row: Row, found: Found) -> str | None:
    runs = {rule: _of_rule(row, rule, found) for rule in RULES}
    if not runs["Molt"]:
        return None
    figures = {rule: _worst(row, its) if its else None for rule, its in runs.items()}
    mine = figures["Molt"]
    met = mine is not None and (mine >= row.limit if row.floor else mine <= row.limit)
    sign = ">=" if row.floor else "<="
    cells = [_shown(figures[rule], row.unit) for rule in RULES]
    counts = sorted({len(w) for its in runs.values() for w in its}, reverse=True)
    seeds = " / ".join(map(str, counts))
    return (
        f"| {row.measure} | {sign} {row.limit:g}{row.unit} | {' | '.join(cells)} "
        f"| {_lost(row, runs['Molt'])} | {'yes' if met else '**no**'} | {seeds} |"
    )


def _of_rule(row: Row, rule: str, found: Found) -> list[list[Any]]:
    """The rule's runs of each world; none where it is missing."""
    worlds: list[list[Any]] = []
    for name in row.worlds:
        for group in row.groups:
            runs = [run[rule] for run in found.get(group, {}).get(name, []) if rule in run]
            if runs:
                worlds.append(runs)
    return worlds


def _worst(row: Row, worlds: list[list[Any]]) -> float:
    figures = [row.figure(runs) for runs in worlds]
    return min(figures) if row.floor else max(figures)


def _shown(figure: float | None, unit: str) -> str:
    if figure is None:
        return "-"
    return f"{figure:.3g}{unit}" if figure < math.inf else "never"


def _lost(row: Row, worlds: list[list[Any]]) -> str:
    """Orders (or requests) that failed by the candidate's fault until the decision, mean."""
    if row.wrong_rate:
        return f"{np.mean(worlds[0]) * row.wrong_rate:,.0f}"
    if row.groups != CLIMBS:
        return "-"
    return f"{max(float(np.mean([r['lost'] for r in runs])) for runs in worlds):,.0f}"


def _without_data(found: Found) -> Iterator[str]:
    """Promotions while nothing is seen, by the shipped scenario."""
    if runs := found.get("scenarios", {}).get("no-data"):
        wrong = sum(r["verdict"] == "promoted" for r in runs)
        blank = " | ".join("-" for _ in RULES[1:])
        met = "**no**" if wrong else "yes"
        yield f"| promotions without data | 0 | {wrong} | {blank} | 0 | {met} | {len(runs)} |"
