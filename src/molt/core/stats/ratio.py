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
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from molt.core.stats.special import Floats


@dataclass(frozen=True, eq=False)
class Stratum:
    """One step's sums per bucket of both arms: four arrays of one length, not to be changed."""

    candidate_n: Floats
    candidate_y: Floats
    control_n: Floats
    control_y: Floats

    def comparable(self) -> bool:
        """Whether both arms hold data."""
        return self.contrast is not None

    @cached_property
    def contrast(self) -> "Contrast | None":
        """What the stratum says by itself; None where an arm is empty. Reckoned once."""
        a, c = float(self.candidate_n.sum()), float(self.control_n.sum())
        if not (a > 0 and c > 0):
            return None
        r_t, r_c = float(self.candidate_y.sum()) / a, float(self.control_y.sum()) / c
        candidate = (self.candidate_y - r_t * self.candidate_n) / a
        control = (self.control_y - r_c * self.control_n) / c
        return Contrast(a, c, r_t, r_c, candidate, control, candidate - control)


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
    rows = [(i, s.contrast) for i, s in enumerate(strata) if s.contrast is not None]
    buckets = _buckets([strata[i] for i, _ in rows])
    if buckets < 2:
        return None
    whole = math.fsum(c.weight for _, c in rows)
    parts = [_Part(c.weight / whole, c, _before(pre, i, buckets)) for i, c in rows]
    u = _scores([(p.weight, p.main) for p in parts])
    v = _scores([(p.weight, p.pre) for p in parts if p.pre is not None])
    theta = _theta(u, v)
    adjusted = u - theta * v if theta else u
    plain, clustered = float(u @ u), float(adjusted @ adjusted)
    kept = clustered / plain if theta else 1.0
    pooled = math.fsum(p.weight**2 * p.spread(theta) for p in parts)
    binomial = math.fsum(p.weight**2 * p.main.binomial for p in parts) if binary else 0.0
    return Difference(
        estimate=math.fsum(p.weight * p.difference(theta) for p in parts),
        variance=max(
            buckets / (buckets - (2 if theta else 1)) * clustered, pooled, kept * binomial
        ),
        candidate=math.fsum(p.weight * p.main.candidate_mean for p in parts),
        control=math.fsum(p.weight * p.main.control_mean for p in parts),
        candidate_n=math.fsum(p.main.a for p in parts),
        control_n=math.fsum(p.main.c for p in parts),
        buckets=buckets,
        variance_kept=kept,
    )


def restarts(strata: Sequence[Stratum], *, binary: bool = False) -> list[Difference | None]:
    """`difference` of `strata[1:]`, `strata[2:]` and so on to the last one, all at once.

    The same figures (without CUPED) from sums that run backwards over the strata.
    """
    if len(strata) < 2:
        return []
    size = len(strata[0].candidate_n)
    rows = [s.contrast or Contrast.empty(size) for s in strata]
    table = np.array(
        [(c.weight, c.difference, c.candidate_mean, c.control_mean, c.a, c.c) for c in rows]
    )
    weight = table[:, 0]
    squared = weight * weight
    spreads = np.array([(c.spread, c.binomial if binary else 0.0) for c in rows])
    sums = _backwards(
        np.column_stack((table[:, :1], weight[:, None] * table[:, 1:4], table[:, 4:]))
    )
    floors = _backwards(squared[:, None] * spreads)
    scores = _backwards(weight[:, None] * np.stack([c.score for c in rows]))
    clustered = np.einsum("ij,ij->i", scores, scores)
    held = np.stack([s.candidate_n > 0 if s.contrast else _NONE[:size] for s in strata])
    buckets = np.logical_or.accumulate(held[::-1])[::-1].sum(axis=1)
    found: list[Difference | None] = []
    for (w, d, t, q, a, c), (pooled, least), square, m in zip(
        sums.tolist(), floors.tolist(), clustered.tolist(), buckets.tolist(), strict=True
    ):
        if m < 2:
            found.append(None)
            continue
        variance = max(m / (m - 1) * square, pooled, least) / (w * w)
        found.append(Difference(d / w, variance, t / w, q / w, a, c, m))
    return found[1:]


_NONE: Final = np.zeros(4096, np.bool_)


def _backwards(rows: Floats) -> Floats:
    """Sums of each row and all behind it."""
    return np.cumsum(rows[::-1], axis=0)[::-1]


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


@dataclass(frozen=True, eq=False)
class Contrast:
    """Both arms' totals of n (`a`, `c`) and means, and each bucket's scores (y - R n) / total of n."""

    a: float
    c: float
    candidate_mean: float
    control_mean: float
    candidate: Floats
    control: Floats
    score: Floats

    @classmethod
    def empty(cls, size: int) -> "Contrast":
        """One that weighs nothing."""
        nothing = np.zeros(size)
        return cls(0.0, 0.0, 0.0, 0.0, nothing, nothing, nothing)

    @property
    def difference(self) -> float:
        """Candidate's mean less control's."""
        return self.candidate_mean - self.control_mean

    @cached_property
    def weight(self) -> float:
        """ac / (a + c); not normalised."""
        return self.a * self.c / (self.a + self.c) if self.a else 0.0

    @cached_property
    def spread(self) -> float:
        """The variance if a unit of `n` scatters alike in both arms, users' clusters included.

        (Sum of both arms' squared residuals) / (a + c) x (1/a + 1/c), as in Student's two-sample
        test, with bucket totals as the residuals.
        """
        return _spread(self.a, self.c, self.candidate, self.control)

    @cached_property
    def binomial(self) -> float:
        """The variance of independent yes-or-no units at both arms' pooled rate.

        Pooled as in a score test (Farrington and Manning 1990), with half an event added to either
        outcome, so that it is never 0.
        """
        a, c = self.a, self.c
        if not a:
            return 0.0
        rate = (a * self.candidate_mean + c * self.control_mean + 0.5) / (a + c + 1.0)
        rate = min(1.0, max(0.0, rate))
        return rate * (1.0 - rate) * (1.0 / a + 1.0 / c)


class _Part(NamedTuple):
    """A stratum's share of the whole (all weights sum to 1), its contrast, and that of shadow."""

    weight: float
    main: Contrast
    pre: Contrast | None

    def difference(self, theta: float) -> float:
        """CUPED: less `theta` times the pre-period contrast, which is 0 on average."""
        return self.main.difference - (theta * self.pre.difference if self.pre else 0.0)

    def spread(self, theta: float) -> float:
        """The pooled spread of what is left by CUPED."""
        if self.pre is None or not theta:
            return self.main.spread
        candidate = self.main.candidate - theta * self.pre.candidate
        control = self.main.control - theta * self.pre.control
        return _spread(self.main.a, self.main.c, candidate, control)


def _spread(a: float, c: float, candidate: Floats, control: Floats) -> float:
    if not a:
        return 0.0
    return (a * a * float(candidate @ candidate) + c * c * float(control @ control)) / (a * c)


def _buckets(strata: Sequence[Stratum]) -> int:
    """How many buckets hold candidate data."""
    if not strata:
        return 0
    held = strata[0].candidate_n > 0
    for s in strata[1:]:
        held = held | (s.candidate_n > 0)
    return int(np.count_nonzero(held))


def _before(pre: Sequence[Stratum] | None, index: int, buckets: int) -> Contrast | None:
    """The shadow period's contrast of a stratum, where there is one that can be used."""
    return pre[index].contrast if pre is not None and buckets > 2 else None


def _scores(parts: Sequence[tuple[float, Contrast]]) -> Floats:
    """Each bucket's pull on the estimate, over all strata; one zero without any."""
    if not parts:
        return np.zeros(1)
    return np.array([w for w, _ in parts]) @ np.stack([c.score for _, c in parts])


def _theta(u: Floats, v: Floats) -> float:
    """CUPED's coefficient sum(u v) / sum(v^2), clipped to [0, 1] against chance in small samples."""
    power = float(v @ v)
    if power <= 0 or float(u @ u) <= 0:
        return 0.0
    return min(1.0, max(0.0, float(u @ v) / power))
