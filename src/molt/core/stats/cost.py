"""Is cost running at a multiple of what was projected?"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from molt.core.stats import evalue
from molt.core.stats.ratio import mean

Floats = NDArray[np.float64]


class Overrun(NamedTuple):
    """Measured over projected cost, the evidence that it is above the multiple, and an interval."""

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
    """Evidence on the log ratio of cost per request to `projected` (same unit) against `multiple`.

    The variance is the delta method's, clustered in buckets: var(log R) = var(R) / R^2. None below
    `min_requests`, or while too few users were seen for a variance.
    """
    measured = mean(n, cost)
    if measured is None or measured.n < min_requests or measured.estimate <= 0:
        return None
    log_ratio = math.log(measured.estimate / projected)
    variance = max(measured.variance / measured.estimate**2, 1 / measured.n)
    low, high = evalue.interval(log_ratio, variance, tau, alpha)
    log_e = evalue.log_e(log_ratio, variance, tau, edge=math.log(multiple))
    return Overrun(math.exp(log_ratio), log_e, math.exp(low), math.exp(high), measured.n)
