"""The A/B report: every metric of a plan, both arms, as numbers and as sentences a person can act on.

Rulings are those of the gates that name the metric; intervals hold at every look at once, so a
report may be read as often as one likes.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from molt.core import gates, gates_comparing
from molt.core.comparisons import compare, exposures, settled, strata
from molt.core.events import Ruling
from molt.core.findings import Effect, MetricReport, Novelty, Report, SampleRatio
from molt.core.phrases import headline, sentence
from molt.core.playbook import Gate, Metric, NoDegradationGate, StableGate, UnchangedGate
from molt.core.scene import Scene
from molt.core.stats import evalue, exposure, srm
from molt.core.stats.inferiority import HARM_TAU, MIN_COMPARED
from molt.core.stats.ratio import Difference, difference
from molt.core.stats.strata import Stratum

ALPHA: Final = 0.05
COUNT: Final = "count"


def report(scene: Scene) -> Report:
    """The comparison as it stands; metrics in the order of the plan."""
    begun = [s.at for s in scene.rollout.stays if s.epoch in scene.live_epochs()]
    hours = (scene.now - min(begun)).total_seconds() / 3600 if begun else 0.0
    seen = sum(sum(pair) for pair in scene.book.new_subjects.values())
    shares = [s.share for s in scene.rollout.stays if s.epoch in scene.live_epochs()]
    rows = [_row(scene, name, metric, hours) for name, metric in scene.playbook.metrics.items()]
    found = Report(
        rollout=scene.rollout.id,
        phase=str(scene.rollout.phase),
        share=scene.rollout.live_share,
        hours=hours,
        subjects=seen,
        candidate_subjects=round(seen * max(shares, default=0.0) / 100),
        metrics=[msgspec.structs.replace(row, sentence=sentence(row)) for row in rows],
        sample_ratio=_sample_ratio(scene),
    )
    return msgspec.structs.replace(found, headline=headline(found))


def _row(scene: Scene, name: str, metric: Metric, hours: float) -> MetricReport:
    gate = _gate_about(scene, name)
    d = compare(scene, metric)
    enough = d is not None and min(d.candidate_n, d.control_n) >= MIN_COMPARED
    margin = _margin(scene, metric, gate)
    ruling = _ruling(scene, name, gate)
    late = settled(scene, metric)
    return MetricReport(
        name=name,
        title=metric.title or name.replace("_", " "),
        kind=metric.kind,
        better=metric.better,
        margin=margin,
        effect=_effect(metric, d, strata(scene, metric)) if d and enough else None,
        verdict=ruling.verdict if ruling else "none",
        reason=ruling.reason if ruling else "no gate of the plan looks at it",
        variance_reduction=1 - d.variance_kept if d else 0.0,
        novelty=Novelty(
            _effect(metric, late) if late else None,
            scene.playbook.timing.settled_after.total_seconds() / 3600,
            late is not None
            and margin is not None
            and gates_comparing.beyond(metric, late, margin),
        ),
        agents=_by_agent(scene, metric),
        more_hours=_more_hours(metric, d, margin, ruling, hours),
    )


def _by_agent(scene: Scene, metric: Metric) -> dict[str, Effect]:
    """The effect for each agent type that has enough of both arms."""
    effects: dict[str, Effect] = {}
    for agent in scene.book.agents():
        rows = strata(scene, metric, agent=agent)
        d = difference(rows, binary=metric.binary)
        if d is not None and min(d.candidate_n, d.control_n) >= MIN_COMPARED:
            effects[agent or "unnamed"] = _effect(metric, d, rows)
    return effects


def _effect(metric: Metric, d: Difference, rows: Sequence[Stratum] = ()) -> Effect:
    """The difference with its interval; for counted events by the exact ratio of rates."""
    mean = abs(d.control)
    low, high = evalue.interval(d.estimate, d.variance, HARM_TAU * mean, ALPHA)
    if metric.kind == COUNT and rows and mean:
        ratios = exposure.ratio_interval(exposures(rows), ALPHA)
        low, high = mean * (ratios.low - 1), mean * (ratios.high - 1)
    return Effect(
        candidate=d.candidate,
        control=d.control,
        difference=d.estimate,
        low=_finite(low),
        high=_finite(high),
        relative=d.relative,
        relative_low=_finite(low / mean) if mean else None,
        relative_high=_finite(high / mean) if mean else None,
        candidate_n=d.candidate_n,
        control_n=d.control_n,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


# --- what the plan says of a metric


def _gate_about(scene: Scene, name: str) -> Gate | None:
    """The gate that names the metric: the present step's, else the nearest later, else earlier one."""
    ladder = scene.playbook.ladder()
    here = next(i for i, (_, step) in enumerate(ladder) if step is scene.step)
    near = [*range(here, len(ladder)), *range(here - 1, -1, -1)]
    for i in near:
        for gate in ladder[i][1].gates:
            if isinstance(gate, NoDegradationGate) and name in gate.metrics:
                return gate
            if isinstance(gate, StableGate | UnchangedGate) and gate.metric == name:
                return gate
    return None


def _margin(scene: Scene, metric: Metric, gate: Gate | None) -> float | None:
    match gate:
        case NoDegradationGate():
            return gates_comparing.step_margin(scene, gate, metric)
        case StableGate():
            return gate.within
        case UnchangedGate():
            return gate.pass_ratio - 1
        case _:
            return metric.margin


def _ruling(scene: Scene, name: str, gate: Gate | None) -> Ruling | None:
    if gate is None:
        return None
    return next((r for r in gates.rule(scene, gate) if r.name.partition(":")[2] == name), None)


def _more_hours(
    metric: Metric,
    d: Difference | None,
    margin: float | None,
    ruling: Ruling | None,
    hours: float,
) -> float | None:
    """Hours to a pass if the difference and the pace stay as they are."""
    if d is None or not margin or ruling is None or ruling.verdict != "wait" or not d.control:
        return None
    edge, harm = margin * abs(d.control), gates_comparing.harm_of(metric, d)
    left = evalue.information_left(-harm, d.variance, edge, ALPHA, edge=-edge)
    return None if left is None or left == 0 else left * hours


def _sample_ratio(scene: Scene) -> SampleRatio:
    shares = {s.epoch: s.share / 100 for s in scene.rollout.stays}
    counts = scene.book.new_subjects
    steps = [(*counts[e], shares[e]) for e in scene.live_epochs() if e in counts]
    log_factor = srm.combined((a, b, share) for a, b, share in steps)
    rows: list[dict[str, Any]] = [
        {"share": share, "candidate": a, "control": b} for a, b, share in steps
    ]
    factor = math.exp(min(700.0, log_factor))
    return SampleRatio(rows, factor, log_factor >= math.log(srm.MISMATCH))
