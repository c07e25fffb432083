"""A rollout at the end of a long step, and an example of every gate."""

from datetime import timedelta
from typing import Any

from molt.core import gates
from molt.core.events import (
    Ruling,
)

from .traffic import Load
from .world import HOUR, World, plan, step, wf11

METRICS = {name: metric.model_dump() for name, metric in wf11().metrics.items()}
FIGURES = ["order_completion", "cart_abandonment", "staff_response", "satisfaction"]
HEALTHY = Load(2000)

GATES: dict[str, dict[str, Any]] = {
    "error_rate": {"kind": "error_rate", "below": "1%"},
    "latency": {"kind": "latency", "quantile": "95%", "below": "2s"},
    "latency_stable": {"kind": "latency_stable", "within": "10%"},
    "no_degradation": {"kind": "no_degradation", "metrics": FIGURES},
    "stable": {"kind": "stable", "metric": "engagement"},
    "unchanged": {"kind": "unchanged", "metric": "support_tickets"},
    "no_critical_error": {"kind": "no_critical_error", "for": "2h"},
    "no_rollback": {"kind": "no_rollback", "within": "2h"},
    "no_violation": {"kind": "no_violation"},
    "cost_within_budget": {"kind": "cost_within_budget"},
    "approval": {"kind": "approval"},
}


def world(*wanted: dict[str, Any], share: float = 50, phase: str = "canary", **more: Any) -> World:
    """A rollout at the end of a long step with these gates, without any traffic in it."""
    inside = [step(0, *wanted)] if phase == "shadow" else [step(0)]
    playbook = plan(
        ("shadow", inside),
        ("canary", [step(share, *wanted, hold="2h")]),
        ("progressive", [step(100)]),
        metrics=METRICS,
        **more,
    )
    w = World(playbook).begin()
    if phase != "shadow":
        w.serve(HOUR, HEALTHY, HEALTHY).at_step("canary")
    return w


def ruled(w: World) -> dict[str, Ruling]:
    return {r.name: r for r in gates.rule_all(w.scene)}


def only(w: World, name: str) -> Ruling:
    (found,) = [r for r in gates.rule_all(w.scene) if r.name.partition(":")[0] == name]
    return found


def day(w: World, candidate: Load = HEALTHY, control: Load | None = HEALTHY) -> World:
    return w.serve(timedelta(days=1), candidate, control)
