"""Two one-sided tests: a difference is within a margin, both ways."""

from typing import NamedTuple

from molt.core.stats import evalue
from molt.core.stats.ratio import Difference


class Equivalence(NamedTuple):
    """log E that the difference is above -margin, below +margin, and that it is outside."""

    above_lower: float
    below_upper: float
    outside: float


def equivalence(d: Difference, margin: float) -> Equivalence:
    """Evidence for equivalence within `margin` (absolute, tau = margin), and against it.

    Each side is a level-alpha test of its own; both must pass, so no correction is needed.
    """
    return Equivalence(
        above_lower=evalue.log_e(d.estimate, d.variance, margin, edge=-margin),
        below_upper=evalue.log_e(-d.estimate, d.variance, margin, edge=-margin),
        outside=max(
            evalue.log_e(d.estimate, d.variance, margin, edge=margin),
            evalue.log_e(-d.estimate, d.variance, margin, edge=margin),
        ),
    )
