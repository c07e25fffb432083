"""At most so many requests a minute, for each subject by itself."""

from hypothesis import given
from hypothesis import strategies as st

from molt.gateway.limits import WINDOW, Limiter

moments = st.lists(st.floats(0, 20, allow_nan=False), min_size=1, max_size=300)
limits = st.integers(1, 40)


@given(moments, limits)
def test_no_sixty_seconds_hold_more_than_the_limit(pauses: list[float], limit: int):
    limiter, now, admitted = Limiter(), 100.0, []
    for pause in pauses:
        now += pause
        if not limiter.admit("u", limit, now):
            admitted.append(now)
    for i, first in enumerate(admitted):
        assert sum(1 for t in admitted[i:] if t - first < WINDOW) <= limit


@given(moments, limits)
def test_nobody_within_the_limit_is_refused(pauses: list[float], limit: int):
    limiter, now, admitted = Limiter(), 100.0, []
    for pause in pauses:
        now += pause
        recent = [t for t in admitted if now - t < WINDOW]
        wait = limiter.admit("u", limit, now)
        assert bool(wait) == (len(recent) >= limit)
        if not wait:
            admitted.append(now)


@given(moments, limits)
def test_whoever_waits_as_long_as_told_is_admitted(pauses: list[float], limit: int):
    limiter, now = Limiter(), 100.0
    for pause in pauses:
        now += pause
        if wait := limiter.admit("u", limit, now):
            assert 0 < wait <= WINDOW
            now += wait + 1e-6
            assert limiter.admit("u", limit, now) == 0


def test_subjects_do_not_share_a_limit():
    limiter = Limiter()
    for _ in range(30):
        assert limiter.admit("greedy", 30, 1.0) == 0
    assert limiter.admit("greedy", 30, 1.0) > 0
    assert limiter.admit("modest", 30, 1.0) == 0


def test_a_changed_limit_holds_at_once():
    limiter = Limiter()
    for _ in range(10):
        limiter.admit("u", 30, 1.0)
    assert limiter.admit("u", 5, 2.0) > 0
    assert limiter.admit("u", 11, 2.0) == 0
    assert limiter.admit("u", 11, 2.0) > 0


def test_a_limit_of_zero_admits_nobody():
    assert Limiter().admit("u", 0, 1.0) == WINDOW


def test_a_new_epoch_clears_everybody_and_an_old_one_nobody():
    limiter = Limiter()
    limiter.clear_at(4)
    limiter.admit("u", 1, 1.0)
    limiter.clear_at(4)
    limiter.clear_at(3)
    assert limiter.admit("u", 1, 1.0) > 0
    limiter.clear_at(5)
    assert limiter.admit("u", 1, 1.0) == 0


def test_memory_is_bounded_whatever_keys_are_made_up():
    limiter = Limiter(keys=100)
    for number in range(10_000):
        limiter.admit(f"made up {number}", 30, number / 1000)
        limiter.sweep()
    assert len(limiter) <= 200
