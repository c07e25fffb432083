""" "Rate above X for D" on short slots: high, lasting, not one burst, and not chance.

Windows of length D, 2D, 4D ... 64D that end now are looked at; the trigger fires when one of them
meets all five conditions. Empty slots neither advance nor reset.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from molt.core.stats.special import betainc, gammainc

Ints = NDArray[np.int64]

DOUBLINGS = 7
FIFTHS = 5
MIN_EVENTS = 3
MAX_CHANCE = 1e-6
DEFAULT_DEFF = 3.0


class Window(NamedTuple):
    """One window's numbers; `met` says which of the five conditions hold."""

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

    `duration` is D in slots, `limit` X, `healthy` the rate h that chance is reckoned with.
    `buckets` are bitmaps of the subjects' statistics buckets that had an event.
    """
    windows: list[Window] = []
    for doubling in range(DOUBLINGS):
        size = duration << doubling
        window = _window(
            requests[-size:], events[-size:], buckets[-size:], size, limit, healthy, deff
        )
        if window is not None:
            windows.append(window)
        if size >= len(requests):
            break
    return windows


def _window(
    requests: Ints,
    events: Ints,
    buckets: Sequence[int],
    size: int,
    limit: float,
    healthy: float,
    deff: float,
) -> Window | None:
    n, x = int(requests.sum()), int(events.sum())
    if n == 0:
        return None
    fifths = _fifths(requests, events, size)
    distinct = _distinct(buckets, events)
    chance = min(binomial_tail(x / deff, n / deff, healthy), poisson_tail(distinct, healthy * n))
    met = (
        x / n > limit,
        _first_rate(fifths) > limit,
        _rate_without_worst(fifths) > limit,
        x >= MIN_EVENTS and distinct >= MIN_EVENTS,
        chance <= MAX_CHANCE,
    )
    return Window(size, n, x, x / n, distinct, chance, met)


def _fifths(requests: Ints, events: Ints, size: int) -> list[tuple[int, int]]:
    """(requests, events) of each fifth of the window; slots before the first one are empty."""
    edges = np.linspace(0, size, FIFTHS + 1).round().astype(int) - (size - len(requests))
    edges = np.clip(edges, 0, len(requests))
    return [(int(requests[a:b].sum()), int(events[a:b].sum())) for a, b in pairwise(edges.tolist())]


def _first_rate(fifths: Sequence[tuple[int, int]]) -> float:
    n, x = next(((n, x) for n, x in fifths if n), (1, 0))
    return x / n


def _rate_without_worst(fifths: Sequence[tuple[int, int]]) -> float:
    """The rate without the two fifths of most events; 0 when nothing is left."""
    rest = sorted(fifths, key=lambda fifth: fifth[1])[:-2]
    n = sum(fifth[0] for fifth in rest)
    return sum(fifth[1] for fifth in rest) / n if n else 0.0


def _distinct(buckets: Sequence[int], events: Ints) -> int:
    union = 0
    for i in np.flatnonzero(events).tolist():
        union |= buckets[i]
    return union.bit_count()


def binomial_tail(x: float, n: float, p: float) -> float:
    """P(Bin(n, p) >= x), continued to real x and n by the incomplete beta function."""
    if x <= 0:
        return 1.0
    return betainc(x, max(n, x) - x + 1, p)


def poisson_tail(x: float, mean: float) -> float:
    """P(Poisson(mean) >= x)."""
    return 1.0 if x <= 0 else gammainc(x, mean)


def literal(requests: Ints, events: Ints, *, duration: int, limit: float) -> bool:
    """The plain reading: the pooled rate over the last D is above the limit, one request enough."""
    n, x = int(requests[-duration:].sum()), int(events[-duration:].sum())
    return n > 0 and x / n > limit
