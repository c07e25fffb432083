"""Both arms' sums of a metric, stratified by epoch: what gates compare."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import numpy as np

from molt.core.assignment import CANDIDATE, CONTROL, STATISTICS_BUCKETS
from molt.core.book import Floats
from molt.core.evidence import CONVERSATIONS, LIVE, REQUESTS, value
from molt.core.playbook import Metric
from molt.core.scene import Scene
from molt.core.stats import exposure, ratio
from molt.core.stats.inferiority import Inferiority, inferiority
from molt.core.stats.ratio import Strata, Stratum

T = TypeVar("T")


def _columns(metric: Metric) -> tuple[list[str], list[str]]:
    builtin = {"requests": REQUESTS, "conversations": CONVERSATIONS}
    top = value(metric.of) if metric.value else builtin.get(metric.of, metric.of)
    return [top], [builtin.get(per, per) for per in metric.per]


def stratum(scene: Scene, epoch: int, top: Sequence[str], per: Sequence[str]) -> Stratum:
    """One epoch's sums of `top` and `per` on both arms."""
    return _each(scene, [epoch], top, per)[0]


def _each(
    scene: Scene,
    epochs: Sequence[int],
    top: Sequence[str],
    per: Sequence[str],
    agent: str | None = None,
) -> list[Stratum]:
    book = scene.book

    def made(epoch: int) -> Stratum:
        sums = (
            book.sums(epoch, arm, LIVE, columns)
            if agent is None
            else book.sums_of_agent(agent, epoch, arm, LIVE, columns)
            for arm in (CANDIDATE, CONTROL)
            for columns in (per, top)
        )
        return Stratum(*sums)

    key = ("stratum", *top, *per, agent)
    return book.derived_each(key, epochs, [*top, *per], made)


def strata(scene: Scene, metric: Metric, *, agent: str | None = None) -> Strata:
    """The metric's sums in every epoch in which both arms served, of one agent type if given.

    Good until the next look, which renews it.
    """
    top, per = _columns(metric)
    key, epochs = ("strata", *top, *per, agent), scene.live_epochs()

    def made() -> Strata:
        return _rows(scene, key).renew(_each(scene, epochs, top, per, agent))

    return scene.book.derived(key, epochs, [*top, *per], made)


def _rows(scene: Scene, key: tuple[object, ...]) -> Strata:
    """Strata that are kept from look to look, to be renewed."""
    return scene.book.derived(("rows", *key), (), (), Strata)


def before(scene: Scene, metric: Metric) -> Strata:
    """The same users' sums from shadow, split as each epoch splits them: for CUPED."""
    top, per = _columns(metric)
    epochs, stays = scene.live_epochs(), scene.rollout.stays
    shadow = [s.epoch for s in stays if s.phase == "shadow"]

    def made() -> Strata:
        shares = {s.epoch: round(s.share * 100) for s in stays}
        tiers = scene.playbook.tiers()
        rows: list[Stratum] = []
        for epoch in epochs:
            inside = [i for i, t in enumerate(tiers) if t <= shares[epoch]]
            outside = [i for i in range(len(tiers) + 1) if i not in inside]
            sums = [
                _over_epochs(scene, shadow, group, columns)
                for group in (inside, outside)
                for columns in (per, top)
            ]
            rows.append(Stratum(*sums))
        return Strata(rows)

    key = ("before", len(stays), *epochs, *top, *per)
    return scene.book.derived(key, shadow, [*top, *per], made)


def _over_epochs(
    scene: Scene, epochs: Sequence[int], tiers: Sequence[int], columns: Sequence[str]
) -> Floats:
    total = np.zeros(STATISTICS_BUCKETS)
    for epoch in epochs:
        total += scene.book.sums_by_tier(epoch, tiers, CONTROL, LIVE, columns)
    return total


def compare(scene: Scene, metric: Metric) -> ratio.Difference | None:
    """The metric's difference over all epochs of this candidate, with CUPED where shadow has data."""

    def made() -> ratio.Difference | None:
        rows, pre = strata(scene, metric), before(scene, metric)
        return ratio.difference(rows, binary=metric.binary, pre=pre)

    return _kept(scene, metric, ("compare",), made)


def judge(scene: Scene, metric: Metric, margin: float) -> Inferiority | None:
    """Evidence that the metric is worse at all, and that it is not worse by the margin."""

    def made() -> Inferiority | None:
        return inferiority(
            strata(scene, metric),
            margin=margin,
            higher_is_better=metric.better == "higher",
            binary=metric.binary,
            pre=before(scene, metric),
        )

    return _kept(scene, metric, ("judge", margin, metric.better), made)


def _kept(scene: Scene, metric: Metric, what: tuple[object, ...], make: Callable[[], T]) -> T:
    """What `make` gives of a metric over all epochs, until its sums in one of them change."""
    top, per = _columns(metric)
    epochs, stays = scene.live_epochs(), scene.rollout.stays
    seen = [*epochs, *(s.epoch for s in stays if s.phase == "shadow")]
    key = (*what, metric.binary, len(stays), *top, *per)
    return scene.book.derived(key, seen, [*top, *per], make)


MIN_SETTLED: Final = 30
"""Units of each arm below which users who are settled say nothing by themselves."""


def settled(scene: Scene, metric: Metric) -> ratio.Difference | None:
    """The same difference among users who had the candidate for `timing.settled_after` and longer.

    Tiers are random parts of all users, so those that came in early enough before an epoch began
    are compared with the control of that epoch. None without enough of them.
    """

    d = ratio.difference(_settled(scene, metric), binary=metric.binary)
    return d if d is not None and min(d.candidate_n, d.control_n) >= MIN_SETTLED else None


def settled_averages(scene: Scene, metric: Metric) -> ratio.Averages | None:
    """`settled` without its variance: what a gate asks for at every look."""

    def made() -> ratio.Averages | None:
        d = ratio.averages(_settled(scene, metric))
        return d if d is not None and min(d.candidate_n, d.control_n) >= MIN_SETTLED else None

    return _kept(scene, metric, ("settled users",), made)


def _settled(scene: Scene, metric: Metric) -> list[Stratum]:
    """Settled users against the control of each epoch in which there can be some."""
    (top, per), book = _columns(metric), scene.book

    def tiers_in(epoch: int) -> list[int]:
        return _settled_tiers(scene, epoch)

    def made(epoch: int) -> Stratum | None:
        (tiers,) = book.derived_each("settled tiers", [epoch], (), tiers_in)
        if not tiers:
            return None
        n, y = (book.sums_by_tier(epoch, tiers, CANDIDATE, LIVE, columns) for columns in (per, top))
        whole = stratum(scene, epoch, top, per)
        return Stratum(n, y, whole.control_n, whole.control_y)

    key, epochs = ("settled", *top, *per), scene.live_epochs()
    found = book.derived_each(key, epochs, [*top, *per], made)
    return [row for row in found if row is not None]


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
