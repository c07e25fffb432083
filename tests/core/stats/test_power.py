"""What can be proven, before it starts."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.core.stats import power
from molt.core.stats.bernoulli import log_e_below
from molt.core.stats.wilson import wilson


def test_margins_follow_the_harm_budget():
    shares = [0.02, 0.05, 0.10, 0.25, 0.50, 0.75, 1.0]
    margins = [power.step_margin(0.02, s) for s in shares]
    assert margins == pytest.approx([0.5, 0.4, 0.2, 0.08, 0.04, 0.02 / 0.75, 0.02])


def test_watching_costs_seventenths_more_information_than_one_look():
    assert power.fixed_information() == pytest.approx(6.18, abs=0.01)
    assert power.information() == pytest.approx(10.6, abs=0.2)
    assert power.information() / power.fixed_information() == pytest.approx(1.7, abs=0.05)
    assert power.information(0.5) < power.information(0.8) < power.information(0.9)
    assert power.information(0.8, 0.01) > power.information(0.8, 0.05)


def test_attempts_and_margins_are_inverse():
    attempts = power.attempts_needed(0.24, 0.05, 0.25, 1.5)
    assert attempts == pytest.approx(power.information() * 0.24 * 1.5 / (0.05**2 * 0.75))
    assert power.smallest_margin(attempts, 0.24, 0.25, 1.5) == pytest.approx(0.05)
    assert power.smallest_margin(0, 0.24, 0.25) == math.inf


@pytest.mark.parametrize(
    ("limit", "rate", "requests"),
    [(0.01, 0.0, 377), (0.02, 0.0, 188), (0.01, 0.005, 2678), (0.02, 0.005, 440)],
)
def test_requests_needed_are_the_published_ones(limit, rate, requests):
    assert power.requests_needed(limit, rate) == requests


@given(limit=st.floats(0.002, 0.5), part=st.floats(0, 0.6), alpha=st.sampled_from([0.05, 0.01]))
def test_the_requests_needed_prove_it_with_the_errors_expected(limit, part, alpha):
    n = power.requests_needed(limit, part * limit, alpha)
    assert log_e_below(round(part * limit * n), n, limit) >= -math.log(alpha) - 1e-9


def test_clustered_requests_count_for_less():
    assert power.clean_requests_needed(0.01, deff=2.0) == pytest.approx(2 * 377, abs=2)


def test_a_rate_at_the_limit_is_never_proven_below_it():
    with pytest.raises(ValueError, match="never proven"):
        power.requests_needed(0.01, 0.01)


def test_wilson_gives_the_published_interval():
    assert wilson(10, 100) == pytest.approx((0.05522914, 0.17436566), abs=1e-7)
    assert wilson(0, 20) == pytest.approx((0.0, 0.16112516), abs=1e-7)
    assert wilson(20, 20).high == 1.0
    assert wilson(0, 0) == (0, 1)
