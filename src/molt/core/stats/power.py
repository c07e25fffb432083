"""What a step can prove, before it starts: margins, information, attempts, requests."""

import math
from functools import lru_cache
from typing import Final

import numpy as np

from molt.core.stats.bernoulli import log_e_below
from molt.core.stats.evalue import boundary
from molt.core.stats.special import ndtr_array, ndtri

MARGIN_CAP: Final = 0.5
_GRID: Final = 400
_MOST_REQUESTS: Final = 10**12


def step_margin(harm_budget: float, next_share: float) -> float:
    """The relative non-inferiority margin: min(50%, budget / next share), shares 0..1.

    The harm that reaching the next step could cost all users together stays constant.
    """
    return min(MARGIN_CAP, harm_budget / next_share)


@lru_cache(maxsize=64)
def information(power: float = 0.8, alpha: float = 0.05) -> float:
    """The information 1/V at which a harmless candidate has passed with chance `power`.

    In units of 1 / margin^2, for engine B watched all the time with tau = margin: about 11 for 80%
    at 5%. The score is a Brownian motion with drift 1 in these units; its first passage through
    the e-value's boundary solves P(score_t > b_t) = integral of passage(u) P(score_t > b_t | at
    b_u) du (Durbin 1971), by the midpoint rule on a grid of equal ratios.
    """
    times = np.geomspace(0.05, 200.0, _GRID)
    bounds = np.array([boundary(t, -math.log(alpha)) * math.sqrt(t) for t in times])
    above = ndtr_array((times - bounds) / np.sqrt(times))
    passed = np.zeros(_GRID)
    for i in range(_GRID):
        since = times[i] - times[:i]
        returns = ndtr_array((bounds[:i] + since - bounds[i]) / np.sqrt(since))
        # Having just arrived at the boundary, the score is above it half of the time.
        passed[i] = max(0.0, 2.0 * float(above[i] - passed[:i] @ returns))
    return float(np.interp(power, np.cumsum(passed), times))


def fixed_information(power: float = 0.8, alpha: float = 0.05) -> float:
    """The same if one looked only once, at the end: (z_alpha + z_power)^2, 6.2 for 80% at 5%."""
    return (ndtri(1 - alpha) + ndtri(power)) ** 2


def attempts_needed(
    variance: float,
    margin: float,
    share: float,
    deff: float = 1.0,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
) -> float:
    """Candidate attempts until a harmless candidate has passed with chance `power`.

    information x variance x deff / (margin^2 (1 - share)): `variance` is one attempt's, `margin`
    absolute, `share` (0..1) the candidate's, since control's part of the variance grows with it.
    """
    return information(power, alpha) * variance * deff / (margin**2 * (1 - share))


def smallest_margin(
    attempts: float,
    variance: float,
    share: float,
    deff: float = 1.0,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
) -> float:
    """The smallest harm, absolute, that so many candidate attempts are likely to rule out.

    The inverse of `attempts_needed`; infinite without attempts.
    """
    if attempts <= 0:
        return math.inf
    return math.sqrt(information(power, alpha) * variance * deff / (attempts * (1 - share)))


def clean_requests_needed(limit: float, alpha: float = 0.05, deff: float = 1.0) -> int:
    """Requests without a single error until "rate below `limit`" is proven: 377 for 1%."""
    return requests_needed(limit, 0.0, alpha, deff)


def requests_needed(limit: float, rate: float, alpha: float = 0.05, deff: float = 1.0) -> int:
    """Requests until "below `limit`" is proven if n requests have round(rate n) errors.

    A typical path, not a quantile: at a true 0.5% half of all candidates are done sooner, and
    one in five needs 1.4 times as many. Raises ValueError where `rate` is not below `limit`.
    """
    if not rate < limit:
        raise ValueError(f"a rate of {rate:g} is never proven to be below {limit:g}")
    target = -math.log(alpha)

    def proven(n: int, errors: int) -> bool:
        return log_e_below(errors, n, limit, deff) >= target

    def last(errors: int) -> int:
        """The most requests that have, rounded, so many errors."""
        most = _MOST_REQUESTS
        return most if rate * most < errors + 0.5 else math.ceil((errors + 0.5) / rate) - 1

    # Evidence grows with n for a given number of errors, and jumps down at each further error.
    errors = 0
    while not proven(last(errors), errors):
        errors += 1
    low, high = (last(errors - 1) if errors else 0), last(errors)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if proven(middle, errors) else (middle, high)
    return high
