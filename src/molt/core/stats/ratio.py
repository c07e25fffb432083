"""Engine A: the difference of two ratios, clustered by user and stratified by step.

Every subject falls in one of 256 statistics buckets. Kept per metric, arm, stratum and bucket are
two sums: the denominator `n` (attempts, requests, users) and the numerator `y`. They merge by
addition, and the sum over buckets of squared scores is the variance, whatever the correlation of
one user's requests within and across steps.

The variance is the delta method for ratios over clusters (Deng, Knoblich and Lu 2018, eq. 3);
control variates from before the exposure are CUPED (Deng, Xu, Kohavi and Walker 2013).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Final, NamedTuple

import numpy as np

from molt.core.stats.special import Floats
from molt.core.stats.strata import Row, Strata, Stratum, shares, spread


class Difference(NamedTuple):
    """Candidate minus control, in the metric's own unit.

    `candidate` and `control` are the arms' ratios, weighted like `estimate` (without CUPED).
    `buckets` is how many hold candidate data. `variance_kept` is the share of the clustered
    variance that is left after CUPED: 1 without a shadow period.
    """

    estimate: float
    variance: float
    candidate: float
    control: float
    candidate_n: float
    control_n: float
    buckets: int
    variance_kept: float = 1.0

    @property
    def se(self) -> float:
        """The standard error."""
        return math.sqrt(self.variance)

    @property
    def relative(self) -> float | None:
        """The difference as a share of control's ratio; None when that is 0."""
        return self.estimate / abs(self.control) if self.control else None


class Averages(NamedTuple):
    """A `Difference` without its variance."""

    estimate: float
    control: float
    candidate_n: float
    control_n: float

    @property
    def relative(self) -> float | None:
        """The difference as a share of control's ratio; None when that is 0."""
        return self.estimate / abs(self.control) if self.control else None


@dataclass(frozen=True, slots=True)
class Mean:
    """One arm's `y` per `n`, with the variance of that estimate."""

    estimate: float
    variance: float
    n: float
    buckets: int


def difference(
    strata: Sequence[Stratum], *, binary: bool = False, pre: Sequence[Stratum] | None = None
) -> Difference | None:
    """Candidate's ratio minus control's, averaged over strata with weights ac / (a + c).

    A stratum with an empty arm says nothing about a difference and is left out; None when none is
    left, or when fewer than two buckets hold candidate data, since no variance can be told then.
    `binary` says that each unit of `n` holds at most one of `y`, which bounds the variance below.
    `pre` has one stratum for each of `strata`: what the same subjects did in the shadow period,
    split into the same arms (CUPED); where it lacks an arm it is left out.

    Variance: the greater of the clustered one, m / (m - 1) x sum of squared bucket scores, and of
    the one that both arms' pooled spread implies. Without the latter, three candidate users who
    happen to agree would have no variance, and their difference would count as certain.
    """
    rows, shadow = Strata.of(strata), Strata.of(pre or ())
    buckets = max(rows.buckets(), default=0)
    if buckets < 2:
        return None
    columns = rows.columns
    weights = shares(columns.weight)
    # CUPED takes two degrees of freedom; where the shadow period lacks an arm, it is left out.
    paired = [i for i in rows.used if shadow.holds(i)] if shadow.used and buckets > 2 else []
    u, v, theta = rows.pull(weights, rows.used), shadow.pull(weights, paired), 0.0
    if len(v):
        theta = _theta(u, v)
    clustered, kept = float(u @ u), 1.0
    if theta:
        adjusted, plain = u - theta * v, clustered
        clustered = float(adjusted @ adjusted)
        kept = clustered / plain
    squares = [w**2 for w in weights]
    lifts, spreads = columns.difference, columns.spread
    if theta:
        lifts, spreads = _adjusted(rows, shadow, paired, theta)
    binomial = math.fsum(map(mul, squares, columns.binomial)) if binary else 0.0
    return Difference(
        estimate=math.fsum(map(mul, weights, lifts)),
        variance=max(
            buckets / (buckets - (2 if theta else 1)) * clustered,
            math.fsum(map(mul, squares, spreads)),
            kept * binomial,
        ),
        candidate=math.fsum(map(mul, weights, columns.candidate_mean)),
        control=math.fsum(map(mul, weights, columns.control_mean)),
        candidate_n=sum(columns.a),
        control_n=sum(columns.c),
        buckets=buckets,
        variance_kept=kept,
    )


def averages(strata: Sequence[Row]) -> Averages | None:
    """The same figures as `difference` has (without CUPED), where nobody asks how sure they are.

    None without strata; in how many buckets the data lie is for the caller to know.
    """
    if not strata:
        return None
    weight, lifts, _, control, a, c, *_ = zip(*strata, strict=True)
    weights = shares(weight)
    return Averages(
        estimate=math.fsum(map(mul, weights, lifts)),
        control=math.fsum(map(mul, weights, control)),
        candidate_n=sum(a),
        control_n=sum(c),
    )


class Restarts(NamedTuple):
    """`difference` (without CUPED) of several metrics' strata from the second on, from the third on
    and so on to the last: arrays with a row for each metric. `buckets` below 2 says that there is
    none; the other figures mean nothing then."""

    estimates: Floats
    variances: Floats
    candidate_ns: Floats
    control_ns: Floats
    buckets: Floats


def restarts(tables: Sequence[Strata], binary: Sequence[bool]) -> Restarts:
    """All of them at once, from sums that run backwards over the strata, of which all have as many.

    `binary` says of each what it says of `difference`.
    """
    size = tables[0].size
    sums = np.concatenate([table.behind[:, None] for table in tables], axis=1)
    for i in range(len(sums) - 2, 0, -1):
        np.add(sums[i + 1], sums[i], out=sums[i])
    scores, rest = sums[1:, :, :size], sums[1:, :, size:]
    clustered = np.einsum("ikj,ikj->ki", scores, scores)
    w, lifts, _, _, a, c, pooled, least = rest.transpose(2, 1, 0)
    buckets = np.array([table.buckets()[1:] for table in tables], dtype=np.float64)
    enough = np.maximum(buckets, 2.0)
    floor = np.maximum(enough / (enough - 1) * clustered, pooled)
    floor = np.maximum(floor, least * np.array(binary)[:, None])
    whole = np.where(w > 0, w, 1.0)
    return Restarts(lifts / whole, floor / (whole * whole), a, c, buckets)


SMALLEST_SPREAD: Final = 0.25
"""A unit's value scatters by at least this share of the mean, whatever a small sample shows."""


def mean(n: Floats, y: Floats) -> Mean | None:
    """One arm's `y` per `n`, clustered in buckets; None without data or with a single bucket.

    The variance is at least that of independent units with a coefficient of variation of 25%:
    equal values so far are no proof that the next one is equal too.
    """
    return stratified_mean([(n, y)])


def stratified_mean(
    strata: Sequence[tuple[Floats, Floats]], volumes: Sequence[float] | None = None
) -> Mean | None:
    """The same over strata of sums `(n, y)`, averaged with weights `volumes`.

    `volumes` is how many units of `n` all subjects together had in each stratum, so that the mean
    foretells what everybody on this arm would have made; left out, the arm's own units weigh.
    """
    sizes = [float(n.sum()) for n, _ in strata] if volumes is None else list(volumes)
    used = [(n, y, v) for (n, y), v in zip(strata, sizes, strict=True) if n.sum() > 0 and v > 0]
    buckets = int(np.count_nonzero(sum(n for n, _, _ in used))) if used else 0
    if buckets < 2:
        return None
    total = math.fsum(v for _, _, v in used)
    estimate, scores, floor = 0.0, np.zeros_like(used[0][0]), 0.0
    for n, y, volume in used:
        size, weight = float(n.sum()), volume / total
        rate = float(y.sum()) / size
        estimate += weight * rate
        scores = scores + weight * (y - rate * n) / size
        floor += weight**2 * (SMALLEST_SPREAD * rate) ** 2 / size
    clustered = buckets / (buckets - 1) * float(scores @ scores)
    units = math.fsum(float(n.sum()) for n, _, _ in used)
    return Mean(estimate, max(clustered, floor), units, buckets)


def _adjusted(
    rows: Strata, shadow: Strata, paired: Sequence[int], theta: float
) -> tuple[list[float], list[float]]:
    """Differences and pooled spreads, less `theta` times those of shadow, which are 0 on average."""
    columns, before = rows.columns, shadow.columns
    lifts, spreads = columns.difference.copy(), columns.spread.copy()
    for i in paired:
        lifts[i] -= theta * before.difference[i]
        ours, theirs = rows.arms[i] - theta * shadow.arms[i]
        spreads[i] = spread(columns.a[i], columns.c[i], float(ours @ ours), float(theirs @ theirs))
    return lifts, spreads


def _theta(u: Floats, v: Floats) -> float:
    """CUPED's coefficient sum(u v) / sum(v^2), clipped to [0, 1] against chance in small samples."""
    power = float(v @ v)
    if power <= 0 or float(u @ u) <= 0:
        return 0.0
    return min(1.0, max(0.0, float(u @ v) / power))
