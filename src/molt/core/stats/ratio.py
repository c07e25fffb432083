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
from typing import Final, NamedTuple, Self, overload

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
        return Contrast(a, c, r_t, r_c, self)


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
    buckets = rows.buckets()
    if buckets < 2:
        return None
    used = rows.used
    whole = math.fsum(rows.weights[i] for i in used)
    weights = [rows.weights[i] / whole for i in used]
    # CUPED takes two degrees of freedom; where the shadow period lacks an arm, it is left out.
    paired = [(w, i) for w, i in zip(weights, used, strict=True) if shadow and shadow.holds(i)]
    u, theta = rows.pull(weights, used), 0.0
    v = shadow.pull([w for w, _ in paired], [i for _, i in paired]) if buckets > 2 else u[:0]
    if len(v):
        theta = _theta(u, v)
    adjusted = u - theta * v if theta else u
    plain, clustered = float(u @ u), float(adjusted @ adjusted)
    kept = clustered / plain if theta else 1.0
    squares = [w**2 for w in weights]
    lifts, spreads = rows.lifts, rows.spreads
    if theta:
        lifts, spreads = _adjusted(rows, shadow, [i for _, i in paired], theta)

    def total(factors: Sequence[float], amounts: Sequence[float]) -> float:
        return math.fsum(f * amounts[i] for f, i in zip(factors, used, strict=True))

    binomial = total(squares, rows.binomials) if binary else 0.0
    return Difference(
        estimate=total(weights, lifts),
        variance=max(
            buckets / (buckets - (2 if theta else 1)) * clustered,
            total(squares, spreads),
            kept * binomial,
        ),
        candidate=total(weights, rows.candidate_means),
        control=total(weights, rows.control_means),
        candidate_n=math.fsum(rows.candidate_ns),
        control_n=math.fsum(rows.control_ns),
        buckets=buckets,
        variance_kept=kept,
    )


def averages(strata: Sequence[Stratum]) -> Averages | None:
    """The same figures as `difference` has (without CUPED), where nobody asks how sure they are."""
    found = [s.contrast for s in strata if s.contrast is not None]
    held = [c.stratum.candidate_n for c in reversed(found)]
    if all(np.count_nonzero(n) < 2 for n in held) and np.count_nonzero(sum(held)) < 2:
        return None
    whole = math.fsum(c.weight for c in found)
    weighted = [(c.weight / whole, c) for c in found]
    return Averages(
        estimate=math.fsum(w * c.difference for w, c in weighted),
        control=math.fsum(w * c.control_mean for w, c in weighted),
        candidate_n=math.fsum(c.a for c in found),
        control_n=math.fsum(c.c for c in found),
    )


def restarts(strata: Sequence[Stratum], *, binary: bool = False) -> list[Difference | None]:
    """`difference` of `strata[1:]`, `strata[2:]` and so on to the last one, all at once.

    The same figures (without CUPED) from sums that run backwards over the strata.
    """
    rows = Strata.of(strata)
    if len(rows) < 2:
        return []
    sums = _backwards(rows.behind)
    scores = sums[:, : rows.size]
    clustered = np.einsum("ij,ij->i", scores, scores)
    found: list[Difference | None] = []
    for i, (w, d, t, q, a, c, pooled, least) in enumerate(sums[1:, rows.size :].tolist(), start=1):
        m = rows.buckets(i)
        if m < 2:
            found.append(None)
            continue
        floor = max(m / (m - 1) * float(clustered[i]), pooled, least if binary else 0.0)
        found.append(Difference(d / w, floor / (w * w), t / w, q / w, a, c, m))
    return found


def _backwards(rows: Floats) -> Floats:
    """Sums of each row and all behind it."""
    sums = rows.copy()
    for i in range(len(sums) - 2, -1, -1):
        np.add(sums[i + 1], rows[i], out=sums[i])
    return sums


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
    """Both arms' totals of n (`a`, `c`) and means; the rest is reckoned when it is asked for."""

    a: float
    c: float
    candidate_mean: float
    control_mean: float
    stratum: Stratum

    @cached_property
    def candidate(self) -> Floats:
        """The candidate's scores (y - R n) / a of each bucket."""
        s = self.stratum
        return _scored(s.candidate_y, s.candidate_n, self.candidate_mean, self.a)

    @cached_property
    def control(self) -> Floats:
        """Control's scores (y - R n) / c of each bucket."""
        s = self.stratum
        return _scored(s.control_y, s.control_n, self.control_mean, self.c)

    @cached_property
    def score(self) -> Floats:
        """Candidate's scores less control's."""
        return self.candidate - self.control

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


class Strata(Sequence[Stratum]):
    """Strata side by side: what sums over several of them are made of.

    Lists and arrays have a row for each; one without data in both arms is all zeros. `renew` keeps
    the rows of strata that are the same as before, so that a look costs what is new.
    """

    def __init__(self, strata: Sequence[Stratum] = ()) -> None:
        self._strata: list[Stratum] = []
        self.used: list[int] = []
        self._make_room(0, 0)
        self.renew(strata)

    @classmethod
    def of(cls, strata: Sequence[Stratum]) -> "Strata":
        """`strata` itself when it is one, else one made of them."""
        return strata if isinstance(strata, cls) else cls(strata)

    def __len__(self) -> int:
        return len(self._strata)

    @overload
    def __getitem__(self, index: int) -> Stratum: ...

    @overload
    def __getitem__(self, index: slice) -> list[Stratum]: ...

    def __getitem__(self, index: int | slice) -> Stratum | list[Stratum]:
        return self._strata[index]

    def renew(self, strata: Sequence[Stratum]) -> Self:
        """Hold `strata` from now on."""
        known = self._strata
        if len(known) != len(strata):
            known = []
            self._make_room(len(strata), len(strata[0].candidate_n) if strata else 0)
        for i, stratum in enumerate(strata):
            if not known or known[i] is not stratum:
                self._put(i, stratum)
        self._strata = list(strata)
        self.used = [i for i, one in enumerate(strata) if one.contrast is not None]
        return self

    def _make_room(self, rows: int, size: int) -> None:
        self.size = size
        self.weights, self.lifts, self.spreads = [0.0] * rows, [0.0] * rows, [0.0] * rows
        self.candidate_means, self.control_means = [0.0] * rows, [0.0] * rows
        self.candidate_ns, self.control_ns = [0.0] * rows, [0.0] * rows
        self.binomials = [0.0] * rows
        self._held = [0] * rows
        self.candidate, self.control, self.scores = np.zeros((3, rows, size))
        self.behind = np.zeros((rows, size + 8))
        """What `restarts` adds up: weighted scores, then weight, weighted difference and means,
        totals of n, and both least variances times the squared weight."""

    def _put(self, i: int, stratum: Stratum) -> None:
        c = stratum.contrast or Contrast(0.0, 0.0, 0.0, 0.0, stratum)
        held = np.packbits(stratum.candidate_n > 0).tobytes() if stratum.contrast else b""
        self._held[i] = int.from_bytes(held, "little")
        w = self.weights[i] = c.weight
        self.lifts[i], self.spreads[i], self.binomials[i] = c.difference, c.spread, c.binomial
        self.candidate_means[i], self.control_means[i] = c.candidate_mean, c.control_mean
        self.candidate_ns[i], self.control_ns[i] = c.a, c.c
        self.candidate[i], self.control[i], self.scores[i] = c.candidate, c.control, c.score
        row, square = self.behind[i], w * w
        np.multiply(c.score, w, out=row[: self.size])
        row[self.size :] = (
            *(w, w * c.difference, w * c.candidate_mean, w * c.control_mean, c.a, c.c),
            *(square * c.spread, square * c.binomial),
        )

    def holds(self, i: int) -> bool:
        """Whether stratum `i` has data in both arms."""
        return self._strata[i].contrast is not None

    def buckets(self, first: int = 0) -> int:
        """How many buckets hold candidate data in stratum `first` or later."""
        held = 0
        for bits in self._held[first:]:
            held |= bits
        return held.bit_count()

    def pull(self, weights: Sequence[float], rows: Sequence[int]) -> Floats:
        """Each bucket's pull on the estimate, over these strata; empty without any."""
        if not rows:
            return np.zeros(0)
        scores = self.scores if len(rows) == len(self) else self.scores[list(rows)]
        return np.array(weights) @ scores


def _adjusted(
    rows: Strata, shadow: Strata, paired: Sequence[int], theta: float
) -> tuple[list[float], list[float]]:
    """Differences and pooled spreads, less `theta` times those of shadow, which are 0 on average."""
    lifts, spreads = list(rows.lifts), list(rows.spreads)
    candidate = rows.candidate - theta * shadow.candidate
    control = rows.control - theta * shadow.control
    for i in paired:
        lifts[i] -= theta * shadow.lifts[i]
        a, c = rows.candidate_ns[i], rows.control_ns[i]
        spreads[i] = _spread(a, c, candidate[i], control[i])
    return lifts, spreads


def _scored(y: Floats, n: Floats, mean: float, total: float) -> Floats:
    return (y - mean * n) / total if total else np.zeros_like(n)


def _spread(a: float, c: float, candidate: Floats, control: Floats) -> float:
    if not a:
        return 0.0
    return (a * a * float(candidate @ candidate) + c * c * float(control @ control)) / (a * c)


def _theta(u: Floats, v: Floats) -> float:
    """CUPED's coefficient sum(u v) / sum(v^2), clipped to [0, 1] against chance in small samples."""
    power = float(v @ v)
    if power <= 0 or float(u @ u) <= 0:
        return 0.0
    return min(1.0, max(0.0, float(u @ v) / power))
