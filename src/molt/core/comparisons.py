"""Both arms' sums of a metric, stratified by epoch: what gates compare."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from molt.core.assignment import CANDIDATE, CONTROL, STATISTICS_BUCKETS
from molt.core.book import Floats
from molt.core.evidence import CONVERSATIONS, LIVE, REQUESTS, value
from molt.core.playbook import Metric
from molt.core.scene import Scene
from molt.core.stats import exposure, ratio
from molt.core.stats.ratio import Stratum


def _columns(metric: Metric) -> tuple[list[str], list[str]]:
    builtin = {"requests": REQUESTS, "conversations": CONVERSATIONS}
    top = value(metric.of) if metric.value else builtin.get(metric.of, metric.of)
    return [top], [builtin.get(per, per) for per in metric.per]


def stratum(scene: Scene, epoch: int, top: Sequence[str], per: Sequence[str]) -> Stratum:
    book = scene.book
    return Stratum(
        candidate_n=book.sums(epoch, CANDIDATE, LIVE, per),
        candidate_y=book.sums(epoch, CANDIDATE, LIVE, top),
        control_n=book.sums(epoch, CONTROL, LIVE, per),
        control_y=book.sums(epoch, CONTROL, LIVE, top),
    )


def strata(
    scene: Scene,
    metric: Metric,
    epochs: Sequence[int] | None = None,
    *,
    agent: str | None = None,
) -> list[Stratum]:
    """The metric's sums in every epoch in which both arms served, of one agent type if given."""
    top, per = _columns(metric)
    chosen = scene.live_epochs() if epochs is None else epochs
    if agent is None:
        return [stratum(scene, epoch, top, per) for epoch in chosen]
    return [
        Stratum(
            *(
                scene.book.sums_of_agent(agent, epoch, arm, LIVE, columns)
                for arm in (CANDIDATE, CONTROL)
                for columns in (per, top)
            )
        )
        for epoch in chosen
    ]


def before(scene: Scene, metric: Metric, epochs: Sequence[int]) -> list[Stratum]:
    """The same users' sums from shadow, split as each epoch splits them: for CUPED."""
    top, per = _columns(metric)
    stays = {s.epoch: s for s in scene.rollout.stays}
    shadow = [s.epoch for s in scene.rollout.stays if s.phase == "shadow"]
    tiers = scene.playbook.tiers()
    pre: list[Stratum] = []
    for epoch in epochs:
        inside = [i for i, t in enumerate(tiers) if t <= round(stays[epoch].share * 100)]
        outside = [i for i in range(len(tiers) + 1) if i not in inside]
        sums = [
            _over_epochs(scene, shadow, group, columns)
            for group in (inside, outside)
            for columns in (per, top)
        ]
        pre.append(Stratum(*sums))
    return pre


def _over_epochs(
    scene: Scene, epochs: Sequence[int], tiers: Sequence[int], columns: Sequence[str]
) -> Floats:
    total = np.zeros(STATISTICS_BUCKETS)
    for epoch in epochs:
        total += scene.book.sums_by_tier(epoch, tiers, CONTROL, LIVE, columns)
    return total


def compare(scene: Scene, metric: Metric) -> ratio.Difference | None:
    """The metric's difference over all epochs of this candidate, with CUPED where shadow has data."""
    epochs = scene.live_epochs()
    return ratio.difference(
        strata(scene, metric, epochs), binary=metric.binary, pre=before(scene, metric, epochs)
    )


MIN_SETTLED: Final = 30
"""Units of each arm below which users who are settled say nothing by themselves."""


def settled(scene: Scene, metric: Metric) -> ratio.Difference | None:
    """The same difference among users who had the candidate for `timing.settled_after` and longer.

    Tiers are random parts of all users, so those that came in early enough before an epoch began
    are compared with the control of that epoch. None without enough of them.
    """
    top, per = _columns(metric)
    rows: list[Stratum] = []
    for epoch in scene.live_epochs():
        tiers = _settled_tiers(scene, epoch)
        if tiers:
            whole = stratum(scene, epoch, top, per)
            n, y = (
                scene.book.sums_by_tier(epoch, tiers, CANDIDATE, LIVE, columns)
                for columns in (per, top)
            )
            rows.append(Stratum(n, y, whole.control_n, whole.control_y))
    d = ratio.difference(rows, binary=metric.binary)
    return d if d is not None and min(d.candidate_n, d.control_n) >= MIN_SETTLED else None


def _settled_tiers(scene: Scene, epoch: int) -> list[int]:
    """The tiers whose users had had the candidate long enough when the epoch began."""
    stays = scene.rollout.stays
    last = next(i for i, stay in enumerate(stays) if stay.epoch == epoch)
    latest = stays[last].at - scene.playbook.timing.settled_after
    found: list[int] = []
    for tier, buckets in enumerate(scene.playbook.tiers()):
        first = last + 1
        while first > 0 and round(stays[first - 1].share * 100) >= buckets:
            first -= 1
        if first <= last and stays[first].at <= latest:
            found.append(tier)
    return found


def exposures(rows: Sequence[Stratum]) -> list[exposure.Exposure]:
    """Events and exposure of both arms, a row for each stratum."""
    return [
        exposure.Exposure(
            candidate_events=float(row.candidate_y.sum()),
            candidate=float(row.candidate_n.sum()),
            control_events=float(row.control_y.sum()),
            control=float(row.control_n.sum()),
        )
        for row in rows
    ]
