"""Wilson's interval of a proportion, for one look at a finished count."""

import math

from molt.core.stats.evalue import Interval
from molt.core.stats.special import ndtri


def wilson(events: float, n: float, alpha: float = 0.05) -> Interval:
    """The interval of a proportion at level 1 - alpha (Wilson 1927); (0, 1) without data.

    Right for a count looked at once, such as a report; a decision that watches uses
    `bernoulli.interval`.
    """
    if n <= 0:
        return Interval(0.0, 1.0)
    z, p = ndtri(1 - alpha / 2), events / n
    shrink = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if events <= 0 else max(0.0, centre - half)
    return Interval(low, 1.0 if events >= n else min(1.0, centre + half))
