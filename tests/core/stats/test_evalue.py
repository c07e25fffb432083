"""Engine B: one-sided e-values of a normal estimate, their inversion, their average."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from molt.core.stats import evalue

finite = st.floats(-50, 50)
variances = st.floats(1e-6, 1e6)
taus = st.floats(1e-3, 1e3)


@pytest.mark.parametrize("r", [1e-4, 0.1, 1.0, 30.0, 1e6])
def test_an_e_value_is_one_on_average_at_the_edge_of_the_null(r):
    reach = 10 * math.sqrt(1 + r)
    z = np.linspace(-reach, reach, 100_001)
    log_e = np.array([evalue.log_e(float(x), 1.0, math.sqrt(r)) for x in z])
    assert integrate.simpson(np.exp(stats.norm.logpdf(z) + log_e), z) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("z", [-8.0, -1.0, 0.0, 2.0, 9.0])
@pytest.mark.parametrize("tau", [0.1, 1.0, 7.0])
def test_it_is_the_half_normal_mixture_of_likelihood_ratios(z, tau):
    def mixed(effect: float) -> float:
        return 2 * stats.norm.pdf(effect, scale=tau) * math.exp(effect * z - effect**2 / 2)

    mass = integrate.quad(mixed, 0, 40, points=[0.05, 0.5, 2, 9], limit=200)[0]
    assert evalue.log_e(z, 1.0, tau) == pytest.approx(math.log(mass), rel=1e-6, abs=1e-6)


@given(a=finite, b=finite, variance=variances, tau=taus)
def test_a_larger_estimate_is_never_weaker_evidence(a, b, variance, tau):
    low, high = sorted((a, b))
    assert evalue.log_e(low, variance, tau) <= evalue.log_e(high, variance, tau) + 1e-12


@given(estimate=finite, variance=variances, tau=taus, scale=st.sampled_from([1e-6, 0.5, 2, 1e6]))
def test_units_do_not_matter(estimate, variance, tau, scale):
    plain = evalue.log_e(estimate, variance, tau, edge=tau)
    scaled = evalue.log_e(scale * estimate, scale**2 * variance, scale * tau, edge=scale * tau)
    assert scaled == pytest.approx(plain, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("variance", [0.0, -1.0, math.inf, math.nan])
def test_a_variance_that_cannot_be_is_no_evidence(variance):
    assert evalue.log_e(5.0, variance, 1.0) == 0.0
    assert evalue.interval(5.0, variance, 1.0) == (-math.inf, math.inf)
    assert evalue.information_left(5.0, variance, 1.0, 0.05) is None


def test_extreme_estimates_stay_finite():
    assert evalue.log_e(1e6, 1.0, 1.0) == pytest.approx(0.25e12, rel=1e-6)
    assert -40 < evalue.log_e(-1e6, 1.0, 1.0) < 0


@given(r=st.floats(1e-6, 1e9), alpha=st.sampled_from([0.5, 0.05, 0.01, 1e-6]))
def test_the_boundary_is_where_the_e_value_decides(r, alpha):
    z = evalue.boundary(r, -math.log(alpha))
    assert evalue.log_e(z, 1.0, math.sqrt(r)) == pytest.approx(-math.log(alpha), abs=1e-9)


@given(estimate=finite, variance=variances, tau=taus)
def test_an_interval_never_contradicts_the_decision_made_from_the_same_numbers(
    estimate, variance, tau
):
    low, high = evalue.interval(estimate, variance, tau, 0.05)
    step = 1e-6 * math.sqrt(variance) * (1 + abs(high - low))
    decided = math.log(2 / 0.05)
    assert evalue.log_e(estimate, variance, tau, edge=low - step) >= decided - 1e-6
    assert evalue.log_e(estimate, variance, tau, edge=low + step) <= decided + 1e-6
    assert high - estimate == pytest.approx(estimate - low, rel=1e-6, abs=1e-9)


def test_weights_of_restarts_never_exceed_one_half():
    for started in (0, 1, 7, 8, 9, 40):
        weights = [math.exp(w) for w in evalue.restart_log_weights(started, 8)]
        assert len(weights) == started
        assert sum(weights) <= 0.5 + 1e-12
    assert math.exp(evalue.restart_log_weights(8, 8)[7]) == pytest.approx(1 / 18)


def test_an_average_of_nothing_but_ones_is_one():
    for started in (0, 3, 8, 20):
        assert evalue.averaged(0.0, [0.0] * started) == pytest.approx(0.0, abs=1e-12)


def test_harm_since_a_late_restart_is_found_though_the_start_was_good():
    assert evalue.averaged(-20.0, [0.0, -1.0, 9.0]) == pytest.approx(9 + math.log(1 / 18), abs=1e-3)


@given(e=st.lists(st.floats(-500, 500), min_size=1, max_size=12), at=st.integers(0, 11))
def test_more_evidence_in_any_restart_never_lowers_the_average(e, at):
    more = [x + (10 if i == at % len(e) else 0) for i, x in enumerate(e)]
    assert evalue.averaged(more[0], more[1:]) >= evalue.averaged(e[0], e[1:]) - 1e-9


def test_a_sum_of_logs_survives_infinities():
    assert evalue.log_sum([math.inf, 0.0]) == math.inf
    assert evalue.log_sum([-math.inf, 0.0]) == 0.0


@given(distance=st.floats(1e-3, 1e3), ratio=st.floats(0.05, 20))
def test_the_information_needed_is_where_a_steady_estimate_decides(distance, ratio):
    needed = evalue.information_needed(distance, ratio * distance, 0.05)
    assert needed is not None
    assert evalue.log_e(distance, 1 / needed, ratio * distance) == pytest.approx(
        math.log(20), abs=1e-6
    )


def test_information_left_counts_in_multiples_of_what_is_there():
    needed = evalue.information_needed(1.0, 1.0, 0.05)
    assert needed is not None
    assert evalue.information_left(1.0, 2 / needed, 1.0, 0.05) == pytest.approx(1.0)
    assert evalue.information_left(1.0, 0.5 / needed, 1.0, 0.05) == 0.0
    assert evalue.information_left(0.5, 2 / needed, 1.0, 0.05, edge=1.0) is None
    assert evalue.information_needed(0.0, 1.0, 0.05) is None
