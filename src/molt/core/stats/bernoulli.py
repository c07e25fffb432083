"""Exact sequential evidence about a rate: a Beta mixture e-process, truncated at the null's edge.

Valid at any stopping time, also when the true rate drifts on its side of p0. Events that cluster
in users are discounted by a design effect first.
"""

import math

import numpy as np
from numpy.typing import NDArray

from molt.core.stats.special import betainc, betaln, root

Floats = NDArray[np.float64]

PRIOR = 0.5
START_EFFECT = 2.0
MIN_EVENTS = 10


def log_e_above(events: float, n: float, p0: float, deff: float = 1.0) -> float:
    """log E of the evidence that the rate is above `p0`: Beta(1/2, 1/2) truncated to (p0, 1)."""
    return _log_e(events / deff, n / deff, p0, upper=True)


def log_e_below(events: float, n: float, p0: float, deff: float = 1.0) -> float:
    """log E of the evidence that the rate is below `p0`: Beta(1/2, 1/2) truncated to (0, p0)."""
    return _log_e(events / deff, n / deff, p0, upper=False)


def _log_e(s: float, n: float, p0: float, *, upper: bool) -> float:
    """ln B(a,b) + ln I - [ln B(1/2,1/2) + ln I0] - s ln p0 - f ln(1-p0) (engine C)."""
    if n <= 0 or not 0 < p0 < 1:
        return 0.0
    f = n - s
    posterior = betaln(PRIOR + s, PRIOR + f) + log_tail(PRIOR + s, PRIOR + f, p0, upper=upper)
    prior = betaln(PRIOR, PRIOR) + log_tail(PRIOR, PRIOR, p0, upper=upper)
    return float(posterior - prior - s * math.log(p0) - f * math.log1p(-p0))


def log_tail(a: float, b: float, x: float, *, upper: bool) -> float:
    """ln of the Beta(a, b) mass above (or below) `x`, also where it underflows."""
    if upper:
        a, b, x = b, a, 1 - x
    mass = float(betainc(a, b, x))
    if mass > TINY:
        return math.log(mass)
    return a * math.log(x) + b * math.log1p(-x) - math.log(a) - betaln(a, b) + _series(a, b, x)


TINY = 1e-280


def _series(a: float, b: float, x: float) -> float:
    """ln of 2F1(a+b, 1; a+1; x): I_x(a,b) = x^a (1-x)^b / (a B(a,b)) times it (DLMF 8.17.8).

    All terms are positive; where the tail is tiny, x lies far below the mean and they fall fast.
    """
    total = term = 1.0
    for k in range(MAX_TERMS):
        term *= (a + b + k) * x / (a + 1 + k)
        total += term
        if term < total * 1e-15:
            break
    return math.log(total)


MAX_TERMS = 100_000


def design_effect(n: Floats, y: Floats, previous: float = 1.0) -> float:
    """How much more the events scatter over buckets than independent ones would; at least 1.

    sum of squared residuals over buckets / binomial variance; 2 until ten events were seen. Pass
    the largest value so far as `previous`: the running maximum keeps the e-process honest.
    """
    events, total = float(y.sum()), float(n.sum())
    if events < MIN_EVENTS or total <= 0:
        return max(previous, START_EFFECT)
    rate = events / total
    if rate >= 1:
        return max(previous, 1.0)
    residuals = y - rate * n
    return max(previous, 1.0, float(residuals @ residuals) / (total * rate * (1 - rate)))


def interval(
    events: float, n: float, alpha: float = 0.05, deff: float = 1.0
) -> tuple[float, float]:
    """The rates that neither one-sided process refutes at 2/alpha: valid at all times together."""
    if n <= 0:
        return 0.0, 1.0
    target, rate = math.log(2 / alpha), events / n

    def above(p: float) -> float:
        return log_e_above(events, n, p, deff) - target

    def below(p: float) -> float:
        return log_e_below(events, n, p, deff) - target

    edge = 1e-9
    low = 0.0 if events <= 0 or above(edge) < 0 else root(above, edge, max(rate, 2 * edge))
    if events >= n or below(1 - edge) < 0:
        return low, 1.0
    return low, root(below, min(max(rate, edge), 1 - 2 * edge), 1 - edge)


def share_under_ratio(exposure: float, other_exposure: float, ratio: float) -> float:
    """p0 of x_T among x_T + x_C events when the candidate's rate is `ratio` times control's."""
    weighted = ratio * exposure
    return weighted / (weighted + other_exposure)
