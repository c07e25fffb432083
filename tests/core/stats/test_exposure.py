"""Events per exposure, stratified: tickets and complaints against control."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from molt.core.stats.exposure import Exposure, log_e_ratio_above, log_e_ratio_below

strata = st.lists(
    st.builds(
        Exposure,
        st.integers(0, 300),
        st.floats(0.1, 1e4),
        st.integers(0, 3000),
        st.floats(0.1, 1e5),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("log_e", [log_e_ratio_above, log_e_ratio_below])
@pytest.mark.parametrize(("events", "share", "ratio"), [(12, 0.05, 1.25), (60, 0.5, 2.0)])
def test_an_e_value_is_one_on_average_at_the_edge_of_the_null(log_e, events, share, ratio):
    mine = np.arange(events + 1)
    chance = stats.binom.pmf(mine, events, ratio * share / (ratio * share + 1 - share))
    values = [
        math.exp(log_e([Exposure(int(x), share, events - int(x), 1 - share)], ratio)) for x in mine
    ]
    assert chance @ values == pytest.approx(1.0, rel=1e-9)


def test_it_is_the_half_normal_mixture_over_all_strata():
    rows = [Exposure(3, 10, 40, 300), Exposure(9, 100, 30, 250)]

    def mixed(phi: float) -> float:
        value = 2 * stats.norm.pdf(phi)
        for x, e, others, rest in rows:
            null, here = 1.25 * e / rest, 1.25 * e / rest * math.exp(phi)
            value *= (here / null) ** x * ((1 + null) / (1 + here)) ** (x + others)
        return value

    expected = math.log(integrate.quad(mixed, 0, 12)[0])
    assert log_e_ratio_above(rows, 1.25) == pytest.approx(expected, abs=1e-6)


@given(rows=strata, ratio=st.floats(0.2, 5), at=st.integers(0, 5))
def test_one_more_event_of_the_candidate_never_improves_it(rows, ratio, at):
    i = at % len(rows)
    more = [r._replace(candidate_events=r.candidate_events + (j == i)) for j, r in enumerate(rows)]
    assert log_e_ratio_above(rows, ratio) <= log_e_ratio_above(more, ratio) + 1e-6
    assert log_e_ratio_below(rows, ratio) >= log_e_ratio_below(more, ratio) - 1e-6


@given(rows=strata, ratio=st.floats(0.2, 5), scale=st.sampled_from([1e-3, 1e3]))
def test_neither_the_unit_of_exposure_nor_the_order_matters(rows, ratio, scale):
    moved = [
        r._replace(candidate=scale * r.candidate, control=scale * r.control) for r in reversed(rows)
    ]
    assert log_e_ratio_above(moved, ratio) == pytest.approx(
        log_e_ratio_above(rows, ratio), rel=1e-6, abs=1e-6
    )


def test_a_weekend_at_a_larger_share_is_no_difference():
    workdays = Exposure(20, 1000, 1980, 99_000)
    weekend = Exposure(1500, 25_000, 4500, 75_000)
    pooled = Exposure(1520, 26_000, 6480, 174_000)
    assert log_e_ratio_above([workdays, weekend], 1.25) < 0
    assert log_e_ratio_above([pooled], 1.25) > math.log(100)


def test_no_exposure_or_no_event_is_no_evidence():
    assert log_e_ratio_above([], 1.25) == 0
    assert log_e_ratio_above([Exposure(5, 10, 5, 0)], 1.25) == 0
    assert log_e_ratio_below([Exposure(0, 10, 0, 10)], 2.0) == 0


def test_extremes_stay_finite():
    for row in (Exposure(10**6, 1e8, 10**6, 1e8), Exposure(0, 1, 10**6, 1e8)):
        assert math.isfinite(log_e_ratio_above([row], 1.25))
        assert math.isfinite(log_e_ratio_below([row], 2.0))


def test_a_design_effect_divides_the_events():
    row, double = Exposure(30, 10, 30, 30), Exposure(60, 10, 60, 30)
    assert log_e_ratio_above([double], 1.25, deff=2.0) == log_e_ratio_above([row], 1.25)
