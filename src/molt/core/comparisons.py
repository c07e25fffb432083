"""Both arms' sums of a metric, stratified by epoch: what gates compare."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Final, TypeVar

import numpy as np

from molt.core.assignment import CANDIDATE, CONTROL, STATISTICS_BUCKETS, tier_of
from molt.core.book import Floats
from molt.core.evidence import CONVERSATIONS, LIVE, REQUESTS, value
from molt.core.playbook import CONVERSATIONS_UNIT, REQUESTS_UNIT, Metric
from molt.core.scene import Scene
from molt.core.stats import exposure, ratio
from molt.core.stats.inferiority import Case, Inferiority, inferiorities
from molt.core.stats.strata import Row, Strata, Stratum, renew, row_of

T = TypeVar("T")


BUILT_IN: Final = {REQUESTS_UNIT: REQUESTS, CONVERSATIONS_UNIT: CONVERSATIONS}


def _columns(metric: Metric) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of a metric's numerator and denominator."""
    return _columns_of(metric.of, metric.per, metric.value)


@cache
def _columns_of(
    of: str, per: tuple[str, ...], values: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    top = value(of) if values else BUILT_IN.get(of, of)
    return (top,), tuple(BUILT_IN.get(unit, unit) for unit in per)


def stratum(scene: Scene, epoch: int, top: tuple[str, ...], per: tuple[str, ...]) -> Stratum:
    """One epoch's sums of `top` and `per` on both arms."""
    return _each(scene, [epoch], top, per)[0]


def _each(
    scene: Scene,
    epochs: Sequence[int],
    top: tuple[str, ...],
    per: tuple[str, ...],
    agent: str | None = None,
) -> list[Stratum]:
    book = scene.book

    read = book.sums if agent is None else partial(book.sums_of_agent, agent)

    def made(epoch: int) -> Stratum:
        return Stratum(
            read(epoch, CANDIDATE, LIVE, per),
            read(epoch, CANDIDATE, LIVE, top),
            read(epoch, CONTROL, LIVE, per),
            read(epoch, CONTROL, LIVE, top),
        )

    key = ("stratum", top, per, agent)
    return book.derived_each(key, epochs, (*top, *per), made)


def strata(scene: Scene, metric: Metric, *, agent: str | None = None) -> Strata:
    """The metric's sums in every epoch in which both arms served, of one agent type if given.

    Good until the next look, which renews it.
    """
    return _strata_each(scene, [metric], agent=agent)[0]


def _strata_each(
    scene: Scene, metrics: Sequence[Metric], *, agent: str | None = None
) -> list[Strata]:
    epochs, tables = scene.live_epochs(), list[Strata]()
    strata = list[list[Stratum]]()
    for top, per in map(_columns, metrics):
        key = ("strata", top, per, agent)
        tables.append(scene.book.derived_of(key, None, Strata))  # kept from look to look
        strata.append(_each(scene, epochs, top, per, agent))
    renew(zip(tables, strata, strict=True))
    return tables


def before(scene: Scene, metric: Metric) -> Strata:
    """The same users' sums from shadow, split as each epoch splits them: for CUPED."""
    top, per = _columns(metric)
    epochs, shadow = scene.live_epochs(), scene.shadow_epochs()

    def made() -> Strata:
        stays = scene.rollout.stays
        shares = {s.epoch: round(s.share * 100) for s in stays}
        tiers = scene.playbook.tiers()
        rows: list[Stratum] = []
        for epoch in epochs:
            edge = tier_of(tiers, shares[epoch])
            sums = [
                _over_epochs(scene, shadow, group, columns)
                for group in (slice(edge), slice(edge, None))
                for columns in (per, top)
            ]
            rows.append(Stratum(*sums))
        return Strata(rows)

    rollout = scene.rollout
    key = ("before", len(rollout.stays), rollout.evidence_epoch, top, per)
    return scene.book.derived(key, shadow, (*top, *per), made)


def _over_epochs(
    scene: Scene, epochs: Sequence[int], tiers: slice, columns: Sequence[str]
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


def judge(scene: Scene, asked: Sequence[tuple[Metric, float]]) -> list[Inferiority | None]:
    """Evidence that each metric is worse at all, and that it is not worse by its margin.

    All that have something new are reckoned together.
    """

    def made(places: list[int]) -> list[Inferiority | None]:
        metrics = [asked[i][0] for i in places]
        tables = _strata_each(scene, metrics)
        return inferiorities(
            [
                Case(rows, asked[i][1], m.better == "higher", m.binary, before(scene, m))
                for i, m, rows in zip(places, metrics, tables, strict=True)
            ]
        )

    wanted = [_place(scene, metric, ("judge", margin, metric.better)) for metric, margin in asked]
    return scene.book.derived_all(wanted, made)


def _kept(scene: Scene, metric: Metric, what: tuple[object, ...], make: Callable[[], T]) -> T:
    """What `make` gives of a metric over all epochs, until its sums in one of them change."""
    return scene.book.derived(*_place(scene, metric, what), make)


def _place(
    scene: Scene, metric: Metric, what: tuple[object, ...]
) -> tuple[tuple[object, ...], Sequence[int], Sequence[str]]:
    """Where the book keeps it: key, epochs, columns."""
    top, per = _columns(metric)
    key = (*what, metric.binary, len(scene.rollout.stays), top, per)
    return key, scene.compared_epochs(), (*top, *per)


MIN_SETTLED: Final = 30
"""Units of each arm below which users who are settled say nothing by themselves."""


def settled(scene: Scene, metric: Metric) -> ratio.Difference | None:
    """The same difference among users who had the candidate for `timing.settled_after` and longer.

    Tiers are random parts of all users, so those that came in early enough before an epoch began
    are compared with the control of that epoch. None without enough of them.
    """

    def made() -> ratio.Difference | None:
        d = ratio.difference(_settled(scene, metric), binary=metric.binary)
        return d if d is not None and min(d.candidate_n, d.control_n) >= MIN_SETTLED else None

    return _kept(scene, metric, ("settled",), made)


def settled_averages(scene: Scene, metric: Metric) -> ratio.Averages | None:
    """`settled` without its variance: what a gate asks for at every look.

    It may have a figure where `settled` has none, since all data lie in one statistics bucket.
    """
    (top, per), book = _columns(metric), scene.book

    def row(epoch: int) -> Row | None:
        if (tiers := _tiers_in(scene, epoch)) is None:
            return None
        a = book.total_by_tier(epoch, tiers, CANDIDATE, LIVE, per)
        mine = book.total_by_tier(epoch, tiers, CANDIDATE, LIVE, top)
        c, others = stratum(scene, epoch, top, per).control
        return row_of(a, c, mine / a, others / c) if a > 0 and c > 0 else None

    def made() -> ratio.Averages | None:
        key = ("settled totals", top, per)
        rows = book.derived_each(key, scene.live_epochs(), (*top, *per), row)
        d = ratio.averages([one for one in rows if one is not None])
        return d if d is not None and min(d.candidate_n, d.control_n) >= MIN_SETTLED else None

    return _kept(scene, metric, ("settled averages",), made)


def _settled(scene: Scene, metric: Metric) -> list[Stratum]:
    """Settled users against the control of each epoch in which there can be some."""
    (top, per), book, found = _columns(metric), scene.book, list[Stratum]()
    for epoch in scene.live_epochs():
        if tiers := _tiers_in(scene, epoch):
            n, y = (book.sums_by_tier(epoch, tiers, CANDIDATE, LIVE, c) for c in (per, top))
            whole = stratum(scene, epoch, top, per)
            found.append(Stratum(n, y, whole.control_n, whole.control_y))
    return found


def _tiers_in(scene: Scene, epoch: int) -> slice | None:
    """The tiers whose users were settled in that epoch, if any; known once for each."""
    key, stays = ("settled tiers", epoch), scene.rollout.stays
    return scene.book.derived_of(key, stays, lambda: _settled_tiers(scene, epoch))


def _settled_tiers(scene: Scene, epoch: int) -> slice | None:
    """The tiers whose users had had the candidate long enough when the epoch began.

    They are the first ones: whoever is in a later tier came in no sooner.
    """
    stays = scene.rollout.stays
    last = next(i for i, stay in enumerate(stays) if stay.epoch == epoch)
    latest = stays[last].at - scene.playbook.timing.settled_after
    settled = 0
    for buckets in scene.playbook.tiers():
        first = last + 1
        while first > 0 and round(stays[first - 1].share * 100) >= buckets:
            first -= 1
        settled += first <= last and stays[first].at <= latest
    return slice(settled) if settled else None


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
