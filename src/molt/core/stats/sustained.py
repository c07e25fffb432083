"""Engine D: "rate above X for D" on short slots: high, lasting, not one burst, and not chance.

Windows of length D, 2D, 4D ... 64D that end now are looked at; a trigger fires when one of them
meets all five conditions. Empty slots neither advance nor reset anything, so a dead agent with
little traffic is found by a longer window, and one error in three requests never fires.

The chances are budgets for a week of looks at every slot: see `docs/decisions` on decision figures.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations, pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from molt.core.stats.special import betainc, gammainc

Ints = NDArray[np.int64]

DOUBLINGS: Final = 7
FIFTHS: Final = 5
BURST: Final = 2
"""So many fifths at most count as one burst."""
MIN_EVENTS: Final = 3
MAX_CHANCE: Final = 1e-7
"""Of a whole window's events at the healthy rate."""
MAX_CHANCE_AT_LIMIT: Final = 1e-4
"""The same at the limit itself: what stays below it must not be taken for above."""
REST_CHANCE: Final = 1e-3
"""At the healthy rate, of what is left when any two fifths are taken out."""
REST_CHANCE_AT_LIMIT: Final = 0.05
"""The same at the limit."""
DEFAULT_DEFF: Final = 3.0


class Window(NamedTuple):
    """One window's numbers.

    `met` says which conditions hold: the pooled rate is above the limit; so is its earliest
    non-empty fifth; so is the rest whichever two fifths are taken out, and not by chance; there are
    at least three events from at least three distinct subjects; they are chance neither at the
    healthy rate nor at the limit. `distinct` is a lower bound; `chance` and `chance_at_limit` are
    the smaller of two tails.
    """

    slots: int
    requests: int
    events: int
    rate: float
    distinct: int
    chance: float
    chance_at_limit: float
    met: tuple[bool, bool, bool, bool, bool]

    @property
    def fires(self) -> bool:
        """Whether all five hold."""
        return all(self.met)


def look(
    requests: Ints,
    events: Ints,
    buckets: Sequence[int],
    *,
    duration: int,
    limit: float,
    healthy: float,
    deff: float = DEFAULT_DEFF,
) -> list[Window]:
    """The shortest window that has requests, then the longer ones that could fire: those above the
    limit. Shortest first, up to one that fires.

    Slots are oldest first and end now.

    `duration` is D in slots, `limit` X, `healthy` the rate h that chance is reckoned with, `deff`
    how many times more errors scatter than independent ones. `buckets` holds one bitmap per slot:
    the statistics buckets of the subjects that had an event. Slots older than the first are empty.
    """
    total, rates = len(requests), _Rates(limit, healthy, deff)
    windows = list[Window]()
    edges_of_all, flat = _edges(duration, total)
    upto_n, upto_x = (_running(counts)[flat].tolist() for counts in (requests, events))
    for doubling, edges in enumerate(edges_of_all):
        size, place = duration << doubling, doubling * (FIFTHS + 1)
        n, x = (_between(upto[place : place + FIFTHS + 1]) for upto in (upto_n, upto_x))
        if any(n) and (not windows or sum(x) > limit * sum(n)):
            parts = [buckets[a:b] for a, b in pairwise(edges)]
            windows.append(_window(size, n, x, parts, rates))
            if windows[-1].fires:
                break
    return windows


@lru_cache(maxsize=4096)
def _edges(duration: int, total: int) -> tuple[list[list[int]], Ints]:
    """Where the fifths of each window begin and end, up to the first that holds all slots; and
    the same in one array."""
    found: list[list[int]] = []
    for doubling in range(DOUBLINGS):
        size = duration << doubling
        start = total - size
        found.append([max(0, start + round(i * size / FIFTHS)) for i in range(FIFTHS + 1)])
        if start <= 0:
            break
    return found, np.array(found).ravel()


def _running(counts: Ints) -> Ints:
    """Sums of all slots before each edge, from 0 on."""
    sums = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=sums[1:])
    return sums


def _between(upto: Sequence[int]) -> list[int]:
    """What lies between neighbouring edges."""
    return [b - a for a, b in pairwise(upto)]


def _union(bitmaps: Sequence[int]) -> int:
    union = 0
    for bitmap in bitmaps:
        union |= bitmap
    return union


class _Rates(NamedTuple):
    """What events are reckoned with."""

    limit: float
    healthy: float
    deff: float

    def chance(self, x: int, n: int, distinct: int, rate: float) -> float:
        """Of so many events, or of so many distinct subjects with one, at this rate."""
        return min(
            binomial_tail(x / self.deff, n / self.deff, rate), poisson_tail(distinct, rate * n)
        )


def _window(
    size: int,
    n: Sequence[int],
    x: Sequence[int],
    parts: Sequence[Sequence[int]],
    rates: _Rates,
) -> Window:
    """One window from its fifths' requests `n`, events `x` and slots' bitmaps `parts`."""
    requests, events, limit = sum(n), sum(x), rates.limit
    unions = [_union(part) for part in parts]
    distinct = _union(unions).bit_count()
    first = next(i for i in range(FIFTHS) if n[i])
    chance, at_limit = (
        rates.chance(events, requests, distinct, rate) for rate in (rates.healthy, limit)
    )
    met = (
        events > limit * requests,
        x[first] > limit * n[first],
        _lasts(n, x, unions, rates),
        events >= MIN_EVENTS and distinct >= MIN_EVENTS,
        chance <= MAX_CHANCE and at_limit <= MAX_CHANCE_AT_LIMIT,
    )
    return Window(size, requests, events, events / requests, distinct, chance, at_limit, met)


def _lasts(n: Sequence[int], x: Sequence[int], unions: Sequence[int], rates: _Rates) -> bool:
    """Whether the rest is above the limit, and not by chance, whichever two fifths are left out.

    A burst lies in two neighbouring fifths at most; what it leaves behind must speak for itself.
    """
    # Taking out the two fifths of largest excess over the limit lowers the rest the most.
    excess = sorted(b - rates.limit * a for a, b in zip(n, x, strict=True))
    if sum(excess[:-BURST]) <= 1e-9:
        return False
    for kept in combinations(range(FIFTHS), FIFTHS - BURST):
        rest_n, rest_x = sum(n[i] for i in kept), sum(x[i] for i in kept)
        distinct = _union([unions[i] for i in kept]).bit_count()
        if (
            rates.chance(rest_x, rest_n, distinct, rates.healthy) > REST_CHANCE
            or rates.chance(rest_x, rest_n, distinct, rates.limit) > REST_CHANCE_AT_LIMIT
        ):
            return False
    return True


def fired(windows: Sequence[Window]) -> Window | None:
    """The shortest window that meets all conditions; None when none does."""
    return next((w for w in windows if w.fires), None)


def blind(requests: Ints, *, duration: int) -> bool:
    """Whether there was no request at all within the last D.

    Where traffic is due, gates freeze and an alarm goes out; it is no reason to roll back.
    """
    return not bool(requests[-duration:].any())


def literal(requests: Ints, events: Ints, *, duration: int, limit: float) -> bool:
    """The plain reading: the pooled rate over the last D is above the limit, one request enough."""
    n, x = int(requests[-duration:].sum()), int(events[-duration:].sum())
    return n > 0 and x > limit * n


def binomial_tail(x: float, n: float, p: float) -> float:
    """P(Bin(n, p) >= x), continued to real x and n: I_p(x, n - x + 1) (DLMF 8.17.5)."""
    return 1.0 if x <= 0 else betainc(x, n - x + 1, p)


def poisson_tail(x: int, mean: float) -> float:
    """P(Poisson(mean) >= x) (DLMF 8.4.10)."""
    return 1.0 if x <= 0 else gammainc(x, mean)
