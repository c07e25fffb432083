"""Is cost running at a multiple of what was projected?"""

import math
from typing import NamedTuple

from molt.core.stats import evalue
from molt.core.stats.ratio import mean
from molt.core.stats.special import Floats


class Overrun(NamedTuple):
    """Measured over projected cost, log evidence that it is above the multiple, and an interval."""

    ratio: float
    log_e: float
    low: float
    high: float
    requests: float


def overrun(
    n: Floats,
    cost: Floats,
    projected: float,
    multiple: float,
    *,
    tau: float = 0.5,
    alpha: float = 0.01,
    min_requests: int = 30,
) -> Overrun | None:
    """Evidence that cost per request is above `multiple` times `projected` (same unit).

    Engine B on the log ratio, so that doubling and halving weigh alike; var(log R) = var(R) / R^2
    by the delta method, clustered in buckets. `n` and `cost` are sums per bucket, cost capped per
    request by the caller, since one runaway request would hide the rest. None with fewer than
    `min_requests` or two buckets, or where all cost 0. The interval is always valid at `alpha`.
    """
    measured = mean(n, cost)
    if measured is None or measured.n < min_requests or measured.estimate <= 0:
        return None
    log_ratio = math.log(measured.estimate / projected)
    variance = measured.variance / measured.estimate**2
    low, high = evalue.interval(log_ratio, variance, tau, alpha)
    log_e = evalue.log_e(log_ratio, variance, tau, edge=math.log(multiple))
    return Overrun(math.exp(log_ratio), log_e, math.exp(low), math.exp(high), measured.n)


def interval(
    n: Floats, cost: Floats, *, tau: float = 0.5, alpha: float = 0.05
) -> evalue.Interval | None:
    """The always-valid interval of cost per unit of `n`, on the log scale; None without data.

    Skewed costs have an estimate that is low and a standard error that is too small at the same
    time; on the log scale the upper end allows for that.
    """
    measured = mean(n, cost)
    if measured is None or measured.estimate <= 0:
        return None
    low, high = evalue.interval(
        math.log(measured.estimate), measured.variance / measured.estimate**2, tau, alpha
    )
    return evalue.Interval(math.exp(low), math.exp(high))
