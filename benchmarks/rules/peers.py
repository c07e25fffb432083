"""Rules of other tools as plain functions, written from their documentation.

Slot rules look at requests `n` and errors `x` per ten-second slot and give the index of the slot
after which they roll back, or infinity. Comparing rules look at cumulative sums at every look and
give "fail", "pass" or "wait".
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MINUTE: Final = 6
"""Slots."""


def _windows(n: Ints, x: Ints, size: int) -> tuple[Ints, Ints]:
    """Requests and errors of the last `size` slots, after each slot."""
    total_n, total_x = np.cumsum(n), np.cumsum(x)
    before_n, before_x = np.zeros_like(total_n), np.zeros_like(total_x)
    before_n[size:], before_x[size:] = total_n[:-size], total_x[:-size]
    return total_n - before_n, total_x - before_x


def _first(mask: NDArray[np.bool_]) -> float:
    return float(mask.argmax()) if mask.any() else math.inf


def argo_threshold(n: Ints, x: Ints, limit: float, minutes: int) -> float:
    """An AnalysisTemplate with `interval: D`, `failureLimit: 0`: each interval's own rate."""
    size = minutes * MINUTE
    requests, errors = _windows(n, x, size)
    due = np.zeros(len(n), np.bool_)
    due[size - 1 :: size] = True
    return _first(due & (requests > 0) & (errors > limit * requests))


def flagger_counter(n: Ints, x: Ints, limit: float, minutes: int) -> float:
    """A check a minute on the last minute's success rate; back after `minutes` failed checks."""
    requests, errors = _windows(n, x, MINUTE)
    due = np.zeros(len(n), np.bool_)
    due[MINUTE - 1 :: MINUTE] = True
    failed = np.cumsum(due & (requests > 0) & (errors > limit * requests))
    return _first(failed >= minutes)


def prometheus_for(n: Ints, x: Ints, limit: float, minutes: int) -> float:
    """`rate(errors[5m]) / rate(requests[5m]) > X` with `for: D`: true at every evaluation for D."""
    size = minutes * MINUTE
    requests, errors = _windows(n, x, size)
    above = (requests > 0) & (errors > limit * requests)
    idle = np.flatnonzero(~above)
    since = np.full(len(n), -1)
    since[idle] = idle
    lasted = np.arange(len(n)) - np.maximum.accumulate(since)
    return _first(above & (lasted > size))


# --- comparisons


class Look(NamedTuple):
    """One metric at one look: totals since the start per arm, and each interval's own figures.

    `n` and `y` are attempts and successes; `variance` is that of the pooled difference of ratios,
    clustered by user. `points` are (candidate, control) ratios of single intervals.
    """

    candidate_n: float
    candidate_y: float
    control_n: float
    control_y: float
    variance: float
    points: Floats

    @property
    def difference(self) -> float:
        """Candidate's ratio less control's, pooled over everything."""
        return self.candidate_y / self.candidate_n - self.control_y / self.control_n

    @property
    def control(self) -> float:
        """Control's ratio."""
        return self.control_y / self.control_n


def argo_ab(look: Look, margin: float) -> str:
    """The last interval's figure more than the margin below control's: fail."""
    if not len(look.points) or np.isnan(look.points[-1]).any():
        return "wait"
    candidate, control = look.points[-1]
    return "fail" if candidate < (1 - margin) * control else "pass"


def peeked_z(look: Look, alpha: float = 0.05) -> str:
    """A two-sided z-test at every look, as if it were the only one."""
    p, n, c = look.control, look.candidate_n, look.control_n
    pooled = (look.candidate_y + look.control_y) / (n + c)
    spread = pooled * (1 - pooled) * (1 / n + 1 / c)
    if spread <= 0 or not 0 < p < 1:
        return "wait"
    z = look.difference / math.sqrt(spread)
    return "fail" if z < stats.norm.ppf(alpha / 2) else "pass"


def growthbook_half_width(
    variance: float, n: float, alpha: float = 0.05, tuned_to: float = 5000.0
) -> float:
    """Half the width of an asymptotic confidence sequence tuned to a sample size.

    As GrowthBook has it (Waudby-Smith et al. 2024): rho from the sample size that it is tuned to,
    sigma sqrt(N) sqrt(2 (N rho^2 + 1) / (N^2 rho^2) log(sqrt(N rho^2 + 1) / alpha)).
    """
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / tuned_to
    scale = 2 * (n * rho2 + 1) / (n * rho2)
    return math.sqrt(variance * scale * math.log(math.sqrt(n * rho2 + 1) / alpha))


def growthbook_sequential(look: Look) -> str:
    """Its sequential interval lies below 0; pooled over steps, without strata."""
    if look.variance <= 0:
        return "wait"
    half = growthbook_half_width(look.variance, look.candidate_n + look.control_n)
    return "fail" if look.difference + half < 0 else "pass"


def kayenta_mann_whitney(
    look: Look, tolerance: float = 0.25, alpha: float = 0.02, at_least: int = 8
) -> str:
    """Mann-Whitney on time points: the interval of the shift lies below tolerance x control's mean.

    Kayenta's classifier (98% interval, tolerance 25%), by Hodges and Lehmann's interval of the shift.
    """
    points = look.points[~np.isnan(look.points).any(axis=1)] if len(look.points) else look.points
    if len(points) < at_least:
        return "wait"
    candidate, control = points[:, 0], points[:, 1]
    shifts = np.sort((candidate[:, None] - control[None, :]).ravel())
    m, n = len(candidate), len(control)
    z = stats.norm.ppf(1 - alpha / 2)
    k = round(m * n / 2 - z * math.sqrt(m * n * (m + n + 1) / 12))
    high = shifts[-max(1, k)]
    return "fail" if high < -tolerance * control.mean() else "pass"
