"""Sums per statistics bucket of both arms, stratum by stratum, and what sums over strata are made of.

Strata that are over never change, so tables keep their rows; and several metrics' new rows are
reckoned in one go, because a look at ten of them should cost little more than a look at one.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple, Self, overload

import numpy as np

from molt.core.stats.special import Floats


@dataclass(frozen=True, eq=False)
class Stratum:
    """One step's sums per bucket of both arms: four arrays of one length, not to be changed."""

    candidate_n: Floats
    candidate_y: Floats
    control_n: Floats
    control_y: Floats

    @cached_property
    def control(self) -> tuple[float, float]:
        """Control's totals of n and y."""
        return float(self.control_n.sum()), float(self.control_y.sum())

    def know(self, control: tuple[float, float]) -> None:
        """Somebody has reckoned control's totals already."""
        self.__dict__["control"] = control


class Row(NamedTuple):
    """One stratum in numbers: `weight` is ac / (a + c), not normalised; `difference` the candidate's
    mean less control's; `a` and `c` are the arms' totals of n; `spread` and `binomial` are the two
    least variances of the difference."""

    weight: float = 0.0
    difference: float = 0.0
    candidate_mean: float = 0.0
    control_mean: float = 0.0
    a: float = 0.0
    c: float = 0.0
    spread: float = 0.0
    binomial: float = 0.0


class Columns(NamedTuple):
    """The same of several strata."""

    weight: list[float]
    difference: list[float]
    candidate_mean: list[float]
    control_mean: list[float]
    a: list[float]
    c: list[float]
    spread: list[float]
    binomial: list[float]

    def put(self, i: int, row: Row) -> None:
        """Let the stratum at place `i` have these numbers."""
        for column, number in zip(self, row, strict=True):
            column[i] = number


def shares(weights: Sequence[float]) -> list[float]:
    """Each weight's share of all."""
    whole = math.fsum(weights)
    return [w / whole for w in weights]


def row_of(
    a: float, c: float, candidate_mean: float, control_mean: float, spread: float = 0.0
) -> Row:
    """What follows from two arms, neither of them empty.

    `binomial` is the variance of independent yes-or-no units at both arms' pooled rate. Pooled as in
    a score test (Farrington and Manning 1990), with half an event added to either outcome, so that
    it is never 0.
    """
    rate = (a * candidate_mean + c * control_mean + 0.5) / (a + c + 1.0)
    rate = min(1.0, max(0.0, rate))
    binomial = rate * (1.0 - rate) * (1.0 / a + 1.0 / c)
    difference = candidate_mean - control_mean
    return Row(a * c / (a + c), difference, candidate_mean, control_mean, a, c, spread, binomial)


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
        renew([(self, strata)])
        return self

    def take(self, strata: Sequence[Stratum]) -> Iterator[tuple[int, Stratum]]:
        """Hold `strata`; the rows that are new are left to `put`."""
        known, self._strata = self._strata, list(strata)
        if len(known) != len(strata):
            self._make_room(len(strata), len(strata[0].candidate_n) if strata else 0)
            return enumerate(self._strata)
        return (
            (i, new)
            for i, (old, new) in enumerate(zip(known, strata, strict=True))
            if old is not new
        )

    def _make_room(self, rows: int, size: int) -> None:
        self.size = size
        self.columns = Columns(*([0.0] * rows for _ in Columns._fields))
        self.used = []
        self._held = [0] * rows
        """Per row, a bitmap of the buckets that hold candidate data."""
        self._buckets: list[int] | None = None
        self.arms, self.scores = np.zeros((rows, 2, size)), np.zeros((rows, size))
        """Scores of the candidate and of control, and their difference."""
        self.behind = np.zeros((rows, size + 8))
        """What `ratio.restarts` adds up: weighted scores, then weight, weighted difference and
        means, totals of n, and both least variances times the squared weight."""

    def put(self, i: int, row: Row, arms: Floats, score: Floats, held: int) -> None:
        """Fill row `i`: its numbers, both arms' scores and their difference, and its buckets."""
        self.columns.put(i, row)
        self._hold(i, held)
        self.arms[i], self.scores[i] = arms, score
        w, difference, mean, other, a, c, spread, binomial = row
        behind, square = self.behind[i], w * w
        np.multiply(score, w, out=behind[: self.size])
        behind[self.size :] = (
            *(w, w * difference, w * mean, w * other, a, c),
            *(square * spread, square * binomial),
        )
        if i not in self.used:
            self.used = sorted((*self.used, i))

    def clear(self, i: int) -> None:
        """Make row `i` all zeros: nothing can be compared there."""
        self.columns.put(i, Row())
        self._hold(i, 0)
        for array in (self.arms, self.scores, self.behind):
            array[i] = 0.0
        self.used = [one for one in self.used if one != i]

    def holds(self, i: int) -> bool:
        """Whether stratum `i` has data in both arms."""
        return self.columns.weight[i] > 0

    def _hold(self, i: int, held: int) -> None:
        if self._held[i] != held:
            self._held[i], self._buckets = held, None

    def buckets(self) -> list[int]:
        """How many buckets hold candidate data in each stratum or behind it."""
        if self._buckets is None:
            together = list(accumulate(reversed(self._held), int.__or__))
            self._buckets = [bits.bit_count() for bits in reversed(together)]
        return self._buckets

    def pull(self, weights: Sequence[float], rows: Sequence[int]) -> Floats:
        """Each bucket's pull on the estimate, over `rows` of these strata; empty without any."""
        if not rows:
            return np.zeros(0)
        if len(rows) == len(self):
            return np.array(weights) @ self.scores
        return np.array([weights[i] for i in rows]) @ self.scores[list(rows)]


def renew(tables: Iterable[tuple[Strata, Sequence[Stratum]]]) -> None:
    """Let each table hold its strata from now on; all rows that are new are reckoned together."""
    new = [(table, i, one) for table, strata in tables for i, one in table.take(strata)]
    if not new:
        return
    # One array, since numpy takes as long for 256 numbers as for many times as many.
    parts = [
        part for *_, s in new for part in (s.candidate_n, s.control_n, s.candidate_y, s.control_y)
    ]
    sums = np.concatenate(parts).reshape(len(new), 4, -1)
    n, y, whole = sums[:, :2], sums[:, 2:], sums.sum(axis=2)
    sizes = np.where(whole[:, :2] > 0, whole[:, :2], 1.0)[..., None]
    means = whole[:, 2:, None] / sizes
    arms: Floats = (y - means * n) / sizes
    scores = arms[:, 0] - arms[:, 1]
    powers = np.vecdot(arms, arms).tolist()
    held = np.packbits(n[:, 0] > 0, axis=1)
    for k, ((table, i, one), (a, c, _, others), ((mean,), (other,))) in enumerate(
        zip(new, whole.tolist(), means.tolist(), strict=True)
    ):
        one.know((c, others))
        if a > 0 and c > 0:
            row = row_of(a, c, mean, other, spread(a, c, *powers[k]))
            bits = int.from_bytes(held[k].tobytes(), "little")
            table.put(i, row, arms[k], scores[k], bits)
        else:
            table.clear(i)


def spread(a: float, c: float, candidate: float, control: float) -> float:
    """The variance if a unit of `n` scatters alike in both arms, users' clusters included.

    (Sum of both arms' squared residuals) / (a + c) x (1/a + 1/c), as in Student's two-sample test,
    with bucket totals as the residuals; `candidate` and `control` are the arms' sums of squared
    scores, which are residuals by `a` and by `c`.
    """
    return (a * a * candidate + c * c * control) / (a * c)
