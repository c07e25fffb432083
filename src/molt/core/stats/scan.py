"""Counts in a window that slides: how soon a plain limit on them is passed by chance alone."""

import math

from molt.core.stats.special import gammaincc


def log_quiet(events: int, expected: float) -> float:
    """Log of the chance that a further window's length passes without any window of `events`.

    `expected` events of a Poisson process fall into one window. For `events` of 2 and more this is
    the approximation Q3 / Q2 of the scan statistic (Naus 1982), good to a few percent;
    minus infinity where a limit that low is passed in hardly more than two windows.
    """
    if events <= 1 or expected <= 0:
        return -max(0.0, expected)
    two, three = _two(events, expected), _three(events, expected)
    return math.log(min(1.0, three / two)) if two > 0 and three > 0 else -math.inf


def _point(k: int, mean: float) -> float:
    return 0.0 if k < 0 else math.exp(k * math.log(mean) - mean - math.lgamma(k + 1))


def _upto(k: int, mean: float) -> float:
    return 0.0 if k < 0 else gammaincc(k + 1, mean)


def _two(k: int, m: float) -> float:
    """The chance that no window in two windows' length holds `k` (Naus 1982, Q2)."""
    return (
        _upto(k - 1, m) ** 2
        - (k - 1) * _point(k, m) * _point(k - 2, m)
        - (k - 1 - m) * _point(k, m) * _upto(k - 3, m)
    )


def _three(k: int, m: float) -> float:
    """The same in three windows' length (Q3), with the names of its terms there."""
    at, below = _point(k, m), _upto(k - 1, m)
    a1 = 2 * at * below * ((k - 1) * _upto(k - 2, m) - m * _upto(k - 3, m))
    inner = (k - 1) * (k - 2) * _upto(k - 3, m) - 2 * (k - 2) * m * _upto(k - 4, m)
    a2 = 0.5 * at**2 * (inner + m * m * _upto(k - 5, m))
    a3 = sum(_point(2 * k - r, m) * _upto(r - 1, m) ** 2 for r in range(1, k))
    a4 = sum(
        _point(2 * k - r, m) * _point(r, m) * ((r - 1) * _upto(r - 2, m) - m * _upto(r - 3, m))
        for r in range(2, k)
    )
    return below**3 - a1 + a2 + a3 - a4
