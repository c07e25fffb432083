"""Sample-ratio mismatch: are new subjects split between the arms as the share says?

Dirichlet-multinomial Bayes factor (Lindon and Malek 2022), valid at any time; factors of
independent steps multiply.
"""

from collections.abc import Iterable
from math import log

from molt.core.stats.special import betaln

CONCENTRATION = 100.0
MISMATCH = 1000.0


def log_bayes_factor(candidate: int, control: int, share: float) -> float:
    """log of the evidence that new subjects are not split as `share` (0..1, exclusive) says.

    The alternative is Beta(kappa theta), kappa = 100 / theta_min: a mean at the planned split,
    concentrated enough to notice small deviations.
    """
    kappa = CONCENTRATION / min(share, 1 - share)
    a, b = kappa * share, kappa * (1 - share)
    alternative = float(betaln(a + candidate, b + control) - betaln(a, b))
    return alternative - candidate * log(share) - control * log(1 - share)


def combined(steps: Iterable[tuple[int, int, float]]) -> float:
    """The log Bayes factor over steps of (new on candidate, new on control, share)."""
    return sum(log_bayes_factor(a, b, share) for a, b, share in steps)
