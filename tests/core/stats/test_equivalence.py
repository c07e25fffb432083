"""Two one-sided tests."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from molt.core.stats.equivalence import equivalence
from molt.core.stats.ratio import Difference

finite = st.floats(-1, 1)


def measured(estimate: float, variance: float) -> Difference:
    return Difference(
        estimate=estimate,
        variance=variance,
        candidate=1 + estimate,
        control=1.0,
        candidate_n=100,
        control_n=100,
        buckets=50,
    )


def test_a_precise_zero_is_within_and_a_vague_one_is_not():
    assert equivalence(measured(0, 1e-4), 0.1).within > math.log(20)
    assert equivalence(measured(0, 1e-2), 0.1).within < math.log(20)


def test_a_precise_difference_beyond_the_margin_is_outside_on_either_side():
    for estimate in (0.2, -0.2):
        e = equivalence(measured(estimate, 1e-4), 0.1)
        assert e.outside > math.log(40)
        assert e.within < 0


def test_at_the_margin_neither_is_proven():
    e = equivalence(measured(0.1, 1e-4), 0.1)
    assert e.within < math.log(20)
    assert e.outside < math.log(40)


@given(estimate=finite, variance=st.floats(1e-6, 1), margin=st.floats(0.01, 1))
def test_the_sign_only_exchanges_the_sides(estimate, variance, margin):
    one = equivalence(measured(estimate, variance), margin)
    two = equivalence(measured(-estimate, variance), margin)
    assert (one.above_lower, one.below_upper) == (two.below_upper, two.above_lower)
    assert one.outside == two.outside


@given(estimate=finite, variance=st.floats(1e-6, 1), margin=st.floats(0.01, 1))
def test_nothing_is_within_and_outside_at_once(estimate, variance, margin):
    e = equivalence(measured(estimate, variance), margin)
    assert not (e.within >= math.log(20) and e.outside >= math.log(40))
    assert np.isfinite([e.within, e.outside]).all()
