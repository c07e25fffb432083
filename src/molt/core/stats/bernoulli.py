"""Engine C: exact sequential evidence about a rate: a Beta mixture, truncated at the null's edge.

With `s` events in `n` and prior Beta(1/2, 1/2) cut off at p0, the evidence that the rate is above
p0 is the mixture of p^s (1 - p)^(n - s) over p > p0, over the same at p0 (Robbins 1970; the
truncation makes the null one-sided). It is an e-process at any stopping time, also when the true
rate drifts on its side of p0. Events that cluster in users are discounted by a design effect.
"""

import math
from typing import Final

from molt.core.stats.evalue import Interval
from molt.core.stats.special import Floats, betainc, betaincc, betaln, root

PRIOR: Final = 0.5
START_EFFECT: Final = 2.0
"""The design effect until enough events were seen to measure one."""
MIN_EVENTS: Final = 10
"""Events from which on a design effect is measured."""
_SMALL_MASS: Final = 1e-3
"""Below this the continued fraction is quick, and exact."""
_SMALLEST_RATE: Final = 1e-12


def log_e_above(events: float, n: float, p0: float, deff: float = 1.0) -> float:
    """Log evidence that the rate is above `p0`; 0 without data.

    ln B(1/2+s, 1/2+f) + ln I_{1-p0}(1/2+f, 1/2+s) - [the same at s = f = 0] - s ln p0 - f ln(1-p0),
    with s = events / deff and f = (n - events) / deff.
    """
    if n <= 0 or not 0 < p0 < 1:
        return 0.0
    s, f = events / deff, (n - events) / deff
    return _log_mixture(f, s, 1.0 - p0, p0) - _log_mixture(0.0, 0.0, 1.0 - p0, p0)


def log_e_below(events: float, n: float, p0: float, deff: float = 1.0) -> float:
    """Log evidence that the rate is below `p0`; 0 without data.

    ln B(1/2+s, 1/2+f) + ln I_{p0}(1/2+s, 1/2+f) - [the same at s = f = 0] - s ln p0 - f ln(1-p0).
    """
    if n <= 0 or not 0 < p0 < 1:
        return 0.0
    s, f = events / deff, (n - events) / deff
    return _log_mixture(s, f, p0, 1.0 - p0) - _log_mixture(0.0, 0.0, p0, 1.0 - p0)


def _log_mixture(s: float, f: float, x: float, y: float) -> float:
    """Log of the integral of p^(s-1/2) (1-p)^(f-1/2) over p < x, over x^s y^f; y = 1 - x.

    Deep in the tail the integral underflows while the powers overflow; there the continued
    fraction takes the powers out exactly (DLMF 8.17.22): sqrt(x y) / (s + 1/2) x fraction.
    """
    a, b = PRIOR + s, PRIOR + f
    mass = betainc(a, b, x) if x <= y else betaincc(b, a, y)
    if mass < _SMALL_MASS:
        return 0.5 * (math.log(x) + math.log(y)) - math.log(a) + math.log(_fraction(a, b, x))
    return betaln(a, b) + math.log(mass) - s * math.log(x) - f * math.log(y)


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function, by Lentz's method.

    Converges in a handful of terms where x lies far below the mean a / (a + b).
    """
    d = 1.0 / (1.0 - (a + b) * x / (a + 1.0))
    c, value = 1.0, d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = value
        for term in (even, odd):
            d = 1.0 / (1.0 + term * d)
            c = 1.0 + term / c
            value *= c * d
        if abs(value - before) <= 1e-15 * abs(value):
            break
    return value


def measured_effect(n: Floats, y: Floats) -> float | None:
    """How many times more the events scatter over buckets than independent ones; None below ten.

    m / (m - 1) x (sum over buckets of squared residuals y - rate n) / (binomial variance), where m
    buckets hold data: the design effect of cluster sampling (Kish 1965).
    """
    events, total, buckets = float(y.sum()), float(n.sum()), int((n > 0).sum())
    if events < MIN_EVENTS or buckets < 2:
        return None
    rate = events / total
    if rate >= 1:
        return 1.0
    residuals = y - rate * n
    return buckets / (buckets - 1) * float(residuals @ residuals) / (total * rate * (1 - rate))


def design_effect(n: Floats, y: Floats, previous: float = 1.0) -> float:
    """The design effect to divide by: at least 1 and `previous`, and 2 until ten events were seen.

    `previous` is the largest `measured_effect` so far, if the caller keeps one: with a running
    maximum, chance scatter cannot lend evidence for a moment.
    """
    measured = measured_effect(n, y)
    return max(1.0, previous, START_EFFECT if measured is None else measured)


def interval(events: float, n: float, alpha: float = 0.05, deff: float = 1.0) -> Interval:
    """The rates that neither one-sided process has refuted at alpha / 2: valid at every look.

    (0, 1) without data. Ends below 1e-12 are 0, above 1 - 1e-12 are 1.
    """
    if n <= 0:
        return Interval(0.0, 1.0)
    target, low, high = math.log(2 / alpha), 0.0, 1.0
    rate = min(max(events / n, _SMALLEST_RATE), 1 - _SMALLEST_RATE)
    if log_e_above(events, n, _SMALLEST_RATE, deff) > target:
        low = root(lambda p: log_e_above(events, n, p, deff) - target, _SMALLEST_RATE, rate)
    if log_e_below(events, n, 1 - _SMALLEST_RATE, deff) > target:
        high = root(lambda p: log_e_below(events, n, p, deff) - target, rate, 1 - _SMALLEST_RATE)
    return Interval(low, high)


def share_under_ratio(exposure: float, other_exposure: float, ratio: float) -> float:
    """The candidate's share of all events if its rate is `ratio` times control's.

    Of x_T + x_C events then x_T is binomial with p0 = ratio E_T / (ratio E_T + E_C) (Przyborowski
    and Wilenski 1940), which `log_e_above` and `log_e_below` test without knowing either rate.
    """
    weighted = ratio * exposure
    return weighted / (weighted + other_exposure)
