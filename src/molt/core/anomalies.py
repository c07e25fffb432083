"""What is unlike all before it: first sightings, outlying slots, a shifted mix of tools.

An anomaly is an alert with its numbers. It decides nothing.
"""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from molt.core.pairs import Call, Side

LEARNT: Final = 100
"""Requests of the candidate after which what is new is an anomaly; before that, everything is new."""

FEWEST_SLOTS: Final = 20
RECENT_SLOTS: Final = 90
FEWEST_REQUESTS: Final = 5
"""A slot with fewer requests says nothing."""

FAR: Final = 6.0
"""Robust standard deviations."""
FAR_RATIO: Final = 2.0
"""And at least so many times the median, or less than one part of so many: where slots hardly vary,
a small step is many deviations."""
NORMAL: Final = 1.4826
"""Of a normal distribution, the standard deviation over the MAD (Hampel 1974)."""

RECENT_CALLS: Final = 50
BEFORE_CALLS: Final = 500
FEWEST_BEFORE: Final = 200
SHIFT: Final = 0.4
"""Total variation distance of two mixes of tools; chance alone gives about 0.15 for 50 calls."""


class Outlier(NamedTuple):
    """How far a value lies from the recent ones, in robust standard deviations."""

    value: float
    median: float
    mad: float
    deviations: float


def outlier(value: float, recent: Sequence[float]) -> Outlier | None:
    """The value as an outlier among `recent`; None while it is none, or too little is known."""
    if len(recent) < FEWEST_SLOTS:
        return None
    median = statistics.median(recent)
    mad = statistics.median(abs(x - median) for x in recent)
    spread = NORMAL * mad
    apart = abs(value - median)
    deviations = apart / spread if spread else (0.0 if not apart else float("inf"))
    low, high = sorted((value, median))
    if deviations < FAR or high < FAR_RATIO * low:
        return None
    return Outlier(value, median, mad, min(deviations, 1e6))


class Shift(NamedTuple):
    """How far two mixes lie apart, 0 to 1, and the tool whose share has changed most."""

    distance: float
    tool: str
    before: float
    now: float


def shift(recent: Iterable[str], before: Iterable[str]) -> Shift | None:
    """The shift of the recent mix of tools; None while there is none, or too little is known."""
    new, old = Counter(recent), Counter(before)
    n, m = new.total(), old.total()
    if n < RECENT_CALLS or m < FEWEST_BEFORE:
        return None
    moved = {tool: new[tool] / n - old[tool] / m for tool in new.keys() | old.keys()}
    distance = sum(map(abs, moved.values())) / 2
    if distance < SHIFT:
        return None
    tool = max(sorted(moved), key=lambda t: abs(moved[t]))
    return Shift(distance, tool, old[tool] / m, new[tool] / n)


def shape(arguments: Mapping[str, Any]) -> str:
    """The names and types of arguments: `item_id:text, quantity:number`."""
    return ", ".join(f"{name}:{_type(value)}" for name, value in sorted(arguments.items()))


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "flag"
    for kinds, name in (
        ((int, float), "number"),
        (str, "text"),
        ((list, tuple), "list"),
        (dict, "object"),
    ):
        if isinstance(value, kinds):
            return name
    return "nothing"


def sightings_of_calls(agent: str, calls: Iterable[Call]) -> dict[str, tuple[str, str]]:
    """Names to remember -> (kind of anomaly, what it would be about)."""
    found: dict[str, tuple[str, str]] = {}
    for call in calls:
        tool = call.tool[:LONGEST]
        found[f"tool {agent} {tool}"] = ("tool", tool)
        form = f"{tool}({shape(call.arguments)})"[: 2 * LONGEST]
        found[f"arguments {agent} {form}"] = ("arguments", form)
    return found


LONGEST: Final = 100


def sighting_of_failure(agent: str, side: Side) -> dict[str, tuple[str, str]]:
    """The error class of an answer, if it is one."""
    if not side.answered:
        return {f"error {agent} {side.outcome}": ("error", side.outcome.replace("_", " "))}
    if side.status >= 400:
        return {f"error {agent} {side.status}": ("error", f"HTTP {side.status}")}
    return {}
