"""Cost against its projection."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.core.stats import cost


def spent(factor: float, users: int = 64, each: float = 10.0, seed: int = 1):
    """Sums per bucket of requests and of cost in units of the projection, gamma by user."""
    n = np.zeros(256)
    n[:users] = each
    return n, factor * n * np.random.default_rng(seed).gamma(8, 1 / 8, 256)


def found(n, y, **changes) -> cost.Overrun:
    result = cost.overrun(n, y, 1.0, 3.0, **changes)
    assert result is not None
    return result


def test_five_times_the_projection_is_proven_and_the_projection_is_not():
    assert found(*spent(5)).log_e > np.log(100)
    assert found(*spent(1)).log_e < 0
    assert found(*spent(3)).log_e < np.log(100)


def test_the_interval_holds_the_ratio():
    result = found(*spent(2))
    assert result.low < 2 < result.high
    assert result.low < result.ratio < result.high


def test_too_few_requests_or_users_say_nothing():
    n, y = spent(50, users=2, each=14.5)
    assert cost.overrun(n, y, 1.0, 3.0) is None
    assert cost.overrun(n, y, 1.0, 3.0, min_requests=29) is not None
    assert cost.overrun(*spent(50, users=1, each=100), 1.0, 3.0) is None
    assert cost.overrun(np.zeros(256), np.zeros(256), 1.0, 3.0) is None
    assert cost.overrun(*spent(0), 1.0, 3.0) is None


def test_equal_costs_do_trigger_though_they_show_no_variance():
    n, _ = spent(1, users=30, each=1)
    assert found(n, 4 * n).log_e > np.log(100)
    assert found(n, 3.05 * n).log_e < np.log(100)


@given(currency=st.sampled_from([1e-6, 0.01, 1000.0]))
def test_the_currency_does_not_matter(currency):
    n, y = spent(4)
    plain = found(n, y)
    other = cost.overrun(n, currency * y, currency, 3.0)
    assert other is not None
    assert other.log_e == pytest.approx(plain.log_e)
    assert other.ratio == pytest.approx(plain.ratio)


def test_the_interval_of_a_cost_is_on_the_log_scale():
    n, y = spent(2)
    interval = cost.interval(n, y)
    assert interval is not None
    estimate = y.sum() / n.sum()
    assert interval.high / estimate == pytest.approx(estimate / interval.low)
    assert cost.interval(np.zeros(4), np.zeros(4)) is None
    assert cost.interval(n, np.zeros(256)) is None
