"""How near a ruling was to its limit: one figure for gates of very different kinds.

1 is the limit, 0 nothing of what is allowed, below 0 better than control. What a ruling was made
from stands in its numbers; nothing is measured anew.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from molt.core.events import Ruling
from molt.core.playbook import Gate, Metric, Playbook, Step, UnchangedGate
from molt.core.quantities import show_fraction

Numbers = Mapping[str, Any]


class Nearness(msgspec.Struct, frozen=True):
    """How much of its limit a ruling had used, by the estimate; and by its interval's far end,
    where there is one: that much could not be excluded. Infinite where none is allowed."""

    measured: str
    limit: str
    used: float
    at_most: float | None = None


def nearness(ruling: Ruling, playbook: Playbook, step: Step | None = None) -> Nearness | None:
    """How near a gate's or a trigger's ruling was to its limit; None where there is no such figure.

    `step` is the one whose gate it is; None for a trigger.
    """
    kind, _, name = ruling.name.partition(":")
    numbers, metric = ruling.numbers, playbook.metrics.get(name)
    try:
        if metric is not None:
            return _COMPARED[kind](numbers, metric, _gate(step, kind, name))
        return _ALONE[kind](numbers)
    except (KeyError, TypeError, ZeroDivisionError):
        return None  # a gate without a limit, or one that had too little to measure


def _gate(step: Step | None, kind: str, metric: str) -> Gate | None:
    gates = step.gates if step else ()
    return next((g for g in gates if g.kind == kind and getattr(g, "metric", "") == metric), None)


def _rate(n: Numbers) -> Nearness:
    """A rate, and how high it might be where the ruling has an interval."""
    limit = n["limit"]
    high = n["high"] / limit if "high" in n else None
    return Nearness(_part(n["rate"]), _part(limit), n["rate"] / limit, high)


def _slow(n: Numbers) -> Nearness:
    near = _rate(n)
    return msgspec.structs.replace(near, measured=f"{near.measured} too slow")


def _agreement(n: Numbers) -> Nearness:
    """At least that many must be acceptable: what is used is what may be unacceptable."""
    room = 1 - n["limit"]
    used, most = (1 - n["rate"]) / room, (1 - n["low"]) / room
    return Nearness(_part(n["rate"]), f"at least {_part(n['limit'])}", used, most)


def _slower(n: Numbers) -> Nearness:
    margin = n["margin"]
    measured, limit = f"{n['difference']:+.1%} are slower", f"+{_part(margin)}"
    return Nearness(measured, limit, n["difference"] / margin, n["high"] / margin)


def _money(n: Numbers) -> Nearness:
    budget = n["budget"]
    shown = f"${n['per_1000']:,.3f}", f"${budget:,.2f} a 1,000"
    return Nearness(*shown, n["per_1000"] / budget, n["high"] / budget)


def _spending(n: Numbers) -> Nearness:
    if "cap" in n:
        return Nearness(f"${n['spent']:,.2f}", f"${n['cap']:,.2f} a day", n["spent"] / n["cap"])
    ratio, limit = n["ratio"], n["limit"]
    return Nearness(f"{ratio:.2f}x projected", f"{limit:g}x", ratio / limit)


def _complaints(n: Numbers) -> Nearness:
    return Nearness(f"{n['count']}", f"{n['limit']}", n["count"] / n["limit"])


def _none_allowed(found: int) -> Nearness:
    return Nearness(f"{found}", "none", math.inf if found else 0.0)


def _critical(n: Numbers) -> Nearness:
    return _none_allowed(len(n["incidents"]) + n["reported"])


def _violations(n: Numbers) -> Nearness:
    return _none_allowed(n["violations"])


def _harm(n: Numbers, metric: Metric, _: Gate | None) -> Nearness:
    """Harm as a part of the margin, in the direction that is worse."""
    scale = abs(n["control"])
    worse = {"higher": -1, "lower": 1}.get(metric.better, 0)
    if not worse:
        return _moved(n, metric, None)
    ends = (worse * n["low"] / scale, worse * n["high"] / scale)
    harm, margin = worse * n["difference"] / scale, n["margin"]
    limit = f"{100 * worse * margin:+.3g}%"
    return Nearness(f"{n['difference'] / scale:+.1%}", limit, harm / margin, max(ends) / margin)


def _moved(n: Numbers, _: Metric, __: Gate | None) -> Nearness:
    """A move either way as a part of the margin."""
    scale, margin = abs(n["control"]), n["margin"]
    moved, most = abs(n["difference"]), max(abs(n["low"]), abs(n["high"]))
    measured = f"{n['difference'] / scale:+.1%}"
    return Nearness(measured, f"±{_part(margin)}", moved / scale / margin, most / scale / margin)


def _more_often(n: Numbers, _: Metric, gate: Gate | None) -> Nearness | None:
    if not isinstance(gate, UnchangedGate):
        return None
    theirs = n["control_events"] / n["control_exposure"]
    ratio, limit = n["candidate_events"] / n["candidate_exposure"] / theirs, gate.pass_ratio
    return Nearness(f"{ratio:.2f}x control's", f"{limit:g}x", ratio / limit)


def _part(value: float) -> str:
    return show_fraction(round(value, 4))


_ALONE: Final[dict[str, Callable[[Numbers], Nearness]]] = {
    "error_rate": _rate,
    "latency": _slow,
    "latency_stable": _slower,
    "shadow_agreement": _agreement,
    "cost_within_budget": _money,
    "cost": _spending,
    "complaints": _complaints,
    "no_critical_error": _critical,
    "no_violation": _violations,
    "violation": _violations,
}
_COMPARED: Final[dict[str, Callable[[Numbers, Metric, Gate | None], Nearness | None]]] = {
    "no_degradation": _harm,
    "stable": _moved,
    "unchanged": _more_often,
}
