"""Engine D: "rate above X for D" on ten-second slots."""

import math
from time import process_time
from timeit import repeat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from molt.core.stats import sustained
from molt.core.stats.sustained import blind, fired, literal, look

FIVE_MINUTES = 30
NINE_HOURS = 3300


def slots(requests, errors, subjects=range(256)):
    """Slot arrays with each error from the next of `subjects`, in turn."""
    n, x = np.asarray(requests, dtype=np.int64), np.asarray(errors, dtype=np.int64)
    ring, bitmaps, at = list(subjects), [], 0
    for count in x.tolist():
        bits = 0
        for _ in range(count):
            bits |= 1 << ring[at % len(ring)]
            at += 1
        bitmaps.append(bits)
    return n, x, bitmaps


def watched(n, x, bitmaps, **changes):
    settings = {"duration": FIVE_MINUTES, "limit": 0.05, "healthy": 0.02} | changes
    return look(n, x, bitmaps, **settings)


def test_a_lasting_failure_fires_in_the_shortest_window():
    windows = watched(*slots([10] * 60, [2] * 60))
    assert [w.slots for w in windows] == [30], "nobody looks further once it has fired"
    window = fired(windows)
    assert window is not None
    assert (window.slots, window.requests, window.events, window.rate) == (30, 300, 60, 0.2)
    assert window.met == (True,) * 5


def test_one_error_in_three_requests_never_fires():
    n = np.zeros(NINE_HOURS, dtype=np.int64)
    n[[-1, -10, -29]] = 1
    x = np.zeros_like(n)
    x[-10] = 1
    assert literal(n, x, duration=FIVE_MINUTES, limit=0.05)
    assert fired(watched(*slots(n, x))) is None


def test_a_dead_agent_with_little_traffic_is_found_by_a_longer_window():
    n = np.zeros(360, dtype=np.int64)
    n[np.arange(4, 120, 10)] = 1
    n[-130::10] = 1
    x = np.zeros_like(n)
    x[-130::10] = 1
    window = fired(watched(*slots(n, x)))
    assert window is not None
    assert window.slots > FIVE_MINUTES


def test_a_burst_of_thirty_seconds_does_not_fire_however_often_it_comes():
    n, x = np.full(NINE_HOURS, 10), np.zeros(NINE_HOURS, dtype=np.int64)
    for start in range(0, NINE_HOURS, 1440):
        x[start : start + 3] = 10
        for end in (start + 3, start + 20, start + 29):
            assert fired(watched(*slots(n[:end], x[:end]))) is None


def test_two_bad_fifths_are_still_one_burst_and_three_are_not():
    n = np.full(30, 10)
    two, three = np.zeros_like(n), np.zeros_like(n)
    two[[*range(6), *range(12, 18)]] = 8
    three[[*range(6), *range(12, 24)]] = 8
    assert watched(*slots(n, two))[0].met == (True, True, False, True, True)
    assert watched(*slots(n, three))[0].met == (True,) * 5


def test_what_began_just_now_has_not_lasted():
    x = np.zeros(30, dtype=np.int64)
    x[6:] = 8
    assert watched(*slots(np.full(30, 10), x))[0].met == (True, False, True, True, True)


def test_the_worst_fifths_are_those_whose_removal_lowers_the_rest_most():
    n = np.array([100, 100, 100, 100, 4])
    x = np.array([20, 20, 20, 20, 4])
    window = watched(*slots(n, x), duration=5)[0]
    assert window.met[2]
    x = np.array([20, 20, 5, 4, 4])
    assert not watched(*slots(n, x), duration=5)[0].met[2]


def test_what_a_burst_leaves_behind_must_be_above_the_limit_by_more_than_chance():
    n, x = np.full(30, 4), np.zeros(30, dtype=np.int64)
    x[[0, 4, 8, 9, 20, 21]] = 1
    x[15:18] = 4
    window = watched(*slots(n, x))[0]
    assert window.rate > 0.1
    assert window.met == (True, True, False, True, True)


def test_a_rate_below_the_limit_does_not_fire_however_long_it_lasts():
    x = np.full(NINE_HOURS, 4)
    x[-60:] = 6
    n = np.full(NINE_HOURS, 100)
    for end in range(NINE_HOURS - 60, NINE_HOURS + 1, 3):
        windows = watched(*slots(n[:end], x[:end]))
        assert min(w.chance for w in windows) < 1e-9, "2% is refuted"
        assert fired(windows) is None, "but not the limit"


def test_one_retrying_user_never_fires():
    windows = watched(*slots([10] * 300, [3] * 300, subjects=[17]))
    assert {w.distinct for w in windows} == {1}
    assert {w.met[3] for w in windows} == {False}
    assert fired(windows) is None


def test_distinct_subjects_are_counted_over_the_window_not_before_it():
    n, x, _ = slots([10] * 60, [1] * 60)
    bitmaps = [1 << i for i in range(60)]
    assert [w.distinct for w in watched(n, x, bitmaps)] == [30, 60]


def test_errors_that_cluster_need_more_of_them():
    n, x, bitmaps = slots([1] * 30, [1, 0, 0] * 10, subjects=range(4))
    alone, clustered = watched(n, x, bitmaps, deff=1.0), watched(n, x, bitmaps, deff=5.0)
    assert alone[0].met[4]
    assert not clustered[0].met[4]


def test_empty_slots_neither_advance_nor_reset():
    n, x, bitmaps = slots([10, 0] * 15, [2, 0] * 15)
    assert fired(watched(n, x, bitmaps)) is not None
    assert watched(*slots([0] * 30, [0] * 30)) == []
    assert watched(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), []) == []


def test_no_request_for_the_duration_is_blindness():
    n = np.array([5] * 10 + [0] * 30)
    assert blind(n, duration=30)
    assert not blind(n, duration=31)
    assert blind(np.zeros(0, dtype=np.int64), duration=30)


def test_the_literal_rule_is_the_pooled_rate_over_the_duration():
    n, x = np.array([100] + [1] * 10), np.array([100] + [0] * 9 + [1])
    assert literal(n, x, duration=10, limit=0.05)
    assert not literal(n, x, duration=10, limit=0.1)
    assert not literal(
        np.zeros(30, dtype=np.int64), np.zeros(30, dtype=np.int64), duration=30, limit=0.05
    )


@pytest.mark.parametrize(("x", "n", "p"), [(3, 10, 0.02), (1, 1, 0.5), (40, 1000, 0.02)])
def test_tails_are_the_exact_ones_at_whole_numbers(x, n, p):
    assert sustained.binomial_tail(x, n, p) == pytest.approx(stats.binom.sf(x - 1, n, p))
    assert sustained.poisson_tail(x, n * p) == pytest.approx(stats.poisson.sf(x - 1, n * p))
    assert sustained.binomial_tail(0, n, p) == sustained.poisson_tail(0, n * p) == 1


histories = st.lists(st.integers(0, 20), min_size=1, max_size=400).flatmap(
    lambda n: st.tuples(st.just(n), st.tuples(*(st.integers(0, k) for k in n)))
)


@given(history=histories, at=st.integers(0, 399))
def test_one_more_error_in_the_first_fifth_never_silences_a_trigger(history, at):
    n, x = history
    i = at % max(1, len(n) // 320 or 1)
    worse = list(x)
    worse[i] = min(n[i], worse[i] + 1)
    before, after = watched(*slots(n, x)), watched(*slots(n, worse))
    for a, b in zip(before, after, strict=True):
        assert b.rate >= a.rate
        assert b.met[0] >= a.met[0]
        assert b.met[2] >= a.met[2]
        assert b.chance <= a.chance + 1e-12


@given(history=histories, cut=st.integers(1, 5))
def test_finer_slots_tell_the_same_of_every_window(history, cut):
    n, x = (np.array(v) for v in history)
    coarse = watched(*slots(n, x))
    fine_n, fine_x = np.zeros(cut * len(n), dtype=np.int64), np.zeros(cut * len(n), dtype=np.int64)
    fine_n[::cut], fine_x[::cut] = n, x
    fine = watched(*slots(fine_n, fine_x), duration=cut * FIVE_MINUTES)
    assert [w._replace(slots=w.slots // cut) for w in fine] == coarse


def test_four_thousand_slots_take_less_than_a_millisecond():
    rng = np.random.default_rng(1)
    n = rng.poisson(10, 4000)
    history = slots(n, rng.binomial(n, 0.2))
    assert (
        min(repeat(lambda: watched(*history), number=20, repeat=5, timer=process_time)) / 20 < 1e-3
    )


def test_chance_is_the_smaller_of_the_two_tails():
    window = watched(*slots([1] * 30, [1] * 9 + [0] * 21))[0]
    by_count = sustained.binomial_tail(3, 10, 0.02)
    by_subject = sustained.poisson_tail(9, 0.6)
    assert window.chance == min(by_count, by_subject)
    assert math.isclose(window.rate, 0.3)
