"""Engine A: differences of ratios over buckets and strata."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from molt.core.stats.ratio import Difference, difference, mean, stratified_mean
from molt.core.stats.strata import Stratum

BUCKETS = 256


def drawn(seed: int, a: float = 3, c: float = 9, rate: float = 0.4, lift: float = 0.0) -> Stratum:
    """A step of random traffic: Poisson attempts per bucket, binomial successes."""
    rng = np.random.default_rng(seed)
    n_t, n_c = rng.poisson(a, BUCKETS), rng.poisson(c, BUCKETS)
    return Stratum(
        n_t.astype(float),
        rng.binomial(n_t, rate + lift).astype(float),
        n_c.astype(float),
        rng.binomial(n_c, rate).astype(float),
    )


def empty() -> Stratum:
    return Stratum(*(np.zeros(BUCKETS) for _ in range(4)))


def arms(s: Stratum) -> tuple[np.ndarray, ...]:
    return s.candidate_n, s.candidate_y, s.control_n, s.control_y


def found(d: Difference | None) -> Difference:
    assert d is not None
    return d


def test_one_unit_per_bucket_gives_the_two_sample_variances():
    rng = np.random.default_rng(1)
    y = rng.normal(5, 2, BUCKETS)
    inside = np.arange(BUCKETS) < 128
    s = Stratum(inside * 1.0, inside * y, ~inside * 1.0, ~inside * y)
    d = found(difference([s]))
    welch = stats.ttest_ind(y[inside], y[~inside], equal_var=False)
    student = stats.ttest_ind(y[inside], y[~inside], equal_var=True)
    assert d.estimate == pytest.approx(y[inside].mean() - y[~inside].mean())
    clustered = (d.estimate / welch.statistic) ** 2 * 127 / 128 * 128 / 127
    pooled = (d.estimate / student.statistic) ** 2 * 254 / 256
    assert d.variance == pytest.approx(max(clustered, pooled), rel=1e-9)


def test_equal_arms_weigh_strata_by_the_harmonic_size():
    first, second = drawn(1, a=2, c=20), drawn(2, a=10, c=10)
    d = found(difference([first, second]))
    weights, gaps = [], []
    for s in (first, second):
        a, c = s.candidate_n.sum(), s.control_n.sum()
        weights.append(a * c / (a + c))
        gaps.append(s.candidate_y.sum() / a - s.control_y.sum() / c)
    assert d.estimate == pytest.approx(np.average(gaps, weights=weights))
    assert d.candidate - d.control == pytest.approx(d.estimate)


def test_a_swing_that_both_arms_share_is_no_difference():
    monday, sunday = drawn(1, a=1, c=99, rate=0.8), drawn(2, a=75, c=25, rate=0.4)
    d = found(difference([monday, sunday]))
    assert abs(d.estimate) < 4 * d.se
    pooled = difference(
        [Stratum(*(x + y for x, y in zip(arms(monday), arms(sunday), strict=True)))]
    )
    assert found(pooled).estimate < -0.2


def test_requests_of_one_user_count_as_one_user():
    rng = np.random.default_rng(3)
    sizes = [rng.permutation(np.r_[np.ones(60), np.zeros(196)]) for _ in range(2)]
    mood = [(rng.random(BUCKETS) < 0.5) * 1.0 for _ in range(2)]
    once = Stratum(sizes[0], sizes[0] * mood[0], sizes[1], sizes[1] * mood[1])
    often = Stratum(*(50 * x for x in arms(once)))
    assert found(difference([often], binary=True)).variance == pytest.approx(
        found(difference([once])).variance, rel=1e-9
    )


def test_missing_data_is_no_data():
    s = drawn(1)
    zero = np.zeros(BUCKETS)
    one = zero.copy()
    one[7] = 5.0
    assert difference([]) is None
    assert difference([empty()]) is None
    assert difference([Stratum(zero, zero, s.control_n, s.control_y)]) is None
    assert difference([Stratum(s.candidate_n, s.candidate_y, zero, zero)]) is None
    assert difference([Stratum(one, zero, s.control_n, s.control_y)]) is None
    assert difference([s, empty()]) == difference([s])


def test_three_agreeing_users_are_not_certain():
    s = drawn(1, c=20, rate=0.6)
    n, y = np.zeros(BUCKETS), np.zeros(BUCKETS)
    n[:3] = 1.0
    d = found(difference([Stratum(n, y, s.control_n, s.control_y)], binary=True))
    assert d.estimate == pytest.approx(-0.6, abs=0.05)
    assert d.se == pytest.approx((0.24 / 3) ** 0.5, rel=0.15)


def test_a_binary_metric_without_any_event_still_has_a_variance():
    s = drawn(1, rate=0.0)
    d = found(difference([s], binary=True))
    a, c = s.candidate_n.sum(), s.control_n.sum()
    rate = 0.5 / (a + c + 1)
    assert d.estimate == 0
    assert d.variance == pytest.approx(rate * (1 - rate) * (1 / a + 1 / c))
    assert found(difference([s])).variance == 0


def test_what_a_bucket_does_on_both_arms_cancels_and_the_pooled_spread_stays():
    rng = np.random.default_rng(4)
    n, y = np.full(BUCKETS, 2.0), rng.normal(5, 2, BUCKETS)
    d = found(difference([Stratum(n, y, 3 * n, 3 * y)]))
    a, c = 2 * BUCKETS, 6 * BUCKETS
    residuals = ((y - y.mean()) ** 2).sum() + ((3 * y - 3 * y.mean()) ** 2).sum()
    assert d.estimate == pytest.approx(0)
    assert d.variance == pytest.approx(residuals / (a + c) * (1 / a + 1 / c))


def test_a_user_who_switches_arms_between_steps_counts_once():
    rng = np.random.default_rng(5)
    n, y, zero = np.ones(BUCKETS), rng.normal(5, 2, BUCKETS), np.zeros(BUCKETS)
    inside = np.arange(BUCKETS) < 128
    first = Stratum(zero + ~inside, ~inside * y, inside * n, inside * y)
    second = Stratum(inside * n, inside * y, zero + ~inside, ~inside * y)
    d = found(difference([first, second]))
    pooled = found(difference([first])).variance / 2
    assert d.estimate == pytest.approx(0)
    assert d.variance == pytest.approx(pooled, rel=0.05)


def test_relative_is_none_where_control_is_zero():
    assert found(difference([drawn(1, rate=0.0, lift=0.1)])).relative is None
    assert found(difference([drawn(1)])).relative == pytest.approx(
        found(difference([drawn(1)])).estimate / found(difference([drawn(1)])).control
    )


def _correlated(seed: int) -> tuple[Stratum, Stratum]:
    """A step and its subjects' shadow period, in which each bucket behaved much alike."""
    rng = np.random.default_rng(seed)
    taste = rng.beta(2, 2, BUCKETS)
    n = [rng.poisson(12, BUCKETS) + 1 for _ in range(4)]
    y = [rng.binomial(k, taste) for k in n]
    now = Stratum(n[0] * 1.0, y[0] * 1.0, n[1] * 1.0, y[1] * 1.0)
    taste_other = rng.beta(2, 2, BUCKETS)
    now = Stratum(
        now.candidate_n, now.candidate_y, n[1] * 1.0, rng.binomial(n[1], taste_other) * 1.0
    )
    before = Stratum(n[2] * 1.0, y[2] * 1.0, n[3] * 1.0, rng.binomial(n[3], taste_other) * 1.0)
    return now, before


def test_the_shadow_period_explains_part_of_the_variance():
    now, before = _correlated(5)
    plain, cuped = found(difference([now])), found(difference([now], pre=[before]))
    assert plain.variance_kept == 1.0
    assert cuped.variance_kept < 0.6
    assert cuped.variance < 0.75 * plain.variance
    assert (cuped.candidate, cuped.control) == (plain.candidate, plain.control)


def test_cuped_does_not_move_the_mean_of_the_estimate():
    plain, cuped = [], []
    for seed in range(60):
        now, before = _correlated(seed)
        plain.append(found(difference([now])).estimate)
        cuped.append(found(difference([now], pre=[before])).estimate)
    assert abs(np.mean(cuped)) < 3 * np.std(plain) / 60**0.5
    assert np.std(cuped) < 0.85 * np.std(plain)


def test_an_unrelated_or_empty_shadow_period_changes_nothing_much():
    s = drawn(1)
    plain = found(difference([s]))
    assert difference([s], pre=[empty()]) == plain
    unrelated = found(difference([s], pre=[drawn(99)]))
    assert 0.9 < unrelated.variance_kept <= 1.0


def test_a_stratum_without_shadow_data_keeps_its_own_difference():
    now, before = _correlated(5)
    later = drawn(8)
    both = found(difference([now, later], pre=[before, empty()]))
    assert both.variance_kept < 1.0


@given(seed=st.integers(0, 10_000), order=st.permutations(range(4)))
def test_the_order_of_strata_and_of_buckets_does_not_matter(seed, order):
    strata = [drawn(seed + i) for i in range(4)]
    shuffle = np.random.default_rng(seed).permutation(BUCKETS)
    moved = [Stratum(*(x[shuffle] for x in arms(strata[i]))) for i in order]
    one, two = found(difference(strata)), found(difference(moved))
    assert two.estimate == pytest.approx(one.estimate, abs=1e-12)
    assert two.variance == pytest.approx(one.variance, rel=1e-9)


@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-3, 0.5, 100.0]))
def test_the_unit_of_the_metric_does_not_matter(seed, scale):
    s = drawn(seed)
    scaled = Stratum(s.candidate_n, scale * s.candidate_y, s.control_n, scale * s.control_y)
    one, two = found(difference([s])), found(difference([scaled]))
    assert two.estimate == pytest.approx(scale * one.estimate, rel=1e-9, abs=1e-12)
    assert two.variance == pytest.approx(scale**2 * one.variance, rel=1e-9)


@given(seed=st.integers(0, 10_000))
def test_swapping_the_arms_swaps_the_sign(seed):
    s = drawn(seed, a=20, c=20)
    swapped = Stratum(s.control_n, s.control_y, s.candidate_n, s.candidate_y)
    one, two = found(difference([s])), found(difference([swapped]))
    assert two.estimate == pytest.approx(-one.estimate)
    assert two.variance == pytest.approx(one.variance, rel=1e-9)


@given(seed=st.integers(0, 10_000), bucket=st.integers(0, BUCKETS - 1))
def test_one_more_success_of_the_candidate_never_lowers_the_estimate(seed, bucket):
    s = drawn(seed)
    more = s.candidate_y.copy()
    more[bucket] += 1
    better = Stratum(s.candidate_n, more, s.control_n, s.control_y)
    assert found(difference([better])).estimate > found(difference([s])).estimate


def test_a_mean_is_the_ratio_with_a_clustered_variance():
    rng = np.random.default_rng(2)
    n, y = np.ones(BUCKETS), rng.gamma(2, 1.5, BUCKETS)
    m = mean(n, y)
    assert m is not None
    assert (m.estimate, m.n, m.buckets) == (pytest.approx(y.mean()), BUCKETS, BUCKETS)
    assert m.variance == pytest.approx(stats.sem(y) ** 2)


def test_equal_values_so_far_are_no_certainty():
    n = np.ones(BUCKETS)
    m = mean(n, 2 * n)
    assert m is not None
    assert m.variance == pytest.approx((0.25 * 2) ** 2 / BUCKETS)
    assert mean(np.zeros(4), np.zeros(4)) is None
    assert mean(np.array([3.0, 0]), np.array([1.0, 0])) is None


def test_strata_are_weighed_by_what_everybody_did():
    quiet, busy = (np.ones(4), np.full(4, 1.0)), (np.ones(4), np.full(4, 3.0))
    even = stratified_mean([quiet, busy])
    weighed = stratified_mean([quiet, busy, (np.zeros(4), np.zeros(4))], [100, 300, 50])
    assert even is not None
    assert weighed is not None
    assert even.estimate == pytest.approx(2.0)
    assert weighed.estimate == pytest.approx(2.5)
