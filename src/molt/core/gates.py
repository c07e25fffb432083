"""May it go on? One function per kind of gate; evidence that is missing is `wait`, never `pass`.

`_RULES` at the end of this module lists them all: those that look at the candidate alone, at the log or
at people are here; those that hold it against control are in `gates_comparing`, the one on shadow
answers in `agreement`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from molt.core import agreement, approvals, gates_comparing, spending
from molt.core.assignment import CANDIDATE
from molt.core.events import Ruling
from molt.core.evidence import ERRORS, REQUESTS, over
from molt.core.playbook import (
    CRITICAL_ERROR,
    ApprovalGate,
    CostGate,
    ErrorRateGate,
    Gate,
    LatencyGate,
    LatencyStableGate,
    NoCriticalErrorGate,
    NoDegradationGate,
    NoRollbackGate,
    NoViolationGate,
    OnFail,
    ShadowAgreementGate,
    StableGate,
    UnchangedGate,
)
from molt.core.quantities import show_duration, show_fraction, show_seconds
from molt.core.scene import Scene
from molt.core.stats import bernoulli, srm


def rule_all(scene: Scene) -> list[Ruling]:
    """A ruling for the hold and for every gate of the present step, in the order of the plan.

    When there is no sight, or the sample ratio is broken, what was measured proves nothing either
    way: all freeze to `wait`, and one more ruling says so.
    """
    frozen = scene.blind() or sample_ratio(scene)
    rulings = [hold(scene)]
    if frozen:
        rulings.append(Ruling("sight", "wait", frozen))
    if allowed := bounded(scene):
        rulings.append(Ruling("bounds", "wait", allowed))
    for gate in scene.step.gates:
        for ruling in rule(scene, gate):
            if frozen and ruling.verdict != "wait" and not isinstance(gate, ApprovalGate):
                ruling = Ruling(ruling.name, "wait", f"frozen: {frozen}", ruling.numbers)
            rulings.append(ruling)
    return rulings


def rule(scene: Scene, gate: Gate) -> list[Ruling]:
    """The rulings of one gate, one for each metric that it names."""
    return _RULES[type(gate)](scene, gate)


def failed_with(scene: Scene, rulings: Sequence[Ruling], on_fail: OnFail) -> Ruling | None:
    """The first failed ruling whose gate asks for `on_fail`."""
    kinds = {gate.kind for gate in scene.step.gates if gate.on_fail == on_fail}
    return next(
        (r for r in rulings if r.verdict == "fail" and r.name.partition(":")[0] in kinds), None
    )


def hold(scene: Scene) -> Ruling:
    """Whether the step's minimum hold is over."""
    wanted = scene.step.hold
    numbers = {"held_s": round(scene.held.total_seconds()), "hold_s": wanted.total_seconds()}
    if scene.held >= wanted:
        return Ruling("hold", "pass", f"held for {show_duration(wanted)}", numbers)
    left = math.ceil((wanted - scene.held).total_seconds())
    return Ruling("hold", "wait", f"{show_seconds(left)} of {show_duration(wanted)} to go", numbers)


def bounded(scene: Scene) -> str | None:
    """What the operator's flags keep below this step; None while they allow all of it.

    The climb stands there: what was proven at less traffic proves nothing about the next step.
    """
    rollout = scene.rollout
    held = rollout.bounds.holding_back(scene.step.share, rollout.agents)
    return "; ".join(f"{h.text}: {h.flag}" for h in held) or None


def sample_ratio(scene: Scene) -> str | None:
    """Why the split of new subjects cannot be trusted; None while it can."""
    shares = {s.epoch: s.share / 100 for s in scene.rollout.stays}
    steps = [
        (*scene.book.new_subjects[epoch], shares[epoch])
        for epoch in scene.live_epochs()
        if epoch in scene.book.new_subjects
    ]
    factor = srm.combined((a, b, share) for a, b, share in steps)
    if factor < math.log(srm.MISMATCH):
        return None
    seen = ", ".join(f"{a} of {a + b} at {show_fraction(share)}" for a, b, share in steps)
    return f"sample ratio mismatch: new subjects on the candidate were {seen}"


# --- rates


def _rate(
    name: str,
    scene: Scene,
    gate: ErrorRateGate | LatencyGate,
    column: str,
    limit: float,
    what: str,
) -> Ruling:
    """Engine C on the candidate's present epoch."""
    epoch, mode = scene.rollout.epoch, scene.mode
    numbers = scene.book.derived(
        ("rate", column, mode, limit),
        [epoch],
        [REQUESTS, column],
        lambda: _rate_numbers(scene, column, limit),
    )
    total, events, high = numbers["requests"], numbers["events"], numbers["high"]
    shown = f"{what}: {events} of {total} requests, limit {show_fraction(limit)}"
    if numbers["log_e_above"] >= -math.log(gate.alpha_fail):
        return Ruling(name, "fail", f"{shown}; proven above it", numbers)
    if numbers["log_e_below"] >= -math.log(gate.alpha_pass):
        return Ruling(name, "pass", f"{shown}; proven below it", numbers)
    return Ruling(
        name, "wait", f"{shown}; not proven yet (up to {show_fraction(round(high, 4))})", numbers
    )


def _rate_numbers(scene: Scene, column: str, limit: float) -> dict[str, Any]:
    epoch, mode = scene.rollout.epoch, scene.mode
    n = scene.book.sums(epoch, CANDIDATE, mode, [REQUESTS])
    y = scene.book.sums(epoch, CANDIDATE, mode, [column])
    total, events = float(n.sum()), float(y.sum())
    deff = bernoulli.design_effect(n, y)
    low, high = bernoulli.interval(events, total, deff=deff)
    return {
        "requests": int(total),
        "events": int(events),
        "rate": events / total if total else None,
        "low": low,
        "high": high,
        "limit": limit,
        "design_effect": round(deff, 3),
        "log_e_below": bernoulli.log_e_below(events, total, limit, deff),
        "log_e_above": bernoulli.log_e_above(events, total, limit, deff),
    }


def _error_rate(scene: Scene, gate: ErrorRateGate) -> list[Ruling]:
    return [_rate("error_rate", scene, gate, ERRORS, gate.below, "errors")]


def _latency(scene: Scene, gate: LatencyGate) -> list[Ruling]:
    """A quantile under a limit is a share of slower requests under its complement."""
    cut = over(gate.below.total_seconds() * 1000)
    limit = round(1 - gate.quantile, 9)
    what = f"slower than {show_duration(gate.below)}"
    return [_rate("latency", scene, gate, cut, limit, what)]


# --- from the log and the counts


def _no_critical_error(scene: Scene, gate: NoCriticalErrorGate) -> list[Ruling]:
    """Counts incidents and reported critical errors; silence without traffic proves nothing."""
    name, since = "no_critical_error", scene.now - gate.for_
    span = show_duration(gate.for_)
    started = scene.rollout.window_since
    incidents = [i.id for i in scene.rollout.incidents if i.opened_at >= since]
    reported = scene.book.outcomes_since(CRITICAL_ERROR, since)
    numbers = {"incidents": incidents, "reported": reported}
    if incidents or reported:
        shown = f"{len(incidents)} incidents and {reported} reports within {span}"
        return [Ruling(name, "wait", shown, numbers)]
    if started is None or started > since:
        return [Ruling(name, "wait", f"not watched for {span} yet", numbers)]
    if not scene.book.counts([scene.rollout.epoch], CANDIDATE, scene.mode).requests:
        return [Ruling(name, "wait", "no candidate request seen in this step", numbers)]
    return [Ruling(name, "pass", f"none for {span}", numbers)]


def _no_rollback(scene: Scene, gate: NoRollbackGate) -> list[Ruling]:
    span, since = show_duration(gate.within), scene.now - gate.within
    started = scene.rollout.started_at
    if any(at >= since for at in scene.rollout.rollbacks):
        return [Ruling("no_rollback", "wait", f"rolled back within the last {span}")]
    if started is None or started > since:
        return [Ruling("no_rollback", "wait", f"the rollout is not {span} old yet")]
    return [Ruling("no_rollback", "pass", f"no rollback in the last {span}")]


def _no_violation(scene: Scene, _: NoViolationGate) -> list[Ruling]:
    counts = scene.book.counts(scene.window_epochs, CANDIDATE, scene.mode)
    numbers = {"violations": counts.violations, "requests": counts.requests}
    if counts.violations:
        shown = f"{counts.violations} security violations"
        return [Ruling("no_violation", "fail", shown, numbers)]
    if not counts.requests:
        return [Ruling("no_violation", "wait", "no candidate request seen yet", numbers)]
    return [Ruling("no_violation", "pass", f"none in {counts.requests} requests", numbers)]


def _approval(scene: Scene, _: ApprovalGate) -> list[Ruling]:
    approved = approvals.approved(scene)
    if approved is None:
        return [Ruling("approval", "wait", "a person must approve: molt approve")]
    return [Ruling("approval", "pass", f"approved by {approved.by}: {approved.reason}")]


_RULES: Final[dict[type[Gate], Callable[[Scene, Any], list[Ruling]]]] = {
    ErrorRateGate: _error_rate,
    LatencyGate: _latency,
    LatencyStableGate: gates_comparing.latency_stable,
    NoDegradationGate: gates_comparing.no_degradation,
    StableGate: gates_comparing.stable,
    UnchangedGate: gates_comparing.unchanged,
    NoCriticalErrorGate: _no_critical_error,
    NoRollbackGate: _no_rollback,
    NoViolationGate: _no_violation,
    CostGate: spending.rule,
    ShadowAgreementGate: agreement.rule,
    ApprovalGate: _approval,
}
