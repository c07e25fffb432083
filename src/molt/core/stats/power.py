"""What a step can prove: margins, information, requests."""

import math

from molt.core.stats.bernoulli import log_e_below

MARGIN_CAP = 0.5


def step_margin(harm_budget: float, next_share: float) -> float:
    """The relative non-inferiority margin: min(50%, budget / next share), shares 0..1.

    The harm that reaching the next step could cost all users together stays constant.
    """
    return min(MARGIN_CAP, harm_budget / next_share)


def clean_requests_needed(limit: float, alpha: float = 0.05, deff: float = 1.0) -> int:
    """Requests without a single error until "rate below `limit`" is proven."""
    return requests_needed(limit, 0.0, alpha, deff)


def requests_needed(limit: float, rate: float, alpha: float = 0.05, deff: float = 1.0) -> int:
    """Requests until "below `limit`" is proven if errors come exactly at `rate` < `limit`."""
    if rate >= limit:
        raise ValueError("a rate at or above the limit is never proven to be below it")
    target = math.log(1 / alpha)
    low, high = 1, 2
    while log_e_below(rate * high, high, limit, deff) < target:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if log_e_below(rate * middle, middle, limit, deff) < target:
            low = middle
        else:
            high = middle
    return high


def attempts_needed(variance: float, difference: float, share: float, deff: float = 1.0) -> float:
    """Candidate attempts for 80% chance to pass: 11 sigma^2 deff / (delta^2 (1 - share))."""
    return INFORMATION * variance * deff / (difference**2 * (1 - share))


INFORMATION = 11.0
"""Information for 80% power under continuous looks, in units of 1/delta^2 (6.2 for one look)."""


def wilson(successes: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval of a proportion; (0, 1) without data."""
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
