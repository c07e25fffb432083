"""Special functions as plain typed floats: the one place that touches scipy.

Scalars go in and come out as Python floats; array forms say so in their names.
"""

from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np
import scipy.special  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_scipy: Final = cast("Any", scipy.special)

LN2: Final = 0.6931471805599453


def log_ndtr(x: float) -> float:
    """Log of the standard normal distribution function."""
    return float(_scipy.log_ndtr(x))


def ndtri(p: float) -> float:
    """The standard normal quantile."""
    return float(_scipy.ndtri(p))


def erfcx(x: float) -> float:
    """exp(x^2) erfc(x), which does not underflow for large x."""
    return float(_scipy.erfcx(x))


def betaln(a: float, b: float) -> float:
    """Log of the beta function."""
    return float(_scipy.betaln(a, b))


def betainc(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b)."""
    return float(_scipy.betainc(a, b, x))


def betaincc(a: float, b: float, x: float) -> float:
    """1 - I_x(a, b), exact when that is tiny."""
    return float(_scipy.betaincc(a, b, x))


def gammainc(a: float, x: float) -> float:
    """The regularised lower incomplete gamma function: P(Poisson(x) >= a) for a whole number a."""
    return float(_scipy.gammainc(a, x))


def root(f: Callable[[float], float], low: float, high: float) -> float:
    """Where the monotone function `f` crosses zero between `low` and `high`, by bisection.

    Without a crossing, the end that `f` is nearer to zero at.
    """
    rising = f(high) >= f(low)
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        if (f(middle) < 0) == rising:
            low = middle
        else:
            high = middle
    return high if rising else low


def ndtr_array(x: Floats) -> Floats:
    """The standard normal distribution function, element by element."""
    return cast("Floats", _scipy.ndtr(x))
