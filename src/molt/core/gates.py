"""May it go on? One function per kind of gate; evidence that is missing is `wait`, never `pass`."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from molt.core import agreement, approvals
from molt.core.assignment import CANDIDATE, CONTROL
from molt.core.comparisons import (
    compare,
    exposures,
    judge,
    settled,
    settled_averages,
    strata,
    stratum,
)
from molt.core.events import Ruling, Verdict
from molt.core.evidence import (
    COST,
    ERRORS,
    LIVE,
    PRICED,
    REQUESTS,
    over,
)
from molt.core.playbook import (
    CRITICAL_ERROR,
    ApprovalGate,
    CostGate,
    ErrorRateGate,
    Gate,
    LatencyGate,
    LatencyStableGate,
    Metric,
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
from molt.core.stats import (
    bernoulli,
    cost,
    equivalence,
    evalue,
    exposure,
    latency,
    power,
    ratio,
    srm,
)
from molt.core.stats.inferiority import HARM_TAU, MIN_COMPARED, Inferiority


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


def _latency_stable(scene: Scene, gate: LatencyStableGate) -> list[Ruling]:
    """Engines A and B on the share slower than control's median, frozen at the step's start."""
    name, cut = "latency_stable", scene.rollout.control_p50_ms
    if cut is None:
        return [Ruling(name, "wait", "control's median was not known when the step began")]
    epoch = scene.rollout.epoch
    histogram = scene.book.latency([epoch], CONTROL, LIVE)
    share = latency.share_of_slowdown(histogram, gate.within)
    margin = None if share is None else max(share, SMALLEST_MARGIN)
    d = scene.book.derived(
        ("latency stable", cut),
        [epoch],
        [over(cut), REQUESTS],
        lambda: ratio.difference([stratum(scene, epoch, (over(cut),), (REQUESTS,))], binary=True),
    )
    if d is None or not margin or min(d.candidate_n, d.control_n) < MIN_COMPARED:
        return [Ruling(name, "wait", "too few requests on both arms")]
    e = equivalence.equivalence(d, margin)
    numbers = _difference_numbers(d, margin) | {"margin": margin, "control_p50_ms": cut}
    shown = (
        f"{show_fraction(round(d.candidate, 3))} slower than control's median of {cut:.0f} ms, "
        f"control {show_fraction(round(d.control, 3))}"
    )
    return [_one_sided(name, e.below_upper, e.outside, d.estimate, gate.alpha, shown, numbers)]


SMALLEST_MARGIN: Final = 0.02
"""Of the share slower than the median: where the median lies in a gap, +10% moves nothing."""


def _one_sided(
    name: str,
    passing: float,
    outside: float,
    estimate: float,
    alpha: float,
    shown: str,
    numbers: dict[str, Any],
) -> Ruling:
    """Faster is no reason to stay: only the slow side must be refuted, and only it fails."""
    if estimate > 0 and outside >= math.log(2 / alpha):
        return Ruling(name, "fail", f"{shown}; proven slower", numbers)
    if passing >= -math.log(alpha):
        return Ruling(name, "pass", f"{shown}; within the margin", numbers)
    return Ruling(name, "wait", f"{shown}; not proven within the margin yet", numbers)


# --- comparisons with control


def _difference_numbers(d: ratio.Difference, tau: float) -> dict[str, Any]:
    low, high = evalue.interval(d.estimate, d.variance, tau)
    return {
        "candidate": d.candidate,
        "control": d.control,
        "difference": d.estimate,
        "relative": d.relative,
        "low": low,
        "high": high,
        "candidate_n": d.candidate_n,
        "control_n": d.control_n,
        "variance_kept": round(d.variance_kept, 4),
    }


def step_margin(scene: Scene, gate: NoDegradationGate, metric: Metric | None = None) -> float:
    """The relative margin for leaving the present step; the metric's own margin caps it."""
    return _capped(_uncapped_margin(scene, gate), metric)


def _uncapped_margin(scene: Scene, gate: NoDegradationGate) -> float:
    if gate.margin is not None:
        return gate.margin
    following = scene.next_step()
    share = following[0].steps[following[1]].share if following else 100.0
    return power.step_margin(gate.harm_budget, share / 100)


def _capped(margin: float, metric: Metric | None) -> float:
    return margin if metric is None or metric.margin is None else min(margin, metric.margin)


def harm_of(metric: Metric, d: ratio.Difference | ratio.Averages) -> float:
    """How much worse the candidate is, in the metric's unit; for `same`, how far off either way."""
    if metric.better == "same":
        return abs(d.estimate)
    return -d.estimate if metric.better == "higher" else d.estimate


def beyond(metric: Metric, d: ratio.Difference | ratio.Averages, margin: float) -> bool:
    """Whether the estimate alone is worse than the relative margin allows."""
    return harm_of(metric, d) > margin * abs(d.control)


def _novel(scene: Scene, metric: Metric, margin: float) -> str | None:
    """Why a passing metric must wait: what newcomers hide, settled users show; None if nothing."""
    quick = settled_averages(scene, metric)
    if quick is None or not beyond(metric, quick, margin):
        return None
    late = settled(scene, metric)
    if late is None or late.relative is None or not beyond(metric, late, margin):
        return None
    span = show_duration(scene.playbook.timing.settled_after)
    change = show_fraction(round(late.relative, 4))
    return f"but {change} among users who have had it for {span}: beyond the margin"


def _no_degradation(scene: Scene, gate: NoDegradationGate) -> list[Ruling]:
    """Fail on proven harm (alpha shared by all metrics), pass when harm beyond the margin is refuted."""
    metrics = [scene.playbook.metrics[name] for name in gate.metrics]
    margin = _uncapped_margin(scene, gate)
    asked = [(metric, _capped(margin, metric)) for metric in metrics]
    found = judge(scene, asked)
    return [
        _not_inferior(scene, gate, name, capped, one)
        for name, (_, capped), one in zip(gate.metrics, asked, found, strict=True)
    ]


def _not_inferior(
    scene: Scene, gate: NoDegradationGate, name: str, margin: float, found: Inferiority | None
) -> Ruling:
    metric, ruling = scene.playbook.metrics[name], f"no_degradation:{name}"
    title = metric.title or name
    if found is None:
        return Ruling(ruling, "wait", f"{title}: too few outcomes on both arms yet")
    d = found.difference
    numbers = _difference_numbers(d, HARM_TAU * abs(d.control)) | {
        "margin": margin,
        "log_e_harm": found.log_e_harm,
        "log_e_within": found.log_e_within,
    }
    shown = f"{title}: {d.candidate:.4g} against {d.control:.4g} (margin {show_fraction(margin)})"
    if found.log_e_harm >= math.log(len(gate.metrics) / gate.alpha_fail):
        return Ruling(ruling, "fail", f"{shown}; worse than control", numbers)
    if found.log_e_within >= -math.log(gate.alpha_pass):
        if novel := _novel(scene, metric, margin):
            return Ruling(ruling, "wait", f"{shown}; not worse, {novel}", numbers)
        return Ruling(ruling, "pass", f"{shown}; not worse", numbers)
    return Ruling(ruling, "wait", f"{shown}; not proven yet", numbers)


def _stable(scene: Scene, gate: StableGate) -> list[Ruling]:
    """Equivalence within the margin, both ways (TOST)."""
    name, metric = f"stable:{gate.metric}", scene.playbook.metrics[gate.metric]
    title = metric.title or gate.metric
    d = compare(scene, metric)
    if d is None or d.control == 0:
        return [Ruling(name, "wait", f"{title}: nothing seen on both arms yet")]
    margin = gate.within * abs(d.control)
    e = equivalence.equivalence(d, margin)
    numbers = _difference_numbers(d, margin) | {"margin": gate.within}
    shown = f"{title}: {d.candidate:.4g} against {d.control:.4g} (±{show_fraction(gate.within)})"
    verdict: Verdict = "wait"
    if e.outside >= -math.log(gate.alpha / 2):
        verdict = "fail"
    elif min(e.above_lower, e.below_upper) >= -math.log(gate.alpha):
        verdict = "pass"
    words = {"pass": "stable", "fail": "proven outside", "wait": "not proven yet"}
    if verdict == "pass" and (novel := _novel(scene, metric, gate.within)):
        return [Ruling(name, "wait", f"{shown}; stable, {novel}", numbers)]
    return [Ruling(name, verdict, f"{shown}; {words[verdict]}", numbers)]


def _unchanged(scene: Scene, gate: UnchangedGate) -> list[Ruling]:
    """Engine C on the candidate's part of the events of each epoch, by exposure."""
    name, metric = f"unchanged:{gate.metric}", scene.playbook.metrics[gate.metric]
    rows = exposures(strata(scene, metric))
    exposed, others = sum(r.candidate for r in rows), sum(r.control for r in rows)
    if not exposed or not others:
        return [Ruling(name, "wait", "nothing seen on both arms yet")]
    mine = sum(r.candidate_events for r in rows)
    theirs = sum(r.control_events for r in rows)
    numbers: dict[str, Any] = {
        "candidate_events": int(mine),
        "control_events": int(theirs),
        "candidate_exposure": exposed,
        "control_exposure": others,
        "log_e_above": exposure.log_e_ratio_above(rows, gate.fail_ratio),
        "log_e_below": exposure.log_e_ratio_below(rows, gate.pass_ratio),
    }
    shown = (
        f"{metric.title or gate.metric}: {int(mine)} in {exposed:.0f} "
        f"against {int(theirs)} in {others:.0f}"
    )
    if numbers["log_e_above"] >= -math.log(gate.alpha_fail):
        return [Ruling(name, "fail", f"{shown}; proven more frequent", numbers)]
    if numbers["log_e_below"] >= -math.log(gate.alpha_pass):
        return [Ruling(name, "pass", f"{shown}; below {gate.pass_ratio:g}x", numbers)]
    return [Ruling(name, "wait", f"{shown}; not proven below {gate.pass_ratio:g}x yet", numbers)]


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


def _cost(scene: Scene, gate: CostGate) -> list[Ruling]:
    """The interval's upper end of cost per 1,000 requests is within the budget."""
    name, budget = "cost_within_budget", scene.playbook.cost.budget_per_1000
    if budget is None:
        return [Ruling(name, "wait", "no budget is set: cost.budget_per_1000")]
    epoch = scene.rollout.epoch
    n = scene.book.sums(epoch, CANDIDATE, scene.mode, [PRICED])
    measured = ratio.mean(n, scene.book.sums(epoch, CANDIDATE, scene.mode, [COST]))
    if measured is None or measured.n < MIN_PRICED:
        seen = int(n.sum())
        return [Ruling(name, "wait", f"cost is known of {seen} requests, {MIN_PRICED} are needed")]
    y = scene.book.sums(epoch, CANDIDATE, scene.mode, [COST])
    low, high = cost.interval(n, y, alpha=gate.alpha) or (0.0, math.inf)
    numbers = {
        "per_1000": 1000 * measured.estimate,
        "low": 1000 * low,
        "high": 1000 * high,
        "budget": budget,
        "requests": int(measured.n),
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


MIN_PRICED: Final = 100


def _approval(scene: Scene, _: ApprovalGate) -> list[Ruling]:
    approved = approvals.approved(scene)
    if approved is None:
        return [Ruling("approval", "wait", "a person must approve: molt approve")]
    return [Ruling("approval", "pass", f"approved by {approved.by}: {approved.reason}")]


_RULES: Final[dict[type[Gate], Callable[[Scene, Any], list[Ruling]]]] = {
    ErrorRateGate: _error_rate,
    LatencyGate: _latency,
    LatencyStableGate: _latency_stable,
    NoDegradationGate: _no_degradation,
    StableGate: _stable,
    UnchangedGate: _unchanged,
    NoCriticalErrorGate: _no_critical_error,
    NoRollbackGate: _no_rollback,
    NoViolationGate: _no_violation,
    CostGate: _cost,
    ShadowAgreementGate: agreement.rule,
    ApprovalGate: _approval,
}
