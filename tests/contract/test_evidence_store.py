"""What every `EvidenceStore` promises."""

import asyncio
from copy import deepcopy
from datetime import timedelta
from itertools import count
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from molt.core.errors import VersionConflict
from molt.core.evidence import Batch, BucketSums, Outcome, Seen, Slot, SlotKey, SumsKey, Tally

from .evidence_values import AT, START, batch, outcome, seen, slot, sums

DAY = 86_400

# --- batches


async def test_a_batch_counts_once_however_often_it_comes(store):
    one = batch(1, slots=[slot()], sums=[sums()], seen=[seen("a")])

    assert await store.ingest(one) is not None
    assert await store.ingest(one) is None
    assert await store.ingest(batch(1, slots=[slot(requests=5)])) is None

    assert [s.requests for s in await store.slots("r1")] == [1]
    assert list(await store.sums("r1")) == [sums()]


async def test_numbers_of_different_gateways_are_apart(store):
    await store.ingest(batch(1, gateway="g1", slots=[slot()]))
    await store.ingest(batch(1, gateway="g2", slots=[slot()]))
    await store.ingest(batch(2, gateway="g1", slots=[slot()]))

    assert [s.requests for s in await store.slots("r1")] == [3]


async def test_a_late_batch_counts_unless_it_is_older_than_the_store_remembers(store):
    await store.ingest(batch(5000, slots=[slot()]))

    assert await store.ingest(batch(4001, slots=[slot()])) is not None
    assert await store.ingest(batch(4000, slots=[slot()])) is None
    assert await store.ingest(batch(1, slots=[slot()])) is None
    assert [s.requests for s in await store.slots("r1")] == [2]


async def test_numbers_stay_known_while_old_ones_are_dropped(store):
    numbers = range(100, 2600, 100)
    for sequence in numbers:
        assert await store.ingest(batch(sequence)) is not None
    for sequence in numbers:
        assert await store.ingest(batch(sequence)) is None


async def test_a_gateway_that_was_silent_for_more_than_a_week_is_forgotten(store, now):
    await store.ingest(batch(1, gateway="old"))
    now.pass_by(timedelta(days=6))
    await store.ingest(batch(1, gateway="busy"))
    await store.ingest(batch(1, gateway="new"))
    now.pass_by(timedelta(days=2))
    await store.ingest(batch(2, gateway="busy"))
    await store.fold(now())

    assert await store.ingest(batch(1, gateway="new")) is None
    assert await store.ingest(batch(1, gateway="busy")) is None
    assert await store.ingest(batch(1, gateway="old")) is not None


async def test_batches_that_come_at_once_all_count_each_once(store):
    batches = [batch(i, slots=[slot()], sums=[sums()], seen=[seen("a")]) for i in range(1, 11)]

    answers = await asyncio.gather(*(store.ingest(b) for b in batches * 2))

    assert sum(answer is not None for answer in answers) == 10
    assert sum(len(answer or ()) for answer in answers) == 1
    assert [s.requests for s in await store.slots("r1")] == [10]
    assert (await store.sums("r1"))[0].columns["requests"] == {0: 10.0, 255: 20.0}


async def test_a_batch_that_cannot_be_taken_leaves_nothing_behind(store):
    good, bad = sums(), sums({"requests": {256: 1.0}}, tier=1)

    with pytest.raises(IndexError):
        await store.ingest(batch(1, slots=[slot()], sums=[good, bad], seen=[seen("a")]))

    assert list(await store.slots("r1")) == []
    assert list(await store.sums("r1")) == []
    assert await store.known_subjects("r1", ["a"]) == set()
    assert await store.ingest(batch(1, slots=[slot()])) is not None


# --- slots


async def test_slots_of_one_key_merge_and_those_of_others_stay_apart(store):
    keys: list[dict[str, object]] = [
        {"epoch": 2}, {"agent": "research"}, {"arm": "control"}, {"mode": "shadow"},
        {"start": START + 10}, {"rollout": "r2"},
    ]  # fmt: skip
    await store.ingest(batch(1, slots=[slot(), *(slot(**k) for k in keys)]))
    await store.ingest(batch(2, slots=[slot(requests=4), *(slot(**k) for k in keys)]))

    expected = slot()
    expected.merge(slot(requests=4))
    found = list(await store.slots("r1"))
    assert len(found) == 6
    assert expected in found
    assert {s.key for s in found} == {slot(**k).key for k in ({}, *keys[:-1])}
    assert [s.requests for s in await store.slots("r2")] == [2]


async def test_slots_of_one_key_within_a_batch_merge_and_the_batch_stays_as_it_was(store):
    one = batch(1, slots=[slot(), slot(requests=2)])
    before = deepcopy(one)

    await store.ingest(one)

    assert one == before
    assert [s.requests for s in await store.slots("r1")] == [3]


async def test_what_a_reader_does_to_a_slot_changes_nothing_in_the_store(store):
    one = slot()
    await store.ingest(batch(1, slots=[one]))
    (await store.slots("r1"))[0].merge(slot())
    one.merge(slot())

    assert list(await store.slots("r1")) == [slot()]


async def test_slots_come_in_order_of_start_from_an_instant_on(store):
    starts = [START + 20, START, START + 30, START + 10]
    await store.ingest(batch(1, slots=[slot(s) for s in starts]))

    assert [s.key.start for s in await store.slots("r1")] == sorted(starts)
    assert [s.key.start for s in await store.slots("r1", START + 20)] == [START + 20, START + 30]
    assert [s.key.start for s in await store.slots("r1", START, START + 20)] == [START, START + 10]
    assert list(await store.slots("unknown")) == []


# --- folding


async def fill(store, starts) -> None:
    for sequence, some in enumerate(starts, 1):
        await store.ingest(batch(sequence, slots=[slot(start) for start in some]))


async def test_slots_older_than_a_day_become_minutes_and_younger_ones_stay(store):
    yesterday = START - DAY
    old = [yesterday - 60 + s for s in range(0, 60, 10)]
    young = [yesterday + s for s in range(0, 60, 10)]
    await fill(store, [[*old, *young]])

    await store.fold(AT)

    found = await store.slots("r1")
    assert [s.key.start for s in found] == [yesterday - 60, *young]
    assert [s.requests for s in found] == [6, 1, 1, 1, 1, 1, 1]
    assert found[0].latency == {1: 12, 300: 6}


async def test_a_minute_is_folded_as_a_whole_or_not_yet(store):
    yesterday = START - DAY
    await fill(store, [[yesterday + s for s in range(0, 60, 10)]])

    await store.fold(AT + timedelta(seconds=35))
    assert len(await store.slots("r1")) == 6
    await store.fold(AT + timedelta(seconds=60))
    assert len(await store.slots("r1")) == 1


async def test_slots_older_than_two_weeks_become_hours_whether_they_were_minutes_or_not(store):
    long_ago = START - 15 * DAY
    await fill(store, [[long_ago + s for s in range(0, 3600, 100)]])
    await store.fold(AT - timedelta(days=13))
    assert len(await store.slots("r1")) == 36

    await fill(store, [[], [long_ago + 5], [long_ago + 3600]])
    await store.fold(AT)

    found = await store.slots("r1")
    assert [(s.key.start, s.requests) for s in found] == [(long_ago, 37), (long_ago + 3600, 1)]


async def test_folding_again_changes_nothing_and_keeps_keys_apart(store):
    long_ago = START - 20 * DAY
    slots = [
        slot(long_ago + s, arm=arm, mode=mode, agent=agent, epoch=epoch)
        for s in (0, 10, 70)
        for arm in ("control", "candidate")
        for mode in ("live", "shadow")
        for agent in ("guest", "research")
        for epoch in (1, 2)
    ]
    await store.ingest(batch(1, slots=slots))

    await store.fold(AT)
    once = list(await store.slots("r1"))
    await store.fold(AT)

    assert len(once) == 16
    assert all(s.requests == 3 for s in once)
    assert list(await store.slots("r1")) == once


async def test_a_straggler_joins_the_minute_that_its_neighbours_became(store):
    yesterday = START - 2 * DAY
    await fill(store, [[yesterday, yesterday + 10]])
    await store.fold(AT)
    await fill(store, [[], [yesterday], [yesterday + 20]])
    await store.fold(AT)

    assert [(s.key.start, s.requests) for s in await store.slots("r1")] == [(yesterday, 4)]


async def test_folding_a_long_neglected_store_ends_and_loses_nothing(store):
    long_ago = START - 2 * DAY
    await store.ingest(batch(1, slots=[slot(long_ago + 10 * i) for i in range(1500)]))

    await store.fold(AT)

    found = await store.slots("r1")
    assert len(found) == 250
    assert sum(s.requests for s in found) == 1500


# --- bucket sums


async def test_sums_add_up_by_key_column_and_bucket(store):
    await store.ingest(batch(1, sums=[sums(), sums(tier=1), sums({"cost": {7: 1.0, 8: 2.0}})]))
    await store.ingest(batch(2, sums=[sums(), sums(epoch=2)]))

    assert list(await store.sums("r1")) == [
        sums({"cost": {7: 1.25, 8: 2.0}, "requests": {0: 2.0, 255: 4.0}}),
        sums(tier=1),
        sums(epoch=2),
    ]
    assert list(await store.sums("r2")) == []


async def test_sums_are_exact_floating_point(store):
    await store.ingest(batch(1, sums=[sums({"cost": {3: 0.1}})]))
    await store.ingest(batch(2, sums=[sums({"cost": {3: 0.2}})]))

    assert (await store.sums("r1"))[0].columns == {"cost": {3: 0.1 + 0.2}}


# --- subjects


async def test_a_subject_is_new_once_per_rollout_and_its_first_report_stands(store):
    first = await store.ingest(
        batch(1, seen=[seen("a"), seen("b", "candidate"), seen("a", "candidate")])
    )
    again = await store.ingest(
        batch(1, gateway="g2", seen=[seen("a", "candidate", epoch=2), seen("c", epoch=2)])
    )
    elsewhere = await store.ingest(batch(2, seen=[seen("a", rollout="r2")]))

    assert first == [seen("a"), seen("b", "candidate")]
    assert again == [seen("c", epoch=2)]
    assert elsewhere == [seen("a", rollout="r2")]
    assert await store.new_subjects("r1") == {1: (1, 1), 2: (0, 1)}
    assert await store.new_subjects("r2") == {1: (0, 1)}
    assert await store.new_subjects("unknown") == {}


async def test_known_subjects_are_those_that_were_seen_in_this_rollout(store):
    many = [f"s{i}" for i in range(1200)]
    await store.ingest(batch(1, seen=[seen(s) for s in many]))

    assert await store.known_subjects("r1", [*many, "x"]) == set(many)
    assert await store.known_subjects("r2", many) == set()
    assert await store.known_subjects("r1", []) == set()


# --- outcomes


async def test_outcomes_come_back_in_order_of_time_from_an_instant_on_and_by_kind(store):
    late = outcome("late", "complaint", AT + timedelta(seconds=2))
    bare = Outcome("bare", "h", "complaint", AT - timedelta(seconds=1))
    await store.add_outcomes("r1", [late, outcome("b"), outcome("a"), bare], [])

    assert list(await store.outcomes("r1", AT - timedelta(days=1))) == [
        bare, outcome("a"), outcome("b"), late,
    ]  # fmt: skip
    assert list(await store.outcomes("r1", AT, ["complaint", "support_ticket"])) == [late]
    assert list(await store.outcomes("r1", AT, [])) == []
    assert list(await store.outcomes("r2", AT)) == []


async def test_outcomes_repeated_whole_count_once(store):
    for _ in range(2):
        await store.add_outcomes("r1", [outcome("a"), outcome("b")], [sums()])

    assert await store.known_outcomes("r1", ["a", "b", "c"]) == {"a", "b"}
    assert await store.known_outcomes("r2", ["a"]) == set()
    assert list(await store.sums("r1")) == [sums()]


async def test_outcomes_of_which_some_are_known_conflict_and_none_is_added(store):
    await store.add_outcomes("r1", [outcome("a")], [sums()])

    with pytest.raises(VersionConflict):
        await store.add_outcomes("r1", [outcome("a"), outcome("b")], [sums()])

    assert await store.known_outcomes("r1", ["a", "b"]) == {"a"}
    assert list(await store.sums("r1")) == [sums()]


async def test_sums_without_outcomes_are_added_each_time(store):
    await store.add_outcomes("r1", [], [sums({"a": {0: 1.0}})])
    await store.add_outcomes("r1", [], [sums({"a": {0: 1.0}})])

    assert (await store.sums("r1"))[0].columns == {"a": {0: 2.0}}


# --- any order, any repetition

_examples = count()
_amounts = st.integers(1, 1000).map(lambda n: n / 8)
"""Eighths add up exactly in any order."""


@st.composite
def batches(draw: st.DrawFn) -> list[Batch]:
    """Batches of two gateways about few keys, so that they meet often."""
    few = st.integers(0, 2)
    tallies = st.builds(Tally, st.integers(0, 9), st.binary(min_size=32, max_size=32))
    counts = st.dictionaries(st.integers(0, 5), st.integers(1, 9), max_size=3)
    slot_keys = st.builds(
        SlotKey, st.sampled_from(["r1", "r2"]), few, st.just("guest"),
        st.sampled_from(["control", "candidate"]), st.just("live"), few.map(lambda i: 10 * i),
    )  # fmt: skip
    slots = st.builds(
        Slot, slot_keys, requests=st.integers(0, 9), errors=tallies, latency=counts,
        over=st.dictionaries(st.sampled_from(["over:1", "over:2"]), tallies), cost=_amounts,
        statuses=st.dictionaries(st.sampled_from(["2", "5"]), st.integers(1, 9)),
    )  # fmt: skip
    sums_keys = st.builds(
        SumsKey, st.sampled_from(["r1", "r2"]), few, few, st.just("guest"), st.just("control"),
        st.just("live"),
    )  # fmt: skip
    buckets = st.dictionaries(st.integers(0, 255), _amounts, min_size=1, max_size=3)
    columns = st.dictionaries(st.sampled_from(["requests", "cost"]), buckets)
    subjects = st.builds(
        Seen, st.just("r1"), few, st.sampled_from(["control", "candidate"]),
        st.sampled_from("abcd"),
    )  # fmt: skip
    made = st.builds(
        batch,
        gateway=st.sampled_from(["g1", "g2"]),
        sequence=st.integers(1, 500),
        slots=st.lists(slots, max_size=3),
        sums=st.lists(st.builds(BucketSums, sums_keys, columns), max_size=3),
        seen=st.lists(subjects, max_size=3),
    )
    return draw(st.lists(made, max_size=5, unique_by=lambda b: (b.gateway, b.sequence)))


async def gathered(store, batches: list[Batch]) -> SimpleNamespace:
    """What a store makes of `batches`, under names of rollouts and gateways of their own."""
    mark = f"-{next(_examples)}"
    for one in deepcopy(batches):
        one.gateway += mark
        one.slots = [replaced(s, mark) for s in one.slots]
        one.sums = [replaced(s, mark) for s in one.sums]
        one.seen = [Seen(s.rollout + mark, s.epoch, s.arm, s.subject) for s in one.seen]
        await store.ingest(one)
    return SimpleNamespace(
        slots=[unmarked(s) for r in ("r1", "r2") for s in await store.slots(r + mark)],
        sums=[unmarked(s) for r in ("r1", "r2") for s in await store.sums(r + mark)],
        subjects=await store.known_subjects("r1" + mark, list("abcd")),
    )


def replaced(part, mark: str):
    return replace(part, key=replace(part.key, rollout=part.key.rollout + mark))


def unmarked(part):
    return replace(part, key=replace(part.key, rollout=part.key.rollout.partition("-")[0]))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=batches(), data=st.data())
async def test_any_order_and_repetition_of_batches_gives_the_same_evidence(store, made, data):
    expected = await gathered(store, made)

    shuffled = data.draw(
        st.permutations(made + data.draw(st.lists(st.sampled_from(made)) if made else st.just([])))
    )

    assert await gathered(store, shuffled) == expected
