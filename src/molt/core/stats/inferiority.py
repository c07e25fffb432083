"""Non-inferiority of one metric: evidence of harm, and evidence against harm beyond a margin.

Harm is sought from the start and anew from every later stratum, since it may begin late; the
margin is refuted on the whole. Both hold at every look together.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from molt.core.stats import evalue
from molt.core.stats.ratio import Difference, Stratum, difference, restarts

HARM_TAU: Final = 0.10
"""The harm, relative to control's mean, that failing is tuned to find."""

MIN_COMPARED: Final = 30
"""Units of each arm below which the normal approximation says nothing."""


class Inferiority(NamedTuple):
    """The difference, and log evidence that it is harm at all, and that harm is within the margin."""

    difference: Difference
    log_e_harm: float
    log_e_within: float


def inferiority(
    strata: Sequence[Stratum],
    *,
    margin: float,
    higher_is_better: bool,
    binary: bool = False,
    pre: Sequence[Stratum] | None = None,
) -> Inferiority | None:
    """Both kinds of evidence; `margin` is relative to control's mean. None with too little data."""
    d = difference(strata, binary=binary, pre=pre)
    if d is None or d.control == 0 or d.control_n < MIN_COMPARED:
        return None
    sign = -1.0 if higher_is_better else 1.0
    mean = abs(d.control)
    edge, tau = margin * mean, HARM_TAU * mean
    begun = [one if _compared(one) else None for one in (d, *restarts(strata, binary=binary))]
    # An epoch that has just begun says nothing: no variance, no evidence.
    pairs = [(0.0, 0.0) if one is None else (sign * one.estimate, one.variance) for one in begun]
    start, *later = evalue.log_e_each(pairs, tau)
    harm = evalue.averaged(start, later)
    return Inferiority(d, harm, evalue.log_e(-sign * d.estimate, d.variance, edge, edge=-edge))


def _compared(d: Difference | None) -> bool:
    return d is not None and min(d.candidate_n, d.control_n) >= MIN_COMPARED
