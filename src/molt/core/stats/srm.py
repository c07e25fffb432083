"""Sample-ratio mismatch: are new subjects split between the arms as the share says?

Dirichlet-multinomial Bayes factor with prior kappa theta (Lindon and Malek 2022), valid at any
time; the factors of steps with different shares multiply.
"""

from collections.abc import Iterable
from functools import lru_cache
from math import fsum, log
from typing import Final

from molt.core.stats.special import betaln

CONCENTRATION: Final = 100.0
MISMATCH: Final = 1000.0
"""The Bayes factor at which no comparison can be trusted."""


@lru_cache(maxsize=1024)  # steps that are over do not change
def log_bayes_factor(candidate: int, control: int, share: float) -> float:
    """Log evidence that new subjects are not split as `share` (0..1) says; 0 at 0 and at 1.

    The alternative is Beta(kappa share, kappa (1 - share)), kappa = 100 / min(share, 1 - share):
    its mean is the planned split, and it is tight enough to notice a deviation of a tenth.
    """
    if not 0 < share < 1:
        return 0.0
    kappa = CONCENTRATION / min(share, 1 - share)
    a, b = kappa * share, kappa * (1 - share)
    alternative = betaln(a + candidate, b + control) - betaln(a, b)
    return alternative - candidate * log(share) - control * log(1 - share)


def combined(steps: Iterable[tuple[int, int, float]]) -> float:
    """The log Bayes factor over steps of (new on candidate, new on control, share)."""
    return fsum(log_bayes_factor(a, b, share) for a, b, share in steps)
