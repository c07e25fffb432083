"""Non-inferiority of one metric: evidence of harm, and evidence against harm beyond a margin.

Harm is sought from the start and anew from every later stratum, since it may begin late; the
margin is refuted on the whole. Both hold at every look together.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from molt.core.stats import evalue
from molt.core.stats.ratio import Difference, difference, restarts
from molt.core.stats.strata import Strata, Stratum

HARM_TAU: Final = 0.10
"""The harm, relative to control's mean, that failing is tuned to find."""

MIN_COMPARED: Final = 30
"""Units of each arm below which the normal approximation says nothing."""


class Case(NamedTuple):
    """One metric: its strata, and the margin relative to control's mean. See `difference`."""

    strata: Strata
    margin: float
    higher_is_better: bool
    binary: bool = False
    pre: Sequence[Stratum] | None = None


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
    return inferiorities([Case(Strata.of(strata), margin, higher_is_better, binary, pre)])[0]


def inferiorities(cases: Sequence[Case]) -> list[Inferiority | None]:
    """`inferiority` of several metrics that have as many strata: the same figures, in less time."""
    each = [difference(c.strata, binary=c.binary, pre=c.pre) for c in cases]
    known = [
        (i, case, d, HARM_TAU * abs(d.control))
        for i, (case, d) in enumerate(zip(cases, each, strict=True))
        if d is not None and d.control != 0 and d.control_n >= MIN_COMPARED
    ]
    found: list[Inferiority | None] = [None] * len(cases)
    for (i, case, d, _), harm in zip(known, _harm(known), strict=True):
        sign, edge = _sign(case), case.margin * abs(d.control)
        within = evalue.log_e(-sign * d.estimate, d.variance, edge, edge=-edge)
        found[i] = Inferiority(d, harm, within)
    return found


def _sign(case: Case) -> float:
    return -1.0 if case.higher_is_better else 1.0


def _harm(known: Sequence[tuple[int, Case, Difference, float]]) -> list[float]:
    """Log evidence of harm, from the start and anew from every later stratum."""
    if not known:
        return []
    cases, differences, taus = zip(*((c, d, tau) for _, c, d, tau in known), strict=True)
    later = restarts([c.strata for c in cases], [c.binary for c in cases])
    signs = np.array([[_sign(case)] for case in cases])
    estimates, variances = np.zeros((2, len(known), later.buckets.shape[1] + 1))
    # What has just begun says nothing: no variance, no evidence.
    compared = later.buckets >= 2
    compared &= np.minimum(later.candidate_ns, later.control_ns) >= MIN_COMPARED
    estimates[:, 1:], variances[:, 1:] = later.estimates, later.variances * compared
    estimates[:, 0] = [d.estimate for d in differences]
    variances[:, 0] = [d.variance if d.candidate_n >= MIN_COMPARED else 0.0 for d in differences]
    rows = evalue.log_e_rows(signs * estimates, variances, taus)
    return [evalue.averaged(start, anew) for start, *anew in rows]
