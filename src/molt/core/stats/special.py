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


def log_ndtr_each(x: Floats) -> Floats:
    """`log_ndtr`, element by element."""
    return cast("Floats", _scipy.log_ndtr(x))


def ndtri(p: float) -> float:
    """The standard normal quantile."""
    return float(_scipy.ndtri(p))


def erfcx(x: float) -> float:
    """exp(x^2) erfc(x), which does not underflow for large x."""
    return float(_scipy.erfcx(x))


def erfcx_each(x: Floats) -> Floats:
    """`erfcx`, element by element."""
    return cast("Floats", _scipy.erfcx(x))


def each(f: Callable[[float], float], x: Floats) -> Floats:
    """`f` element by element, where numpy's own may differ from it in the last digit."""
    return np.fromiter(map(f, x.ravel().tolist()), np.float64, x.size).reshape(x.shape)


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


def gammaincc(a: float, x: float) -> float:
    """1 - `gammainc`: P(Poisson(x) < a) for a whole number a."""
    return float(_scipy.gammaincc(a, x))


def root(f: Callable[[float], float], low: float, high: float) -> float:
    """Where the monotone function `f` crosses zero between `low` and `high`.

    Without a crossing, the end that `f` is nearer to zero at. Inverse quadratic steps where they
    are safe, else halving (Chandrupatla 1997): some ten evaluations instead of sixty.
    """
    a, b = low, high
    f_a, f_b = f(a), f(b)
    if f_a == 0 or f_b == 0 or (f_a < 0) == (f_b < 0):
        return a if abs(f_a) <= abs(f_b) else b
    c, f_c, t = a, f_a, 0.5
    for _ in range(200):
        x = a + t * (b - a)
        f_x = f(x)
        if (f_x < 0) == (f_a < 0):
            c, f_c = a, f_a
        else:
            c, f_c, b, f_b = b, f_b, a, f_a
        a, f_a = x, f_x
        best = a if abs(f_a) < abs(f_b) else b
        room = (4e-16 * abs(best) + 1e-300) / abs(b - c)
        if room > 0.5 or f_x == 0:
            return best
        t = min(1 - room, max(room, _step(a, b, c, f_a, f_b, f_c)))
    return a if abs(f_a) < abs(f_b) else b


def _step(a: float, b: float, c: float, f_a: float, f_b: float, f_c: float) -> float:
    """How far to go from `a` to `b`: by inverse quadratic interpolation, or half of it."""
    if f_c in (f_a, f_b):
        return 0.5
    xi, phi = (a - b) / (c - b), (f_a - f_b) / (f_c - f_b)
    if not (phi * phi < xi and (1 - phi) ** 2 < 1 - xi):
        return 0.5
    return f_a / (f_b - f_a) * f_c / (f_b - f_c) + (c - a) / (b - a) * f_a / (f_c - f_a) * f_b / (
        f_c - f_b
    )


def ndtr_array(x: Floats) -> Floats:
    """The standard normal distribution function, element by element."""
    return cast("Floats", _scipy.ndtr(x))
