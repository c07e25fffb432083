"""Evidence merges by addition: in any order, in any parts."""

from copy import deepcopy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.core.evidence import (
    BucketSums,
    Slot,
    SlotKey,
    Spent,
    SumsKey,
    Tally,
    add_counts,
    over,
    value,
)

KEY = SlotKey(rollout="r", epoch=1, agent="guest", arm="candidate", mode="live", start=0)

counts = st.integers(0, 50)
tallies = st.builds(
    lambda n, seen: Tally(n, sum(1 << b for b in seen).to_bytes(32, "little")),
    counts,
    st.sets(st.integers(0, 255), max_size=5),
)
slots = st.builds(
    Slot,
    key=st.just(KEY),
    requests=counts,
    errors=tallies,
    over=st.dictionaries(st.sampled_from(["over:1000", "over:5000"]), tallies),
    statuses=st.dictionaries(st.sampled_from(["0", "2", "4", "5"]), counts),
    limited=counts,
    aborted=counts,
    fallbacks=counts,
    mirrors_dropped=counts,
    tokens_in=counts,
    tokens_out=counts,
    cost=counts.map(float),
    priced=counts,
    metered=counts.map(float),
    tool_calls=counts,
    violations=counts,
    latency=st.dictionaries(st.integers(-5, 5), counts),
)


def merged(*parts: Slot) -> Slot:
    total = deepcopy(parts[0])
    for part in parts[1:]:
        total.merge(part)
    return total


@given(slots, slots)
def test_merging_slots_is_commutative(a: Slot, b: Slot):
    assert merged(a, b) == merged(b, a)


@given(slots, slots, slots)
def test_merging_slots_is_associative(a: Slot, b: Slot, c: Slot):
    assert merged(merged(a, b), c) == merged(a, merged(b, c))


@given(slots)
def test_an_empty_slot_changes_nothing(a: Slot):
    assert merged(a, Slot(KEY)) == a
    assert merged(Slot(KEY), a) == a


@given(slots, slots)
def test_merging_leaves_the_other_slot_as_it_was(a: Slot, b: Slot):
    before = deepcopy(b)
    merged(a, b)
    assert b == before


@given(slots, slots)
def test_every_number_of_a_slot_adds_up(a: Slot, b: Slot):
    total = merged(a, b)
    for name in Slot.__struct_fields__:
        mine, theirs, sums = (getattr(s, name) for s in (a, b, total))
        if isinstance(mine, int | float):
            assert sums == mine + theirs, name
    assert total.errors.count == a.errors.count + b.errors.count


@given(slots)
def test_a_slot_survives_the_wire(a: Slot):
    assert msgspec.json.decode(msgspec.json.encode(a), type=Slot) == a


@given(tallies, tallies, tallies)
def test_tallies_merge_in_any_order(a: Tally, b: Tally, c: Tally):
    assert a.merged(b) == b.merged(a)
    assert a.merged(b).merged(c) == a.merged(b.merged(c))


def test_a_tally_counts_every_event_and_each_bucket_once():
    once = Tally(1, (1 << 7).to_bytes(32, "little"))
    twice = once.merged(once)
    assert twice.count == 2
    assert int.from_bytes(twice.buckets, "little").bit_count() == 1


@given(st.lists(st.dictionaries(st.text(max_size=3), counts), max_size=5))
def test_counts_add_key_by_key(parts: list[dict[str, int]]):
    total: dict[str, int] = {}
    for part in parts:
        add_counts(total, part)
    expected: dict[str, Any] = {k: sum(p.get(k, 0) for p in parts) for p in parts for k in p}
    assert total == expected


def test_bucket_sums_gather_per_column_and_bucket():
    sums = BucketSums(SumsKey("r", 1, 0, "guest", "candidate", "live"), {})
    sums.add("requests", 3)
    sums.add("requests", 3)
    sums.add("cost", 4, 0.25)
    assert sums.columns == {"requests": {3: 2.0}, "cost": {4: 0.25}}


def test_columns_are_named_by_their_cut_and_kind():
    assert (over(5000.0), over(812.5)) == ("over:5000", "over:812.5")
    assert value("staff_response") == "staff_response.value"


money = st.floats(0, 1e6)


@given(st.builds(Spent, cost=money, priced=counts, metered=money, requests=counts))
def test_the_higher_of_two_readings_of_money_counts(spent: Spent):
    assert spent.total >= max(spent.cost, spent.metered)
    if spent.each is None:
        assert not spent.priced
        assert spent.known_of == 0
        return
    assert spent.each >= (spent.told or 0.0)
    assert spent.each * spent.known_of in (
        pytest.approx(spent.cost),
        pytest.approx(spent.metered),
    )


@given(money, st.integers(1, 50), st.integers(1, 50))
def test_without_an_egress_money_is_what_answers_tell(cost: float, priced: int, more: int):
    spent = Spent(cost, priced, requests=priced + more)
    assert (spent.each, spent.known_of, spent.total) == (cost / priced, priced, cost)
