"""Where an estimate and its interval lie against a limit, as numbers for a small drawing."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

WIDTH = 100.0


class Sketch(NamedTuple):
    """Positions on a line of 0..100; `words` says the same for those who do not see it."""

    low: float
    high: float
    estimate: float
    limit: float
    bad_above: bool
    words: str
    other_limit: float | None = None


def of_gate(ruling: dict[str, Any], better: str = "lower") -> Sketch | None:
    """The drawing of a gate's numbers; None where it has no interval.

    `better` is the good direction of the metric, where the gate compares one.
    """
    numbers = ruling["numbers"]
    low, high = numbers.get("low"), numbers.get("high")
    if low is None or high is None or not math.isfinite(low) or not math.isfinite(high):
        return None
    kind = ruling["name"].partition(":")[0]
    if kind in ("error_rate", "latency"):
        return _line(low, high, numbers["rate"], numbers["limit"], "%", floor=0.0)
    if kind == "cost_within_budget":
        return _line(low, high, numbers["per_1000"], numbers["budget"], "$", floor=0.0)
    if kind == "latency_stable" and "margin" in numbers:
        return _line(low, high, numbers["difference"], numbers["margin"], "%")
    if kind == "stable":
        margin = numbers["margin"] * abs(numbers["control"])
        return _line(low, high, numbers["difference"], margin, "", both=True)
    if kind == "no_degradation":
        return _degradation(numbers, better)
    return None


def _degradation(numbers: dict[str, Any], better: str) -> Sketch | None:
    """Against the margin on the harmful side."""
    margin = numbers["margin"] * abs(numbers["control"])
    bad_above = better == "lower"
    limit = margin if bad_above else -margin
    low, high = numbers["low"], numbers["high"]
    return _line(low, high, numbers["difference"], limit, "", bad_above=bad_above)


def _line(
    low: float,
    high: float,
    estimate: float | None,
    limit: float,
    unit: str,
    *,
    floor: float | None = None,
    bad_above: bool = True,
    both: bool = False,
) -> Sketch | None:
    if estimate is None:
        return None
    first = min(low, limit, -limit if both else limit, estimate)
    last = max(high, limit, estimate)
    # An interval that is very wide would squeeze all else into a corner: cut it off.
    reach = 4 * max(abs(limit - estimate), abs(limit), 1e-12)
    left = floor if floor is not None else max(first, estimate - reach)
    right = min(last, estimate + reach)
    room = 0.08 * ((right - left) or 1.0)
    left, right = (left if floor is not None else left - room), right + room

    def place(x: float) -> float:
        return round(min(WIDTH, max(0.0, WIDTH * (x - left) / (right - left))), 2)

    words = (
        f"estimate {_show(estimate, unit)}, interval {_show(low, unit)} to {_show(high, unit)}, "
        f"limit {'±' if both else ''}{_show(limit, unit)}"
    )
    other = place(-limit) if both else None
    return Sketch(place(low), place(high), place(estimate), place(limit), bad_above, words, other)


def _show(value: float, unit: str) -> str:
    if unit == "%":
        return f"{100 * value:.2f}%"
    return f"${value:.4g}" if unit == "$" else f"{value:.4g}"


def against_zero(row: Mapping[str, Any]) -> Sketch | None:
    """A difference with its interval against none at all; worse is on the side of harm."""
    bad_above = row["better"] == "lower"
    return _line(row["low"], row["high"], row["difference"], 0.0, "", bad_above=bad_above)
