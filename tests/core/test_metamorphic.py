"""What must not matter, and what must never help: rulings of changed worlds against each other."""

import itertools
from datetime import timedelta
from typing import Any

import pytest

from molt.core import gates, triggers
from molt.core.playbook import Playbook

from .gate_world import FIGURES, GATES, METRICS
from .traffic import Load
from .world import World, plan, step, verdicts, wf11

RANK = {"pass": 0, "wait": 1, "fail": 2}
COMPARED = [
    GATES["no_degradation"] | {"margin": "10%"},
    GATES["stable"],
    GATES["unchanged"],
    GATES["error_rate"],
    GATES["latency"],
    GATES["cost_within_budget"],
]


def played(
    candidate: Load, seed: int, *, unit: timedelta = timedelta(seconds=10)
) -> dict[str, str]:
    """Every verdict after a day of 8,640 slots at 20%; `unit` is the length of a slot."""
    playbook = sped_up(unit)
    w = World(playbook, seed=seed).begin()
    w.at_step("canary")
    scale = unit / timedelta(seconds=10)
    day = timedelta(days=1) * scale
    control = Load(2000)
    loads = [load._replace(requests=load.requests / scale) for load in (candidate, control)]
    w.serve(day, *loads, every=24 * unit)
    found = verdicts(gates.rule_all(w.scene))
    return found | {
        f"trigger {t.ruling.name}": t.ruling.verdict for t in triggers.rule_all(w.scene)
    }


def sped_up(unit: timedelta) -> Playbook:
    """A plan in which every length of time is so many slots."""
    seconds = unit.total_seconds()
    by: list[dict[str, Any]] = [t.model_dump(mode="json", by_alias=True) for t in wf11().triggers]
    for trigger, slots in zip(by, (30, 60, None, None, 360), strict=True):
        if slots:
            trigger["for" if "for" in trigger else "within"] = f"{slots * seconds:g}s"
    held = f"{6 * seconds:g}s"
    return plan(
        ("shadow", [step(0) | {"hold": held}]),
        ("canary", [step(20, *COMPARED) | {"hold": held}, step(50) | {"hold": held}]),
        metrics=METRICS,
        triggers=by,
        cost={"budget_per_1000": 5.0, "projected_per_request": 0.002},
        timing={"slot": f"{seconds:g}s", "blind_after": f"{30 * seconds:g}s"},
    )


WORSE: dict[str, tuple[Load, ...]] = {
    "errors": tuple(Load(500, errors=e) for e in (0.0, 0.004, 0.02, 0.08, 0.5)),
    "orders": tuple(
        Load(500, outcomes={"order_completed": 0.30 * k, "cart_abandoned": 0.40 - 0.30 * k})
        for k in (1.0, 0.97, 0.9, 0.7, 0.2)
    ),
    "satisfaction": tuple(
        Load(500, outcomes={"satisfied": 0.2 * k, "dissatisfied": 0.25 - 0.2 * k})
        for k in (1.0, 0.97, 0.9, 0.5)
    ),
    "tickets": tuple(Load(500, outcomes={"support_ticket": k}) for k in (0.001, 0.002, 0.01, 0.1)),
    "staff": tuple(Load(500, response_s=s) for s in (60, 63, 70, 120)),
    "slow": tuple(Load(500, slow=k) for k in (0.0, 0.03, 0.08, 0.6)),
    "cost": tuple(Load(500, cost=k) for k in (0.002, 0.004, 0.008, 0.03)),
}
TOUCHED = {
    "errors": ("error_rate", "trigger error_rate"),
    "orders": ("no_degradation:order_completion", "no_degradation:cart_abandonment"),
    "satisfaction": ("no_degradation:satisfaction",),
    "tickets": ("unchanged:support_tickets",),
    "staff": ("no_degradation:staff_response",),
    "slow": ("latency", "trigger latency"),
    "cost": ("cost_within_budget", "trigger cost"),
}


@pytest.mark.parametrize("what", list(WORSE))
def test_more_failures_never_improve_a_ruling(what: str):
    for seed in (1, 2):
        ranks = [[RANK[played(load, seed)[name]] for name in TOUCHED[what]] for load in WORSE[what]]
        for before, after in itertools.pairwise(ranks):
            assert all(b >= a for a, b in zip(before, after, strict=True)), ranks
        assert max(ranks[-1]) == RANK["fail"], "and enough of them fail it"


@pytest.mark.parametrize("load", [Load(500), Load(500, errors=0.1), Load(500, slow=0.3)])
def test_scaling_time_and_rates_together_changes_nothing(load: Load):
    usual = played(load, 5)
    assert {name.partition(":")[2] for name in usual if "no_degradation" in name} == set(FIGURES)
    for unit in (timedelta(seconds=1), timedelta(seconds=60)):
        assert played(load, 5, unit=unit) == usual
