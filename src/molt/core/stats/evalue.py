"""Engine B: one-sided e-values and always-valid intervals for a normal estimate.

Sign convention: evidence is always that the truth is **above** `edge`. To ask whether it is below,
negate both: `log_e(-estimate, variance, tau, edge=-edge)`. The clock is information,
1 / variance, never a count of users.

The e-value is a mixture of likelihood ratios over a half-normal effect of scale `tau` beyond the
edge (Robbins 1970; asymptotic form: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024).
"""

import math
from collections.abc import Sequence
from functools import cache
from operator import add
from typing import Final, NamedTuple

import numpy as np

from molt.core.stats.special import (
    LN2,
    Floats,
    each,
    erfcx,
    erfcx_each,
    log_ndtr,
    log_ndtr_each,
    root,
)

_SQRT_2_PI: Final = math.sqrt(2 * math.pi)
_LOG_HALF: Final = math.log(0.5)

PLANNED_RESTARTS: Final = 8
"""Restarts that get equal weights unless the caller knows its plan: one per step after the first."""


class Interval(NamedTuple):
    """A range that holds the truth, at every look at once, with the probability asked for."""

    low: float
    high: float


def log_e(estimate: float, variance: float, tau: float, *, edge: float = 0.0) -> float:
    """Log evidence that the truth is above `edge`.

    With z = (estimate - edge) / se, r = tau^2 / variance, x = z sqrt(r / (1 + r)):
    E = 2 (1 + r)^(-1/2) exp(x^2 / 2) Phi(x). `tau` is the distance beyond the edge that one wants
    to see soonest. A variance that is not positive and finite is no evidence: 0.
    """
    placed = _placed(estimate, variance, tau, edge)
    return 0.0 if placed is None else _log_e(*placed)


def log_e_rows(estimates: Floats, variances: Floats, taus: Sequence[float]) -> list[list[float]]:
    """`log_e` of every estimate (edge 0), one `tau` for each row, in a fraction of the time."""
    tau = np.array(taus)[:, None]
    known = (variances > 0) & (variances < math.inf) & (tau > 0) & np.isfinite(estimates)
    variance = np.where(known, variances, 1.0)
    r = tau * tau / variance
    x = np.where(known, estimates, 0.0) / np.sqrt(variance) * np.sqrt(r / (1 + r))
    below = x < 0
    # The logarithms are those of `_log_e`, so that both ways give the same to the last digit.
    tails = each(math.log, erfcx_each(np.where(below, -x / math.sqrt(2), 0.0)))
    grown = 0.5 * each(math.log1p, r)
    found = np.where(below, tails - grown, LN2 - grown + 0.5 * x * x + log_ndtr_each(x))
    return np.where(known, found, 0.0).tolist()


def _placed(
    estimate: float, variance: float, tau: float, edge: float
) -> tuple[float, float] | None:
    """(x, r) of the formula; None without evidence."""
    if not (0 < variance < math.inf and tau > 0 and math.isfinite(estimate)):
        return None
    r = tau * tau / variance
    z = (estimate - edge) / math.sqrt(variance)
    return z * math.sqrt(r / (1 + r)), r


def _log_e(x: float, r: float) -> float:
    # For negative x, exp(x^2/2) Phi(x) is 0 x inf; erfcx is the same product without the factors.
    if x < 0:
        return math.log(erfcx(-x / math.sqrt(2))) - 0.5 * math.log1p(r)
    return LN2 - 0.5 * math.log1p(r) + 0.5 * x * x + log_ndtr(x)


def boundary(r: float, log_threshold: float) -> float:
    """The z at which the log e-value of `log_e` reaches `log_threshold`, for r = tau^2 V.

    Decreases to a minimum and then grows like sqrt(log r): the price of looking for ever.
    """
    # x^2 / 2 + log Phi(x) = target rises with x and is convex below its asymptote x^2 / 2.
    target = log_threshold + 0.5 * math.log1p(r) - LN2
    x = math.sqrt(2.0 * target + 1.0) if target > 0 else 0.0
    for _ in range(100):
        log_phi = log_ndtr(x)
        slope = x + math.exp(-0.5 * x * x - log_phi) / _SQRT_2_PI
        step = (0.5 * x * x + log_phi - target) / slope
        x -= step
        if abs(step) <= 1e-14 * max(1.0, abs(x)):
            break
    return x * math.sqrt((1 + r) / r)


def interval(estimate: float, variance: float, tau: float, alpha: float = 0.05) -> Interval:
    """The edges that neither one-sided e-value at alpha/2 has refuted: an always-valid interval.

    Inverted from `log_e`, so it never contradicts a decision made with the same `tau` at
    alpha/2 on that side. No data gives the whole line.
    """
    if not (0 < variance < math.inf and tau > 0 and math.isfinite(estimate)):
        return Interval(-math.inf, math.inf)
    reach = boundary(tau * tau / variance, math.log(2 / alpha)) * math.sqrt(variance)
    return Interval(estimate - reach, estimate + reach)


@cache
def _restart_weights(started: int, planned: int) -> tuple[list[float], float]:
    """Their log weights, and the weight of those that have not begun."""
    weights = restart_log_weights(started, planned)
    return weights, max(0.0, 0.5 - math.fsum(map(math.exp, weights)))


def restart_log_weights(started: int, planned: int) -> list[float]:
    """Log weights of the restarts that have begun; all that can ever begin share one half.

    The `planned` restarts get equal parts, and one further part is kept for unplanned ones
    (a changed candidate), of which the i-th gets 1 / (i (i + 1)). Fixed in advance, as they must.
    """
    part = 0.5 / (planned + 1)
    extra = [part / (i * (i + 1)) for i in range(1, started - planned + 1)]
    return [math.log(w) for w in [part] * min(started, planned) + extra]


def averaged(
    log_e_start: float, log_e_restarts: Sequence[float], planned: int = PLANNED_RESTARTS
) -> float:
    """Log of the mean of the e-value since the start (half) and of those restarted per step.

    `log_e_restarts` holds one value per restart that has begun, in order; `planned` is how many
    the plan foresees. What has not begun counts as 1. A mean of e-values with fixed weights is an
    e-value (Vovk and Wang 2021), and finds harm that begins late without waiting for the early,
    good data to be outweighed.
    """
    weights, idle = _restart_weights(len(log_e_restarts), planned)
    terms = [_LOG_HALF + log_e_start, *map(add, weights, log_e_restarts)]
    if idle > 0:
        terms.append(math.log(idle))
    return log_sum(terms)


def log_sum(terms: Sequence[float]) -> float:
    """log of the sum of exp(term), without overflow."""
    top = max(terms)
    if math.isinf(top):
        return top
    exp = math.exp
    return top + math.log(math.fsum([exp(term - top) for term in terms]))


def information_needed(distance: float, tau: float, alpha: float) -> float | None:
    """The information 1/V at which the e-value decides if the estimate stays where it is.

    `distance` is the estimate's distance beyond the edge; at or below 0 it never decides: None.
    """
    if not distance > 0 or not tau > 0:
        return None
    unit = tau / distance

    def excess(log_information: float) -> float:
        i = math.exp(log_information)
        r = unit * unit * i
        return _log_e(math.sqrt(i * r / (1 + r)), r) + math.log(alpha)

    return math.exp(root(excess, math.log(1e-6), math.log(1e12))) / (distance * distance)


def information_left(
    estimate: float, variance: float, tau: float, alpha: float, *, edge: float = 0.0
) -> float | None:
    """How many times the present information a decision still needs, if the estimate stays.

    0 when it has decided (then `log_e` >= log(1/alpha)), None when the estimate is on the
    wrong side of the edge or there is no data. 1.0 reads "as much again".
    """
    if not 0 < variance < math.inf:
        return None
    needed = information_needed(estimate - edge, tau, alpha)
    return None if needed is None else max(0.0, needed * variance - 1.0)
