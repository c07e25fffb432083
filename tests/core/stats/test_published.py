"""Figures of other implementations on the same data.

Those of gbstats 0.8.0 (numpy 1.26, an environment of its own, since it does not go with numpy 2):
`SampleMeanStatistic`, `RatioStatistic` and `RegressionAdjustedStatistic` of the sixty users below, and `SequentialTwoSidedTTest` with `sequential_tuning_parameter=5000`.
"""

import numpy as np
import pytest
from benchmarks.rules import peers
from scipy import optimize, stats

from molt.core.stats.inferiority import Case, inferiorities
from molt.core.stats.ratio import Difference, difference, restarts
from molt.core.stats.special import root
from molt.core.stats.strata import Strata, Stratum, renew
from molt.core.stats.wilson import wilson

N = 60
I = np.arange(N)  # noqa: E741 - the index of users
BEFORE_T, BEFORE_C = (7 * I) % 13, (5 * I) % 13
VALUE_T, VALUE_C = BEFORE_T + (3 * I) % 5, BEFORE_C + (4 * I) % 6 + 1
TRIED_T, TRIED_C = 1 + (11 * I) % 7, 1 + (3 * I + 2) % 7
GOOD_T, GOOD_C = (I * 5) % (TRIED_T + 1), (I * 3) % (TRIED_C + 1)
ONES = np.ones(N)


def users(n_t, y_t, n_c, y_c) -> Stratum:
    """Each user a bucket of its own."""
    nothing = np.zeros(N)
    return Stratum(
        np.concatenate([n_t, nothing]).astype(float),
        np.concatenate([y_t, nothing]).astype(float),
        np.concatenate([nothing, n_c]).astype(float),
        np.concatenate([nothing, y_c]).astype(float),
    )


def found(d: Difference | None) -> Difference:
    assert d is not None
    return d


def test_a_difference_of_means_is_that_of_gbstats():
    d = found(difference([users(ONES, VALUE_T, ONES, VALUE_C)]))
    assert d.estimate == pytest.approx(-1.1500000000000012)
    assert d.variance == pytest.approx(0.539524482109228)


def test_a_difference_of_ratios_is_that_of_gbstats():
    d = found(difference([users(TRIED_T, GOOD_T, TRIED_C, GOOD_C)]))
    assert d.estimate == pytest.approx(-0.0385504201680672)
    assert d.variance == pytest.approx(0.004252433113567237)


def test_cuped_is_that_of_gbstats_with_the_theta_from_within_the_arms():
    """Its own theta, 0.98492, is reckoned over both arms together, their difference included."""
    main, pre = users(ONES, VALUE_T, ONES, VALUE_C), users(ONES, BEFORE_T, ONES, BEFORE_C)
    d, plain = found(difference([main], pre=[pre])), found(difference([main]))
    theta = (plain.estimate - d.estimate) / (BEFORE_T.mean() - BEFORE_C.mean())
    assert theta == pytest.approx(0.9822476453474038)
    assert d.estimate == pytest.approx(-1.002662853197891)
    # One more degree of freedom is spent here, on theta.
    assert d.variance == pytest.approx(0.07894560151424374 * (N - 1) / (N - 2))


@pytest.mark.parametrize(
    ("s", "low", "high"),
    [
        (users(ONES, VALUE_T, ONES, VALUE_C), -5.709831613562533, 3.40983161356253),
        (users(TRIED_T, GOOD_T, TRIED_C, GOOD_C), -0.44337043144722077, 0.36626959111108637),
    ],
)
def test_the_benchmark_scores_growthbooks_own_sequential_interval(s, low, high):
    d = found(difference([s]))
    half = peers.growthbook_half_width(d.variance, 2 * N)
    assert (d.estimate - half, d.estimate + half) == pytest.approx((low, high))


def test_wilson_is_scipys():
    for x, n in ((0, 5), (3, 40), (40, 40)):
        low, high = stats.binomtest(x, n).proportion_ci(method="wilson")
        assert wilson(x, n) == pytest.approx((low, high), abs=1e-12)


def test_mann_whitney_fails_where_the_shift_is_beyond_its_tolerance():
    rng = np.random.default_rng(1)
    control = rng.normal(0.6, 0.02, 60)
    points = np.column_stack([control - 0.2, control])
    look = peers.Look(100, 40, 100, 60, 0.01, points)
    assert peers.kayenta_mann_whitney(look) == "fail"
    slight = look._replace(points=np.column_stack([control - 0.1, control]))
    assert stats.mannwhitneyu(*slight.points.T).pvalue < 1e-6
    assert peers.kayenta_mann_whitney(slight) == "pass"


@pytest.mark.parametrize("shift", [0.1, 3.0, 40.0])
def test_a_root_is_brents(shift):
    def f(x: float) -> float:
        return float(np.expm1(x / 9) - shift)

    assert root(f, -5, 100) == pytest.approx(optimize.brentq(f, -5, 100, xtol=1e-13), rel=1e-11)
    assert root(lambda x: -f(x), -5, 100) == pytest.approx(root(f, -5, 100), rel=1e-12)


def test_without_a_crossing_it_is_the_nearer_end():
    assert root(lambda x: x + 10, 0, 5) == 0
    assert root(lambda x: -x - 10, 0, 5) == 0
    assert root(lambda x: x - 10, 0, 5) == 5


@pytest.mark.parametrize("binary", [True, False])
def test_restarts_all_at_once_are_the_differences_one_by_one(binary):
    several = [some_strata(seed) for seed in range(3)]
    at_once = restarts([Strata(strata) for strata in several], [binary] * 3)
    for k, strata in enumerate(several):
        for i in range(1, len(strata)):
            alone = difference(strata[i:], binary=binary)
            together = [float(column[k, i - 1]) for column in at_once]
            if alone is None:
                assert together[-1] < 2
            else:
                figures = (alone.estimate, alone.variance, alone.candidate_n, alone.control_n)
                assert together == pytest.approx([*figures, alone.buckets], rel=1e-12)


def some_strata(seed: int) -> list[Stratum]:
    """Six steps, one of them without a candidate, one with hardly any."""
    rng = np.random.default_rng(seed)
    strata = []
    for size in (0, 3, 0.01, 5, 0, 2):
        n_t, n_c = rng.poisson(size, 256), rng.poisson(9, 256)
        y_t, y_c = rng.binomial(n_t, 0.4), rng.binomial(n_c, 0.5)
        strata.append(Stratum(*(a.astype(float) for a in (n_t, y_t, n_c, y_c))))
    return strata


def test_metrics_judged_together_have_the_figures_of_each_alone_to_the_last_digit():
    cases = [
        Case(Strata(some_strata(seed)), 0.04 * (1 + seed), bool(seed % 2), bool(seed % 3), pre)
        for seed in range(8)
        for pre in (None, some_strata(100 + seed))
    ]
    together = inferiorities(cases)
    assert together == [inferiorities([case])[0] for case in cases]
    assert all(together)


def test_rows_renewed_together_are_those_of_a_fresh_table():
    table, other = Strata(some_strata(1)), Strata(some_strata(2))
    mixed = [*some_strata(1)[:3], *some_strata(3)[3:]]
    renew([(table, mixed), (other, some_strata(4))])
    for renewed, strata in ((table, mixed), (other, some_strata(4))):
        fresh = Strata(strata)
        assert renewed.columns == fresh.columns
        assert renewed.used == fresh.used
        assert renewed.buckets() == fresh.buckets()
        assert (renewed.behind == fresh.behind).all()
