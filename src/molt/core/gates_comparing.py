"""Gates that hold the candidate against control: both arms in the same strata, differences, margins.

`core/gates.py` lists them in its table. "Not worse" is non-inferiority within a margin, "stable" and
"unchanged" are equivalence within a margin, never "no significant difference".
"""

import math
from typing import Any, Final

from molt.core.assignment import CONTROL
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
from molt.core.evidence import LIVE, REQUESTS, over
from molt.core.playbook import (
    LatencyStableGate,
    Metric,
    NoDegradationGate,
    StableGate,
    UnchangedGate,
)
from molt.core.quantities import show_duration, show_fraction
from molt.core.scene import Scene
from molt.core.stats import equivalence, evalue, exposure, latency, power, ratio
from molt.core.stats.inferiority import HARM_TAU, MIN_COMPARED, Inferiority


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


def no_degradation(scene: Scene, gate: NoDegradationGate) -> list[Ruling]:
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


def stable(scene: Scene, gate: StableGate) -> list[Ruling]:
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


def unchanged(scene: Scene, gate: UnchangedGate) -> list[Ruling]:
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


def latency_stable(scene: Scene, gate: LatencyStableGate) -> list[Ruling]:
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
