"""Engine D: "rate above X for D" on short slots: high, lasting, not one burst, and not chance.

Windows of length D, 2D, 4D ... 64D that end now are looked at; a trigger fires when one of them
meets all five conditions. Empty slots neither advance nor reset anything, so a dead agent with
little traffic is found by a longer window, and one error in three requests never fires.
"""

from collections.abc import Sequence
from itertools import pairwise
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
MAX_CHANCE: Final = 1e-6
DEFAULT_DEFF: Final = 3.0


class Window(NamedTuple):
    """One window's numbers.

    `met` says which conditions hold: the pooled rate is above the limit; so is its earliest
    non-empty fifth; so is the rest without its two worst fifths; there are at least three events
    from at least three distinct subjects; they are not chance at a healthy rate.
    `distinct` is a lower bound, `chance` the smaller of the two tails.
    """

    slots: int
    requests: int
    events: int
    rate: float
    distinct: int
    chance: float
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
    """Every window that has requests, shortest first; slots are oldest first and end now.

    `duration` is D in slots, `limit` X, `healthy` the rate h that chance is reckoned with, `deff`
    how many times more errors scatter than independent ones. `buckets` holds one bitmap per slot:
    the statistics buckets of the subjects that had an event. Slots older than the first are empty.
    """
    total = len(requests)
    upto_n, upto_x = _running(requests), _running(events)
    union, seen, windows = 0, total, list[Window]()
    for doubling in range(DOUBLINGS):
        size = duration << doubling
        start = total - size
        for bitmap in buckets[max(0, start) : seen]:
            union |= bitmap
        seen = max(0, start)
        edges = [max(0, start + round(i * size / FIFTHS)) for i in range(FIFTHS + 1)]
        n, x = _between(upto_n, edges), _between(upto_x, edges)
        if any(n):
            windows.append(_window(size, n, x, union.bit_count(), limit, healthy, deff))
        if start <= 0:
            break
    return windows


def _running(counts: Ints) -> Ints:
    """Sums of all slots before each edge, from 0 on."""
    sums = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=sums[1:])
    return sums


def _between(upto: Ints, edges: list[int]) -> list[int]:
    """What lies between neighbouring edges."""
    return [b - a for a, b in pairwise(upto[edges].tolist())]


def _window(
    size: int,
    n: Sequence[int],
    x: Sequence[int],
    distinct: int,
    limit: float,
    healthy: float,
    deff: float,
) -> Window:
    """One window from its fifths' requests `n` and events `x`."""
    requests, events = sum(n), sum(x)
    first = next(i for i in range(FIFTHS) if n[i])
    # Taking out the two fifths of largest excess over the limit lowers the rest the most, so the
    # rest is above the limit only if it is whichever two are taken out.
    excess = sorted(b - limit * a for a, b in zip(n, x, strict=True))
    chance = min(
        binomial_tail(events / deff, requests / deff, healthy),
        poisson_tail(distinct, healthy * requests),
    )
    met = (
        events > limit * requests,
        x[first] > limit * n[first],
        sum(excess[:-BURST]) > 1e-9,
        events >= MIN_EVENTS and distinct >= MIN_EVENTS,
        chance <= MAX_CHANCE,
    )
    return Window(size, requests, events, events / requests, distinct, chance, met)


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
