"""The latency histogram: quantiles within 1%, merged by addition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.core.stats import latency

values = st.lists(st.floats(0.02, 1e7), min_size=1, max_size=300)


@given(values=values, q=st.floats(0, 1))
def test_a_quantile_is_within_one_percent_of_the_value_of_its_rank(values, q):
    exact = np.sort(values)[int(np.floor(q * (len(values) - 1)))]
    assert latency.quantile(latency.binned(values), q) == pytest.approx(exact, rel=0.01)


@given(values=values)
def test_binning_many_is_binning_each(values):
    expected: dict[int, int] = {}
    for v in values:
        expected[latency.index_of(v)] = expected.get(latency.index_of(v), 0) + 1
    assert latency.binned(values) == expected


@given(a=values, b=values, c=values)
def test_histograms_merge_in_any_order(a, b, c):
    one, two, three = (latency.binned(v) for v in (a, b, c))
    assert latency.merged([one, two, three]) == latency.merged([three, latency.merged([two, one])])
    assert latency.merged([one, two, three]) == latency.binned([*a, *b, *c])


@given(values=values, cut=st.floats(0.02, 1e7))
def test_the_share_over_a_cut_is_exact_but_for_the_cuts_own_bucket(values, cut):
    share = latency.share_over(latency.binned(values), cut)
    v = np.array(values)
    assert np.mean(v > 1.0201 * cut) - 1e-9 <= share <= np.mean(v >= cut / 1.0201) + 1e-9


def test_an_empty_histogram_has_no_figures():
    assert latency.binned([]) == {}
    assert latency.quantile({}, 0.5) is None
    assert latency.share_over({}, 100) is None
    assert latency.share_of_slowdown({}, 0.1) is None


def test_impossible_latencies_count_at_the_ends():
    assert latency.binned([0.0, -1.0]) == {latency.index_of(0.01): 2}
    assert latency.index_of(1e300) == latency.index_of(1e9)


def test_a_slowdown_moves_a_share_over_the_old_median():
    rng = np.random.default_rng(1)
    v = np.exp(rng.normal(6, 0.5, 200_000))
    share = latency.share_of_slowdown(latency.binned(v), 0.10)
    assert share == pytest.approx(np.mean(1.1 * v > np.median(v)) - 0.5, abs=0.003)
    assert share == pytest.approx(0.0756, abs=0.004)


def test_a_cut_inside_a_bucket_takes_its_part():
    low = 1.02**300
    histogram = {300: 4}
    assert latency.share_over(histogram, low) == pytest.approx(1.0)
    assert latency.share_over(histogram, low * 1.02**0.25) == pytest.approx(0.75)
    assert latency.share_over(histogram, low * 1.02) == pytest.approx(0.0)
