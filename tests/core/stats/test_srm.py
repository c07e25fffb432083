"""Sample-ratio mismatch."""

import math

import numpy as np
import pytest
from scipy import stats

from molt.core.stats import srm


@pytest.mark.parametrize(("n", "share"), [(40, 0.5), (300, 0.05)])
def test_the_bayes_factor_is_one_on_average_at_the_planned_split(n, share):
    x = np.arange(n + 1)
    factors = [math.exp(srm.log_bayes_factor(int(k), int(n - k), share)) for k in x]
    assert stats.binom.pmf(x, n, share) @ factors == pytest.approx(1.0, rel=1e-9)


def test_it_is_the_beta_binomial_over_the_binomial():
    share, x, n = 0.1, 30, 200
    kappa = 100 / share
    expected = stats.betabinom.logpmf(x, n, kappa * share, kappa * (1 - share))
    expected -= stats.binom.logpmf(x, n, share)
    assert srm.log_bayes_factor(x, n - x, share) == pytest.approx(expected, abs=1e-9)


def test_a_lost_tenth_is_noticed_and_the_planned_split_is_not():
    assert srm.log_bayes_factor(4500, 50_000 - 4500, 0.1) > math.log(srm.MISMATCH)
    assert srm.log_bayes_factor(5000, 45_000, 0.1) < 0


def test_arms_may_change_places():
    assert srm.log_bayes_factor(30, 170, 0.2) == pytest.approx(srm.log_bayes_factor(170, 30, 0.8))


def test_steps_add_up_and_one_that_sends_all_one_way_says_nothing():
    steps = [(12, 1000, 0.01), (60, 900, 0.05)]
    alone = [srm.log_bayes_factor(*s) for s in steps]
    assert srm.combined([*steps, (0, 400, 0.0), (300, 0, 1.0)]) == pytest.approx(sum(alone))
    assert srm.combined([]) == 0
