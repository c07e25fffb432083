"""What a request of the candidate costs: the figure that its gate decides by and the console draws."""

import math
from typing import Final, NamedTuple

from molt.core.assignment import CANDIDATE
from molt.core.events import Ruling
from molt.core.evidence import COST, PRICED
from molt.core.playbook import CostGate
from molt.core.scene import Scene
from molt.core.stats import cost, ratio

MIN_PRICED: Final = 100


class PerRequest(NamedTuple):
    """USD a request in the present step, with its interval; `n` requests have told their cost."""

    estimate: float
    low: float
    high: float
    n: int


def per_request(scene: Scene, alpha: float) -> PerRequest | None:
    """The cost of a request; None while it is known of fewer than `MIN_PRICED`.

    How it spreads is what answers tell. Where the egress counted more than they do, all is scaled
    up to its mean: an agent that tells a part of its usage tells of a spread as wide for its size.
    """
    epoch, mode = scene.rollout.epoch, scene.mode
    n = scene.book.sums(epoch, CANDIDATE, mode, [PRICED])
    y = scene.book.sums(epoch, CANDIDATE, mode, [COST])
    measured = ratio.mean(n, y)
    if measured is None or measured.n < MIN_PRICED:
        return None
    spent = scene.book.counts([epoch], CANDIDATE, mode).spent
    scale = (spent.each or 0.0) / spent.told if spent.told else 1.0
    low, high = cost.interval(n, y, alpha=alpha) or (0.0, math.inf)
    return PerRequest(scale * measured.estimate, scale * low, scale * high, int(measured.n))


def rule(scene: Scene, gate: CostGate) -> list[Ruling]:
    """The interval's upper end of cost per 1,000 requests is within the budget."""
    name, budget = "cost_within_budget", scene.playbook.cost.budget_per_1000
    if budget is None:
        return [Ruling(name, "wait", "no budget is set: cost.budget_per_1000")]
    found = per_request(scene, gate.alpha)
    if found is None:
        return [Ruling(name, "wait", _few_priced(scene))]
    numbers = {
        "per_1000": 1000 * found.estimate,
        "low": 1000 * found.low,
        "high": 1000 * found.high,
        "budget": budget,
        "requests": found.n,
    }
    shown = (
        f"${numbers['per_1000']:.3f} a thousand requests, up to ${numbers['high']:.3f}, "
        f"budget ${budget:g}"
    )
    if numbers["low"] > budget:
        return [Ruling(name, "fail", f"{shown}; over budget", numbers)]
    if numbers["high"] <= budget:
        return [Ruling(name, "pass", shown, numbers)]
    return [Ruling(name, "wait", f"{shown}; not proven yet", numbers)]


def _few_priced(scene: Scene) -> str:
    epoch, mode = scene.rollout.epoch, scene.mode
    seen = int(scene.book.sums(epoch, CANDIDATE, mode, [PRICED]).sum())
    spent = scene.book.counts([epoch], CANDIDATE, mode).spent
    shown = f"cost is known of {seen} requests, {MIN_PRICED} are needed"
    if spent.metered > spent.cost:
        shown += (
            f"; the egress counted ${spent.metered:.2f} for {spent.requests}: "
            "have the agent's answers tell their usage"
        )
    return shown
