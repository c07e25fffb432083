"""Events per exposure on two arms: is the candidate's rate a multiple of control's?

Given the total of a stratum's events, the candidate's part is binomial with
p = theta e / (1 + theta e), where e = E_T / E_C and theta is the ratio of rates (Przyborowski and
Wilenski 1940); the rates themselves drop out, so they may swing by the hour and the week. Strata
(steps, whose e differs) are multiplied, never pooled: pooled totals compare a weekend at one share
with working days at another.

The e-value is a mixture over ln(theta / ratio) > 0, half-normal with scale 1, of the likelihood
ratio against theta = ratio.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

from molt.core.stats.evalue import Interval, log_sum
from molt.core.stats.special import Floats, root

_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(64)
_NEGLIGIBLE: Final = 45.0
"""Log of how far the integrand has fallen where the integral is cut off."""
_WIDEST: Final = math.log(1000.0)
_REACH: Final = 10.0
"""The half-normal prior alone falls by more than that within this distance of any mode."""


class Exposure(NamedTuple):
    """One stratum: events and what they are counted per (requests, user-days), for both arms."""

    candidate_events: float
    candidate: float
    control_events: float
    control: float


def log_e_ratio_above(strata: Sequence[Exposure], ratio: float, deff: float = 1.0) -> float:
    """Log evidence that the candidate's rate is above `ratio` times control's; 0 without data.

    Strata in which an arm had no exposure say nothing. `deff` divides all events first.
    """
    used = [s for s in strata if s.candidate > 0 and s.control > 0]
    mine = np.array([s.candidate_events for s in used]) / deff
    both = np.array([s.candidate_events + s.control_events for s in used]) / deff
    if not used or not both.sum() > 0:
        return 0.0
    odds = np.log([ratio * s.candidate / s.control for s in used])
    return _log_mixture(float(mine.sum()), both, odds)


def log_e_ratio_below(strata: Sequence[Exposure], ratio: float, deff: float = 1.0) -> float:
    """Log evidence that the candidate's rate is below `ratio` times control's; 0 without data.

    The arms change places: control's rate is above 1 / ratio of the candidate's.
    """
    swapped = [
        Exposure(s.control_events, s.control, s.candidate_events, s.candidate) for s in strata
    ]
    return log_e_ratio_above(swapped, 1.0 / ratio, deff)


def ratio_interval(strata: Sequence[Exposure], alpha: float = 0.05) -> Interval:
    """The ratios of rates that neither one-sided process has refuted at alpha / 2: valid at every look.

    (0, infinity) without events; ends are sought between 1/1000 and 1000.
    """
    target = math.log(2 / alpha)

    def below(log_ratio: float) -> float:
        return target - log_e_ratio_above(strata, math.exp(log_ratio))

    def above(log_ratio: float) -> float:
        return log_e_ratio_below(strata, math.exp(log_ratio)) - target

    low = math.exp(root(below, -_WIDEST, _WIDEST)) if below(-_WIDEST) < 0 else 0.0
    high = math.exp(root(above, -_WIDEST, _WIDEST)) if above(_WIDEST) > 0 else math.inf
    return Interval(low, high)


def _log_mixture(mine: float, both: Floats, odds: Floats) -> float:
    """Log of the mixed likelihood ratio over phi = ln(theta / ratio) > 0.

    The integrand is log-concave, so it is integrated to both sides of its mode, as far as it
    matters, by Gauss-Legendre.
    """
    at_null = both @ np.logaddexp(0.0, odds)

    def log_density(phi: Floats) -> Floats:
        fitted = np.logaddexp(0.0, odds + phi[:, None]) @ both
        return mine * phi - fitted + at_null - 0.5 * phi * phi

    def at(phi: float) -> float:
        return float(log_density(np.array([phi]))[0])

    def slope(phi: float) -> float:
        return mine - phi - float(both @ (1.0 / (1.0 + np.exp(-odds - phi))))

    mode = root(slope, 0.0, mine + 1.0) if slope(0.0) > 0 else 0.0
    floor, low = at(mode) - _NEGLIGIBLE, max(0.0, mode - _REACH)
    high = root(lambda phi: at(phi) - floor, mode, mode + _REACH)
    if at(low) < floor:
        low = root(lambda phi: at(phi) - floor, low, mode)
    return log_sum(
        [_log_integral(log_density, a, b) for a, b in ((low, mode), (mode, high)) if b > a]
    ) - 0.5 * math.log(math.pi / 2)


def _log_integral(log_density: Callable[[Floats], Floats], low: float, high: float) -> float:
    half = 0.5 * (high - low)
    values = log_density(half * _NODES + 0.5 * (low + high))
    top = float(values.max())
    return top + math.log(half * float(_NODE_WEIGHTS @ np.exp(values - top)))
