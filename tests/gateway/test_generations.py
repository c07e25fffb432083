"""A dict that forgets what is old, and never grows without bound."""

from hypothesis import example, given
from hypothesis import strategies as st

from molt.gateway.generations import SWEEP, Generations

steps = st.lists(st.tuples(st.integers(0, 30), st.floats(0, 30, allow_nan=False)), max_size=200)


@example([(0, 1.0), (0, 20.0), (1, 19.0), (0, 0.5)])
@given(steps)
def test_what_was_touched_within_a_span_is_still_there(steps: list[tuple[int, float]]):
    kept: Generations[int, int] = Generations(span=20.0, limit=1000)
    now, touched = 0.0, {}
    for key, pause in steps:
        now += pause
        known = kept.get(key, now)
        if key in touched and now - touched[key] < 20.0:
            assert known == key
        if known is None:
            kept.put(key, key, now)
        touched[key] = now


@given(steps)
def test_under_steady_use_what_was_untouched_for_three_spans_is_gone(
    steps: list[tuple[int, float]],
):
    kept: Generations[int, int] = Generations(span=30.0, limit=1000)
    now, touched = 0.0, {}
    for key, pause in steps:
        now += pause
        kept.put(-1, -1, now)
        known = kept.get(key, now)
        if key in touched and now - touched[key] > 90.0:
            assert known is None
        if known is None:
            kept.put(key, key, now)
        touched[key] = now


@given(st.lists(st.integers(), min_size=50, max_size=300))
def test_a_flood_of_keys_never_holds_more_than_twice_the_limit(keys: list[int]):
    kept: Generations[int, bool] = Generations(span=1e9, limit=10)
    for key in keys:
        if kept.get(key, 1.0) is None:
            kept.put(key, True, 1.0)
        assert len(kept) <= 20


def test_clear_forgets_everything():
    kept: Generations[str, int] = Generations(10.0, 10)
    kept.put("a", 1, 0.0)
    kept.clear()
    assert kept.get("a", 0.0) is None
    assert len(kept) == 0


def test_what_is_forgotten_is_freed_in_small_pieces():
    class Thing:
        alive = 0

        def __init__(self) -> None:
            Thing.alive += 1

        def __del__(self) -> None:
            Thing.alive -= 1

    kept: Generations[int, Thing] = Generations(10.0, 10_000)
    for number in range(3 * SWEEP):
        kept.put(number, Thing(), 0.0)
    kept.clear()
    kept.sweep()
    kept.sweep()  # the empty old generation comes first
    assert Thing.alive == 2 * SWEEP
    for _ in range(3):
        kept.sweep()
    assert Thing.alive == 0
