"""How much evidence a waiting gate still lacks, and about how long that takes.

A forecast decides nothing. It extrapolates what has come in so far: log E grows in proportion to the
evidence, and an interval narrows with its square root.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from molt.core.events import Ruling
from molt.core.playbook import Gate
from molt.core.scene import Scene

LONGEST: Final = 366 * 86400.0
"""Seconds; what would take longer than that is not on its way."""


def missing(scene: Scene, ruling: Ruling) -> dict[str, Any] | None:
    """`progress` (0..1), `seconds` and `units` still to come; None where none of it can be said.

    `seconds` and `units` are None when the evidence does not point towards passing.
    """
    kind = ruling.name.partition(":")[0]
    work = _FORECASTS.get(kind)
    gate = next((g for g in scene.step.gates if g.kind == kind), None)
    if ruling.verdict != "wait" or work is None or (gate is None and kind != "hold"):
        return None
    ratio = work(scene, gate, ruling.numbers)
    if ratio is None:
        return None
    elapsed = _elapsed(scene, kind).total_seconds()
    progress = min(1.0, max(0.0, ratio))
    seconds = elapsed * (1 / ratio - 1) if ratio > 0 else math.inf
    on_its_way = 0 <= seconds <= LONGEST
    units = _units(ruling.numbers)
    more = math.ceil(units * (1 / ratio - 1)) if units and on_its_way else None
    return {
        "progress": progress,
        "seconds": seconds if on_its_way else None,
        "units": more if kind in _COUNTED else None,
    }


def _elapsed(scene: Scene, kind: str) -> timedelta:
    """How long the evidence of this gate has been gathered."""
    if kind not in _COMPARED:
        return scene.held
    first = min(scene.live_epochs(), default=scene.rollout.epoch)
    began = next((s.at for s in scene.rollout.stays if s.epoch == first), None)
    return scene.now - began if began else scene.held


def _units(numbers: Mapping[str, Any]) -> float:
    return float(numbers.get("requests") or numbers.get("candidate_n") or 0)


def _part(have: float | None, need: float) -> float | None:
    return None if have is None or need <= 0 else have / need


def _hold(scene: Scene, _: Any, numbers: Mapping[str, Any]) -> float | None:
    return _part(scene.held.total_seconds(), numbers.get("hold_s", 0))


def _below(_: Scene, gate: Any, numbers: Mapping[str, Any]) -> float | None:
    return _part(numbers.get("log_e_below"), -math.log(gate.alpha_pass))


def _within(_: Scene, gate: Any, numbers: Mapping[str, Any]) -> float | None:
    return _part(numbers.get("log_e_within"), -math.log(gate.alpha_pass))


def _narrow(estimate: float, margin: float, numbers: Mapping[str, Any]) -> float | None:
    """The part of the information at which the interval fits inside the margin."""
    half = (numbers["high"] - numbers["low"]) / 2
    room = margin - estimate
    if half <= 0 or not math.isfinite(half):
        return None
    return (room / half) ** 2 if room > 0 else 0.0


def _stable(_: Scene, __: Any, numbers: Mapping[str, Any]) -> float | None:
    if "margin" not in numbers:
        return None
    margin = numbers["margin"] * abs(numbers["control"])
    return _narrow(abs(numbers["difference"]), margin, numbers)


def _latency_stable(_: Scene, __: Any, numbers: Mapping[str, Any]) -> float | None:
    if "margin" not in numbers:
        return None
    return _narrow(numbers["difference"], numbers["margin"], numbers)


def _cost(_: Scene, __: Any, numbers: Mapping[str, Any]) -> float | None:
    if "budget" not in numbers or not math.isfinite(numbers["high"]):
        return None
    half, room = numbers["high"] - numbers["per_1000"], numbers["budget"] - numbers["per_1000"]
    if half <= 0:
        return None
    return (room / half) ** 2 if room > 0 else 0.0


def _quiet_since(scene: Scene, span: timedelta, times: Sequence[datetime]) -> float | None:
    """The part of `span` that has passed since the last of `times`."""
    return (scene.now - max(times)) / span if times and span > timedelta(0) else None


def _no_critical_error(scene: Scene, gate: Any, _: Any) -> float | None:
    opened = [i.opened_at for i in scene.rollout.incidents]
    since = scene.rollout.window_since
    times = [*opened, *([since] if since else [])]
    return _quiet_since(scene, gate.for_, times)


def _no_rollback(scene: Scene, gate: Any, _: Any) -> float | None:
    started = scene.rollout.started_at
    times = [*scene.rollout.rollbacks, *([started] if started else [])]
    return _quiet_since(scene, gate.within, times)


_Forecast = Callable[[Scene, Gate | None, Mapping[str, Any]], float | None]

_FORECASTS: Final[dict[str, _Forecast]] = {
    "hold": _hold,
    "error_rate": _below,
    "latency": _below,
    "no_degradation": _within,
    "unchanged": _below,
    "stable": _stable,
    "latency_stable": _latency_stable,
    "cost_within_budget": _cost,
    "no_critical_error": _no_critical_error,
    "no_rollback": _no_rollback,
}
_COMPARED: Final = frozenset({"no_degradation", "unchanged", "stable"})
_COUNTED: Final = frozenset({"error_rate", "latency", "no_degradation", "cost_within_budget"})
