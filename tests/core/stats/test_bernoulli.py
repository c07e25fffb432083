"""Engine C: rates, exactly and at every look."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats

from molt.core.stats import bernoulli
from molt.core.stats.bernoulli import log_e_above, log_e_below

counts = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
rates = st.floats(1e-6, 1 - 1e-6)
effects = st.floats(1, 20)


@pytest.mark.parametrize("log_e", [log_e_above, log_e_below])
@pytest.mark.parametrize(("n", "p0"), [(1, 0.5), (30, 0.01), (400, 0.02), (200, 0.9)])
def test_an_e_value_is_exactly_one_on_average_at_the_edge_of_the_null(log_e, n, p0):
    log_chance = stats.binom.logpmf(np.arange(n + 1), n, p0)
    values = np.array([log_e(s, n, p0) for s in range(n + 1)])
    assert np.exp(log_chance + values).sum() == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize(("log_e", "inside"), [(log_e_above, 0.3), (log_e_below, 3.0)])
def test_it_is_at_most_one_on_average_inside_the_null(log_e, inside):
    n, p0 = 200, 0.05
    chance = stats.binom.pmf(np.arange(n + 1), n, inside * p0)
    assert chance @ [math.exp(log_e(s, n, p0)) for s in range(n + 1)] < 1


@pytest.mark.parametrize(("s", "n", "p0"), [(0, 50, 0.01), (4, 100, 0.02), (60, 300, 0.3)])
def test_it_is_the_truncated_beta_mixture(s, n, p0):
    def mixed(p: float) -> float:
        return (p / p0) ** s * ((1 - p) / (1 - p0)) ** (n - s) * stats.beta.pdf(p, 0.5, 0.5)

    below = integrate.quad(mixed, 0, p0)[0] / stats.beta.cdf(p0, 0.5, 0.5)
    above = integrate.quad(mixed, p0, 1, limit=500)[0] / stats.beta.sf(p0, 0.5, 0.5)
    assert log_e_below(s, n, p0) == pytest.approx(math.log(below), abs=1e-5)
    assert log_e_above(s, n, p0) == pytest.approx(math.log(above), abs=1e-5)


def test_published_clean_requests_decide_and_one_fewer_does_not():
    for limit, n in ((0.01, 377), (0.02, 188)):
        assert log_e_below(0, n, limit) >= math.log(20) > log_e_below(0, n - 1, limit)


@given(count=counts, p0=rates, deff=effects)
def test_one_more_failure_never_improves_a_rate(count, p0, deff):
    s, n = count
    if s < n:
        assert log_e_above(s, n, p0, deff) <= log_e_above(s + 1, n, p0, deff) + 1e-9
        assert log_e_below(s, n, p0, deff) >= log_e_below(s + 1, n, p0, deff) - 1e-9


@given(count=counts, p0=rates)
def test_below_is_above_with_events_and_the_rest_exchanged(count, p0):
    s, n = count
    assert log_e_below(s, n, p0) == pytest.approx(log_e_above(n - s, n, 1 - p0), rel=1e-6, abs=1e-6)


@given(count=counts, p0=rates, factor=st.integers(2, 9))
def test_a_design_effect_divides_the_evidence_of_repeated_requests(count, p0, factor):
    s, n = count
    assert log_e_above(factor * s, factor * n, p0, factor) == pytest.approx(
        log_e_above(s, n, p0), rel=1e-9, abs=1e-9
    )


@pytest.mark.parametrize("p0", [1e-12, 1e-9, 1e-4, 0.01, 0.5, 0.999999])
@pytest.mark.parametrize("n", [1, 1000, 10**8])
def test_extremes_stay_finite_and_on_the_right_side(n, p0):
    for s in {0, 1, n // 2, n}:
        above, below = log_e_above(s, n, p0), log_e_below(s, n, p0)
        assert math.isfinite(above)
        assert math.isfinite(below)
        if n * p0 > 1 and s < 0.5 * n * p0:
            assert above < 0
        if s > 2 * n * p0 and n * p0 > 1:
            assert below < 0


def test_both_ways_of_reckoning_agree_where_they_meet():
    n, p0 = 4000, 0.01
    values = [log_e_above(s / 100, n, p0) for s in range(500, 4000)]
    steps = np.diff(values)
    assert steps.min() > 0
    assert np.abs(np.diff(steps)).max() < 1e-3


@pytest.mark.parametrize(("s", "n", "p0"), [(20, 1e6, 0.01), (9e5, 1e8, 0.01), (30, 1e4, 0.02)])
def test_the_tail_agrees_with_a_sum_of_logs_where_the_library_underflows(s, n, p0):
    p = p0 + np.geomspace(1e-12, 1 - p0 - 1e-9, 400_001)
    log = (s - 0.5) * np.log(p) + (n - s - 0.5) * np.log1p(-p)
    log -= s * math.log(p0) + (n - s) * math.log1p(-p0)
    mass = special.logsumexp(log + np.log(np.gradient(p)))
    expected = mass - math.log(math.pi * special.betaincc(0.5, 0.5, p0))
    assert log_e_above(s, n, p0) == pytest.approx(expected, abs=1e-3)


def test_no_data_is_no_evidence():
    assert log_e_above(0, 0, 0.01) == log_e_below(0, 0, 0.01) == 0
    assert log_e_above(5, 10, 0.0) == log_e_below(5, 10, 1.0) == 0
    assert bernoulli.interval(0, 0) == (0, 1)


def test_the_design_effect_is_two_until_ten_events_were_seen():
    n, y = np.full(256, 10.0), np.zeros(256)
    y[:9] = 1
    assert bernoulli.measured_effect(n, y) is None
    assert bernoulli.design_effect(n, y) == 2.0
    y[9] = 1
    assert bernoulli.design_effect(n, y) == 1.0
    assert bernoulli.design_effect(n, y, previous=3.5) == 3.5


def test_the_design_effect_measures_how_events_cluster():
    rng = np.random.default_rng(1)
    n = rng.poisson(40, 256) * 1.0
    alone = rng.binomial(n.astype(int), 0.1) * 1.0
    assert bernoulli.measured_effect(n, alone) == pytest.approx(1.0, abs=0.3)
    assert bernoulli.measured_effect(5 * n, 5 * alone) == pytest.approx(
        5 * bernoulli.measured_effect(n, alone), rel=1e-9
    )
    hit = np.zeros(256)
    hit[3] = n[3]
    assert bernoulli.design_effect(n, hit) > 20
    assert bernoulli.measured_effect(n, n) == 1.0


@given(count=counts, deff=effects)
def test_an_interval_never_contradicts_the_decision_made_from_the_same_numbers(count, deff):
    s, n = count
    low, high = bernoulli.interval(s, n, 0.05, deff)
    assert 0 <= low <= s / n <= high <= 1
    if low > 0:
        assert log_e_above(s, n, 0.999 * low, deff) > math.log(40) - 1e-6
        assert log_e_above(s, n, min(1.001 * low, s / n), deff) < math.log(40)
    if high < 1:
        assert log_e_below(s, n, min(1.001 * high, 1 - 1e-13), deff) > math.log(40) - 1e-6


def test_equal_exposure_and_ratio_one_share_events_evenly():
    assert bernoulli.share_under_ratio(100, 100, 1.0) == 0.5
    assert bernoulli.share_under_ratio(10, 90, 1.25) == pytest.approx(12.5 / 102.5)
