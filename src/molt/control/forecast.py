"""How much evidence a waiting gate still lacks, and about how long that takes.

A forecast decides nothing. It extrapolates what has come in so far: log E grows in proportion to the
evidence, and an interval narrows with its square root.
"""

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from molt.core.events import Ruling
from molt.core.playbook import Gate
from molt.core.scene import Scene

_Time = tuple[datetime | None, timedelta]

LONGEST: Final = 366 * 86400.0
"""Seconds; what would take longer than that is not on its way."""


def missing(scene: Scene, ruling: Ruling) -> dict[str, Any] | None:
    """`progress` (0..1), `seconds` and `units` still to come; None where none of it can be said.

    `seconds` and `units` are None when the evidence does not point towards passing. Where there is
    enough, and a gate waits because it cannot be trusted now, evidence is not what is missing.
    """
    kind = ruling.name.partition(":")[0]
    gate = next((g for g in scene.step.gates if g.kind == kind), None)
    if ruling.verdict != "wait" or (gate is None and kind != "hold"):
        return None
    if kind in _TIMED:
        return _in_time(scene, *_TIMED[kind](scene, gate))
    work = _FORECASTS.get(kind)
    ratio = work(scene, gate, ruling.numbers) if work else None
    enough, nothing = ratio is not None and ratio >= 1, ruling.numbers.get("requests") == 0
    if ratio is None or enough or nothing:
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


# --- what only time can bring: since when it counts, and how long it must last


def _in_time(scene: Scene, since: datetime | None, span: timedelta) -> dict[str, Any] | None:
    if since is None or span <= timedelta(0):
        return None
    passed = scene.now - since
    left = max(timedelta(0), span - passed)
    return {"progress": min(1.0, passed / span), "seconds": left.total_seconds(), "units": None}


def _hold(scene: Scene, _: Any) -> _Time:
    return scene.rollout.hold_since, scene.step.hold


def _no_critical_error(scene: Scene, gate: Any) -> _Time:
    times = [scene.rollout.window_since, *(i.opened_at for i in scene.rollout.incidents)]
    return max((t for t in times if t), default=None), gate.for_


def _no_rollback(scene: Scene, gate: Any) -> _Time:
    times = [scene.rollout.started_at, *scene.rollout.rollbacks]
    return max((t for t in times if t), default=None), gate.within


_TIMED: Final[dict[str, Callable[[Scene, Any], _Time]]] = {
    "hold": _hold,
    "no_critical_error": _no_critical_error,
    "no_rollback": _no_rollback,
}

_Forecast = Callable[[Scene, Gate | None, Mapping[str, Any]], float | None]

_FORECASTS: Final[dict[str, _Forecast]] = {
    "error_rate": _below,
    "latency": _below,
    "no_degradation": _within,
    "unchanged": _below,
    "stable": _stable,
    "latency_stable": _latency_stable,
    "cost_within_budget": _cost,
}
_COMPARED: Final = frozenset({"no_degradation", "unchanged", "stable"})
_COUNTED: Final = frozenset({"error_rate", "latency", "no_degradation", "cost_within_budget"})
