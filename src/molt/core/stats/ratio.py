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
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from molt.core.stats.special import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Stratum:
    """One step's sums per bucket of both arms: four arrays of one length."""

    candidate_n: Floats
    candidate_y: Floats
    control_n: Floats
    control_y: Floats

    def comparable(self) -> bool:
        """Whether both arms hold data."""
        return bool(self.candidate_n.sum() > 0 and self.control_n.sum() > 0)


@dataclass(frozen=True, slots=True)
class Difference:
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
    used = [i for i, s in enumerate(strata) if s.comparable()]
    if not used:
        return None
    buckets = int(np.count_nonzero(sum(strata[i].candidate_n for i in used)))
    if buckets < 2:
        return None
    main = _parts([strata[i] for i in used], _weights([strata[i] for i in used]))
    before = [pre[i] for i in used] if pre is not None and buckets > 2 else []
    cuped = _parts(before, [p.weight for p in main[: len(before)]])
    theta = _theta(main, cuped)
    adjusted = _adjust(main, cuped, theta)
    plain, clustered = _squares(main), _squares(adjusted)
    kept = clustered / plain if theta else 1.0
    spread = max(_pooled_variance(adjusted), kept * _binomial_variance(main) if binary else 0.0)
    return Difference(
        estimate=math.fsum(p.weight * p.difference for p in adjusted),
        variance=max(buckets / (buckets - (2 if theta else 1)) * clustered, spread),
        candidate=math.fsum(p.weight * p.candidate_mean for p in main),
        control=math.fsum(p.weight * p.control_mean for p in main),
        candidate_n=math.fsum(p.a for p in main),
        control_n=math.fsum(p.c for p in main),
        buckets=buckets,
        variance_kept=kept,
    )


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


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One stratum's contrast: both means and each arm's bucket scores, (y - R n) / total of n.

    `index` tells which stratum, `weight` is its share of the whole (all weights sum to 1).
    """

    index: int
    weight: float
    a: float
    c: float
    candidate_mean: float
    control_mean: float
    difference: float
    candidate: Floats
    control: Floats

    def minus(self, other: "_Part | None", theta: float) -> "_Part":
        """This contrast less `theta` times the one of the shadow period, where there is one."""
        if other is None:
            return self
        return replace(
            self,
            difference=self.difference - theta * other.difference,
            candidate=self.candidate - theta * other.candidate,
            control=self.control - theta * other.control,
        )


def _weights(strata: Sequence[Stratum]) -> list[float]:
    sizes = [(float(s.candidate_n.sum()), float(s.control_n.sum())) for s in strata]
    raw = [a * c / (a + c) for a, c in sizes]
    total = math.fsum(raw)
    return [w / total for w in raw]


def _parts(strata: Sequence[Stratum], weights: Sequence[float]) -> list[_Part]:
    """The contrasts of the strata that hold both arms."""
    parts: list[_Part] = []
    for index, (s, weight) in enumerate(zip(strata, weights, strict=True)):
        if not s.comparable():
            continue
        a, c = float(s.candidate_n.sum()), float(s.control_n.sum())
        r_t, r_c = float(s.candidate_y.sum()) / a, float(s.control_y.sum()) / c
        candidate = (s.candidate_y - r_t * s.candidate_n) / a
        control = (s.control_y - r_c * s.control_n) / c
        parts.append(_Part(index, weight, a, c, r_t, r_c, r_t - r_c, candidate, control))
    return parts


def _scores(parts: Sequence[_Part]) -> Floats:
    """Each bucket's pull on the estimate, over all strata."""
    total = np.zeros_like(parts[0].candidate)
    for p in parts:
        total = total + p.weight * (p.candidate - p.control)
    return total


def _squares(parts: Sequence[_Part]) -> float:
    scores = _scores(parts)
    return float(scores @ scores)


def _theta(main: Sequence[_Part], pre: Sequence[_Part]) -> float:
    """CUPED's coefficient sum(u v) / sum(v^2), clipped to [0, 1] against chance in small samples."""
    if not pre:
        return 0.0
    u, v = _scores(main), _scores(pre)
    power = float(v @ v)
    if power <= 0 or float(u @ u) <= 0:
        return 0.0
    return min(1.0, max(0.0, float(u @ v) / power))


def _adjust(main: Sequence[_Part], pre: Sequence[_Part], theta: float) -> list[_Part]:
    """CUPED: less `theta` times the pre-period contrast, which is 0 on average."""
    before = {p.index: p for p in pre}
    return [p.minus(before.get(p.index), theta) for p in main]


def _pooled_variance(parts: Sequence[_Part]) -> float:
    """The variance if a unit of `n` scatters alike in both arms, users' clusters included.

    Per stratum (sum of both arms' squared residuals) / (a + c) x (1/a + 1/c), as in Student's
    two-sample test, with bucket totals as the residuals.
    """
    variance = 0.0
    for p in parts:
        a, c = p.a, p.c
        squares = a * a * float(p.candidate @ p.candidate) + c * c * float(p.control @ p.control)
        variance += p.weight**2 * squares / (a * c)
    return variance


def _binomial_variance(parts: Sequence[_Part]) -> float:
    """The variance of independent yes-or-no units at both arms' pooled rate.

    Pooled as in a score test (Farrington and Manning 1990), with half an event added to either
    outcome, so that it is never 0.
    """
    variance = 0.0
    for p in parts:
        a, c = p.a, p.c
        rate = (a * p.candidate_mean + c * p.control_mean + 0.5) / (a + c + 1.0)
        rate = min(1.0, max(0.0, rate))
        variance += p.weight**2 * rate * (1.0 - rate) * (1.0 / a + 1.0 / c)
    return variance
