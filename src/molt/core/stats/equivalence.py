"""Two one-sided tests: a difference is within a margin, both ways."""

from typing import NamedTuple

from molt.core.stats import evalue
from molt.core.stats.ratio import Difference


class Equivalence(NamedTuple):
    """Log evidence that the difference is above -margin, below +margin, and outside either."""

    above_lower: float
    below_upper: float
    outside: float

    @property
    def within(self) -> float:
        """The weaker side's evidence: both must be refuted."""
        return min(self.above_lower, self.below_upper)


def equivalence(d: Difference, margin: float) -> Equivalence:
    """Evidence that a difference is within `margin` (absolute; tau = margin), and against it.

    `within >= log(1 / alpha)` errs with probability alpha at most, without any correction, since
    the truth can be outside on one side only (TOST; Schuirmann 1987). `outside` is the better of
    two e-values, so it needs log(2 / alpha).
    """
    return Equivalence(
        above_lower=evalue.log_e(d.estimate, d.variance, margin, edge=-margin),
        below_upper=evalue.log_e(-d.estimate, d.variance, margin, edge=-margin),
        outside=max(
            evalue.log_e(d.estimate, d.variance, margin, edge=margin),
            evalue.log_e(-d.estimate, d.variance, margin, edge=margin),
        ),
    )
