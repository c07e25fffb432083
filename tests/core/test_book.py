"""The book: what gates and triggers read, gathered by addition."""

import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.core.book import LOOK_BACK, Book
from molt.core.evidence import BucketSums, Outcome, Seen, Slot, SlotKey, Spent, SumsKey, Tally

from .world import HOUR, MINUTE, T0

START = int(T0.timestamp())


def bits(*buckets: int) -> bytes:
    return sum(1 << b for b in buckets).to_bytes(32, "little")


def slot(start: int = 0, **more: Any) -> Slot:
    """A candidate's slot `start` seconds after T0."""
    key = {"rollout": "r", "epoch": 1, "agent": "guest", "arm": "candidate", "mode": "live"}
    key |= {k: more.pop(k) for k in list(more) if k in key}
    return Slot(SlotKey(**key, start=START + start), **more)  # type: ignore[arg-type]


def outcome(kind: str, after: timedelta) -> Outcome:
    return Outcome(id=f"{kind}-{after}", subject="s", kind=kind, at=T0 + after)


# --- series


def test_a_series_ends_with_the_slot_that_holds_now():
    book = Book()
    book.add_slot(slot(0, requests=1))
    book.add_slot(slot(50, requests=2))
    series = book.series([1], T0 + timedelta(seconds=59), MINUTE)
    assert series.requests.tolist() == [1, 0, 0, 0, 0, 2]
    later = book.series([1], T0 + timedelta(seconds=60), MINUTE)
    assert later.requests.tolist() == [0, 0, 0, 0, 2, 0]


def test_a_series_counts_errors_with_their_subjects_buckets():
    book = Book()
    book.add_slot(slot(0, requests=9, errors=Tally(3, bits(1, 2))))
    book.add_slot(slot(0, requests=1, errors=Tally(1, bits(2, 200)), agent="admin"))
    series = book.series([1], T0, timedelta(seconds=10))
    assert series.requests.tolist() == [10]
    assert series.events.tolist() == [4]
    assert series.buckets == [1 << 1 | 1 << 2 | 1 << 200]


def test_a_series_over_a_cut_counts_slower_requests_instead():
    book = Book()
    book.add_slot(slot(0, requests=9, errors=Tally(3), over={"over:5000": Tally(2, bits(7))}))
    assert book.series([1], T0, MINUTE, "over:5000").events.tolist()[-1] == 2
    assert book.series([1], T0, MINUTE, "over:5000").buckets[-1] == 1 << 7
    assert book.series([1], T0, MINUTE, "over:1").events.sum() == 0


def test_a_series_pools_live_and_shadow_and_leaves_control_out():
    book = Book()
    book.add_slot(slot(0, requests=1))
    book.add_slot(slot(0, requests=2, mode="shadow"))
    book.add_slot(slot(0, requests=4, arm="control"))
    book.add_slot(slot(0, requests=8, epoch=2))
    assert book.series([1], T0, MINUTE).requests.sum() == 3
    assert book.series([1, 2], T0, MINUTE).requests.sum() == 11
    assert book.series([], T0, MINUTE).requests.sum() == 0


def test_slots_of_another_length_line_up_with_it():
    book = Book(slot_seconds=1)
    book.add_slot(slot(0, requests=1))
    book.add_slot(slot(2, requests=2))
    three = timedelta(seconds=3)
    assert book.series([1], T0 + timedelta(seconds=2), three).requests.tolist() == [1, 0, 2]


# --- totals


def test_counts_are_kept_per_epoch_arm_and_mode():
    book = Book()
    book.add_slot(slot(requests=10, errors=Tally(1), priced=9, cost=0.5, violations=2))
    book.add_slot(slot(10, requests=5, epoch=2))
    book.add_slot(slot(10, requests=7, arm="control"))
    assert book.counts([1], "candidate", "live") == (10, 1, Spent(0.5, 9, 0.0, 10), 2)
    assert book.counts([1, 2], "candidate", "live").requests == 15
    assert book.counts([1, 2, 3], "control", "live").requests == 7
    assert book.counts([1], "candidate", "shadow").requests == 0


def test_latencies_add_up_over_epochs():
    book = Book()
    book.add_slot(slot(latency={300: 2}))
    book.add_slot(slot(epoch=2, latency={300: 1, 301: 4}))
    assert book.latency([1, 2], "candidate", "live") == {300: 3, 301: 4}
    assert book.latency([1], "control", "live") == {}
    assert book.latency([1], "candidate", "live") == {300: 2}, "reading changes nothing"


def test_requests_since_counts_slots_that_end_later():
    book = Book()
    book.add_slot(slot(0, requests=1))
    book.add_slot(slot(300, requests=2))
    assert book.requests_since("candidate", T0 + 5 * MINUTE) == 2
    assert book.requests_since("candidate", T0) == 3
    assert book.requests_since("control", T0) == 0


def test_money_spent_is_the_candidates():
    book = Book()
    book.add_slot(slot(0, cost=1.5))
    book.add_slot(slot(60, cost=2.0, mode="shadow"))
    book.add_slot(slot(60, cost=9.0, arm="control"))
    assert book.spent_since(T0).cost == 3.5
    assert book.spent_since(T0 + MINUTE).cost == 2.0


# --- bucket sums


def test_sums_pool_agents_and_columns():
    book = Book()
    for agent in ("guest", "admin"):
        key = SumsKey("r", 1, 0, agent, "control", "live")
        book.add_sums(BucketSums(key, {"order_completed": {3: 2.0}, "cart_abandoned": {3: 1.0}}))
    both = book.sums(1, "control", "live", ["order_completed", "cart_abandoned"])
    assert (both[3], both.sum()) == (6.0, 6.0)
    assert book.sums(2, "control", "live", ["order_completed"]).sum() == 0


def test_sums_can_be_read_of_some_tiers_only():
    book = Book()
    for tier in (0, 1, 2):
        key = SumsKey("r", 1, tier, "guest", "control", "live")
        book.add_sums(BucketSums(key, {"requests": {tier: 10.0**tier}}))
    assert book.sums_by_tier(1, slice(2), "control", "live", ["requests"]).sum() == 11
    assert book.sums_by_tier(1, slice(2, None), "control", "live", ["requests"]).sum() == 100
    assert book.sums(1, "control", "live", ["requests"]).sum() == 111


def test_new_subjects_are_counted_by_arm():
    book = Book()
    book.add_seen([Seen("r", 1, "candidate", "a"), Seen("r", 1, "control", "b")])
    book.add_seen([Seen("r", 1, "control", "c"), Seen("r", 2, "candidate", "d")])
    assert dict(book.new_subjects) == {1: [1, 2], 2: [1, 0]}


# --- outcomes in time


TIMED = {"complaint": HOUR, "critical_error": timedelta(hours=72)}


def test_outcomes_are_counted_from_an_instant_on():
    book = Book(timed=TIMED)
    late, early = outcome("complaint", 2 * HOUR), outcome("complaint", HOUR)
    book.add_outcomes([(late, "candidate", 1), (early, "control", 1)])
    assert book.outcomes_since("complaint", T0 + HOUR) == 2
    assert book.outcomes_since("complaint", T0 + HOUR, "candidate") == 1
    assert book.outcomes_since("complaint", T0 + HOUR + timedelta(seconds=1)) == 1
    assert book.outcomes_since("order_completed", T0) == 0


def test_only_the_times_of_outcomes_that_a_rule_looks_at_are_kept():
    book = Book(timed=TIMED)
    book.add_outcomes([(outcome("order_completed", timedelta(0)), "candidate", 1)])
    assert book.outcomes_since("order_completed", T0) == 0


def test_an_outcome_is_remembered_for_as_long_as_its_rule_looks_back():
    book = Book(timed=TIMED)
    for kind in TIMED:
        book.add_outcomes([(outcome(kind, timedelta(0)), "candidate", 1)])
    book.forget(T0 + HOUR)
    assert book.outcomes_since("complaint", T0) == 1
    book.forget(T0 + timedelta(hours=72))
    assert book.outcomes_since("complaint", T0) == 0
    assert book.outcomes_since("critical_error", T0) == 1
    book.forget(T0 + timedelta(hours=72, seconds=1))
    assert book.outcomes_since("critical_error", T0) == 0


def test_slots_that_no_rule_looks_back_to_are_forgotten_but_totals_stay():
    book = Book()
    book.add_slot(slot(0, requests=1, errors=Tally(1), cost=1.0))
    book.forget(T0 + LOOK_BACK)
    assert book.requests_since("candidate", T0) == 1
    book.forget(T0 + LOOK_BACK + MINUTE)
    assert book.requests_since("candidate", T0) == 0
    assert book.counts([1], "candidate", "live").requests == 1


# --- merging


@given(st.randoms(use_true_random=False), st.integers(1, 25))
def test_the_order_in_which_evidence_comes_in_never_matters(rng: random.Random, n: int):
    parts = [_random_slot(rng) for _ in range(n)]
    sums = [_random_sums(rng) for _ in range(n)]
    first, second = Book(), Book()
    for part, one in zip(parts, sums, strict=True):
        first.add_slot(part)
        first.add_sums(one)
    rng.shuffle(parts)
    rng.shuffle(sums)
    for part, one in zip(parts, sums, strict=True):
        second.add_sums(one)
        second.add_slot(part)
    assert _read(first) == _read(second)


@given(st.randoms(use_true_random=False))
def test_a_book_without_some_slots_counts_as_if_they_had_never_come(rng: random.Random):
    early, late = ([_random_slot(rng) for _ in range(20)] for _ in range(2))
    whole, half = Book(), Book()
    for one in early:
        whole.add_slot(one)
        half.add_slot(one)
    for one in late:
        whole.add_slot(one)
    places = [(s.key.epoch, s.key.arm, s.key.mode) for s in (*early, *late)]

    before = [whole.counts([epoch], arm, mode) for epoch, arm, mode in places]
    left = whole.without(late)
    for epoch, arm, mode in places:
        found, wanted = (b.counts([epoch], arm, mode) for b in (left, half))
        assert found._replace(spent=None) == wanted._replace(spent=None)
        assert found.spent == pytest.approx(wanted.spent)
        assert left.unavailable([epoch], arm) == half.unavailable([epoch], arm)
    assert before == [whole.counts([epoch], arm, mode) for epoch, arm, mode in places]


@given(st.randoms(use_true_random=False))
def test_a_slot_in_parts_reads_like_the_whole(rng: random.Random):
    whole = [_random_slot(rng) for _ in range(12)]
    first, second = Book(), Book()
    merged: dict[SlotKey, Slot] = {}
    for part in whole:
        first.add_slot(part)
        if part.key in merged:
            merged[part.key].merge(part)
        else:
            merged[part.key] = _copy(part)
    for part in merged.values():
        second.add_slot(part)
    assert _read(first) == _read(second)


def _copy(part: Slot) -> Slot:
    copy = Slot(part.key)
    copy.merge(part)
    return copy


def _random_slot(rng: random.Random) -> Slot:
    return slot(
        rng.randrange(6) * 10,
        epoch=rng.choice([1, 2]),
        agent=rng.choice(["guest", "admin"]),
        arm=rng.choice(["control", "candidate"]),
        mode=rng.choice(["live", "shadow"]),
        requests=rng.randrange(20),
        errors=Tally(rng.randrange(5), bits(*rng.sample(range(256), 2))),
        over={"over:5000": Tally(rng.randrange(5), bits(rng.randrange(256)))},
        cost=float(rng.randrange(8)),
        priced=rng.randrange(9),
        violations=rng.randrange(2),
        latency={rng.randrange(4): rng.randrange(9) + 1},
    )


def _random_sums(rng: random.Random) -> BucketSums:
    key = SumsKey(
        "r", rng.choice([1, 2]), rng.randrange(3), "guest", rng.choice(["control", "candidate"]),
        "live",
    )  # fmt: skip
    return BucketSums(key, {"requests": {rng.randrange(256): float(rng.randrange(9))}})


def _read(book: Book) -> list[Any]:
    now = T0 + timedelta(seconds=55)
    read: list[Any] = [book.newest, book.spent_since(T0)]
    for cut in (None, "over:5000"):
        series = book.series([1, 2], now, MINUTE, cut)
        read += [series.requests.tolist(), series.events.tolist(), series.buckets]
    for arm in ("control", "candidate"):
        for epoch in (1, 2):
            read += [book.counts([epoch], arm, mode) for mode in ("live", "shadow")]
            read += [book.latency([epoch], arm, mode) for mode in ("live", "shadow")]
            read.append(book.sums(epoch, arm, "live", ["requests"]).tolist())
            read.append(book.sums_by_tier(epoch, slice(1, 2), arm, "live", ["requests"]).tolist())
    return read


@pytest.mark.parametrize("seconds", [0.4, 1, 10, 60])
def test_a_slot_is_at_least_one_second_long(seconds: float):
    assert Book(seconds).slot_seconds == max(1, round(seconds))
