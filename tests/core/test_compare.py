"""Comparing answers: equal ones do not differ, and more differences are never more acceptable."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.core import json_paths, texts
from molt.core.compare import (
    BLOCKING,
    KINDS,
    Noise,
    Rules,
    above,
    compare,
    fields,
    reasons,
    score,
)
from molt.core.pairs import Call, Difference, Side

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-1000, 1000), st.floats(-1e3, 1e3), st.text(max_size=8)
)
data = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner),
    max_leaves=8,
)
arguments = st.dictionaries(st.sampled_from(["item", "quantity", "options", "notes"]), data)
calls = st.one_of(
    st.none(),
    st.lists(st.builds(Call, st.sampled_from(["add", "pay", "look"]), arguments), max_size=4).map(
        tuple
    ),
)
words = st.text("aAbB $4.20,12", max_size=30)
sides = st.builds(
    Side,
    status=st.sampled_from([200, 201, 404, 500]),
    latency_ms=st.floats(1, 5000),
    tokens=st.none() | st.integers(0, 1000),
    text=st.none() | words,
    data=data,
    calls=calls,
)
rules = st.builds(
    Rules,
    ignore_calls=st.sampled_from([(), ("look",)]),
    wording=st.floats(0, 1),
    dry_runs=st.just(False),
)
MIRRORED = {"call_missing": "call_extra", "call_extra": "call_missing"}
ONE_SIDED = {"latency", "tokens", "cost"}


def kinds(control: Side, candidate: Side, how: Rules = Rules()) -> set[str]:  # noqa: B008
    return {d.kind for d in compare(control, candidate, how)}


def mirrored(kind: str) -> str:
    name, colon, tool = kind.partition(":")
    return MIRRORED.get(name, name) + colon + tool


@given(sides, rules)
def test_an_answer_does_not_differ_from_itself(side, how):
    assert compare(side, side, how) == []


@given(sides, sides, rules)
def test_seen_from_the_other_side_the_same_things_differ(one, other, how):
    there = {k for k in kinds(one, other, how) if k not in ONE_SIDED}
    back = {mirrored(k) for k in kinds(other, one, how) if k not in ONE_SIDED}
    assert there == back


@given(sides, sides, rules)
def test_every_difference_is_of_a_known_kind_and_has_a_size(one, other, how):
    for found in compare(one, other, how):
        assert found.kind.partition(":")[0] in KINDS
        assert 0 <= found.size <= 1
        assert found.text


kind_sets = st.frozensets(st.sampled_from(sorted([*KINDS, "call_extra:pay", "call_missing:add"])))
ruled = st.dictionaries(st.sampled_from(["wording", "call_extra", "call_extra:pay"]), st.booleans())


@given(kind_sets, kind_sets, st.sets(st.sampled_from(sorted(KINDS))), ruled)
def test_more_differences_never_make_a_pair_more_acceptable(some, others, blocking, said):
    fewer = reasons(some, blocking, said)
    more = reasons(some | others, blocking, said)
    assert set(fewer) <= set(more)


@given(st.lists(st.builds(Difference, kind=st.sampled_from(sorted(KINDS)), text=st.just("x"),
                          size=st.floats(0, 1)), max_size=6))  # fmt: skip
def test_more_differences_never_bring_answers_nearer(differences):
    assert score(differences) >= score(differences[:-1])


@given(data, data)
def test_values_without_a_changed_path_are_equal_as_json(one, other):
    if not list(json_paths.changes(one, other)):
        assert list(json_paths.changes(other, one)) == []
    assert list(json_paths.changes(one, one)) == []


# --- words


def test_wording_has_no_order_and_no_case():
    assert texts.likeness("One latte, please!", "please one LATTE") > 0.9
    assert texts.likeness("Your order is placed", "We have no soup today") < 0.5


@pytest.mark.parametrize(
    "text", ["$1,234.50 in all", "1.234,50 € in all", "USD 1234.5", "1234.50 dollars"]
)
def test_one_amount_is_one_amount_however_it_is_written(text):
    assert texts.facts(text).prices == {"1234.5"}


def test_another_price_blocks_and_other_words_do_not():
    control = Side(200, text="One latte for $4.40. Shall I place the order?")
    said = Side(200, text="A single latte then. That makes $4.40, is that right?")
    wrong = Side(200, text="One latte for $4.90. Shall I place the order?")

    assert reasons(kinds(control, said), BLOCKING, {}) == []
    assert reasons(kinds(control, wrong), BLOCKING, {}) == ["prices"]
    (price,) = compare(control, wrong, Rules())
    assert price.text == "said not 4.4, 4.9"


def test_what_only_a_real_order_could_have_told_is_not_missed_in_a_dry_run():
    control = Side(200, text="Order 12 is placed, $4.40, ready in 5 minutes")
    tried = Side(200, text="Your order is placed", calls=(Call("place_order"),))
    assert kinds(control, tried) == set()
    assert kinds(control, tried, Rules(dry_runs=False)) == {"prices", "numbers"}
    zero = msgspec.structs.replace(tried, text="Your order is placed, $0.00")
    assert kinds(control, zero) == set()
    invented = msgspec.structs.replace(tried, text="Your order is placed, $9.90")
    assert kinds(control, invented) == {"prices"}


def test_an_agent_that_says_nothing_or_fails_blocks():
    control = Side(200, text="Here is your latte")

    assert kinds(control, Side(200, text=" ")) == {"empty"}
    assert kinds(control, Side(0, outcome="upstream_timeout")) == {"failed"}
    assert kinds(control, Side(200, mark="too large")) == {"unreadable"}
    assert kinds(control, Side(500, text="Here is your latte")) == {"status"}


# --- actions


def order(*made: Call) -> Side:
    return Side(200, text="ok", calls=made)


LATTE = Call("add", {"item": "latte", "quantity": 1, "options": ["Oat", "Large"], "notes": ""})


def test_the_spelling_of_arguments_does_not_matter():
    same = Call("add", {"options": ["large", "oat"], "quantity": "1", "item": " Latte"})
    assert compare(order(LATTE), order(same), Rules()) == []


@pytest.mark.parametrize("text", ["NaN", "inf", "-Infinity", "1e999"])
def test_text_that_only_a_float_takes_for_a_number_is_text(text):
    one, other = order(Call("add", {"item": text})), order(Call("add", {"item": f"{text}x"}))
    assert kinds(one, one) == set()
    assert kinds(one, other) == {"call_arguments:add"}


def test_long_ids_that_are_one_float_are_still_two_ids():
    one, other = (order(Call("pay", {"id": i})) for i in ("9007199254740992", "9007199254740993"))
    assert kinds(one, other) == {"call_arguments:pay"}


def test_another_quantity_is_told_with_both_values():
    two = Call("add", {**LATTE.arguments, "quantity": 2})
    (found,) = compare(order(LATTE), order(two), Rules())
    assert found.kind == "call_arguments:add"
    assert found.text == "add: quantity 2.0 not 1.0"


def test_calls_are_matched_as_well_as_may_be_before_one_is_missing():
    mocha = Call("add", {"item": "mocha", "quantity": 1})
    assert kinds(order(LATTE, mocha), order(mocha)) == {"call_missing:add"}
    assert kinds(order(mocha), order(LATTE, mocha)) == {"call_extra:add"}


def test_what_only_reads_is_no_action_and_unknown_calls_are_not_compared():
    reading = Rules(ignore_calls=("get_*",))
    assert compare(order(LATTE), order(LATTE, Call("get_menu")), reading) == []
    assert compare(Side(200, text="ok"), order(LATTE), Rules()) == []


def test_ids_can_be_left_out_of_arguments_and_of_data():
    how = Rules(ignore=("$.meta", "$.items[*].id"), ignore_arguments=("cart_id",))
    ours = Side(200, data={"meta": {"at": 1}, "items": [{"id": 1, "n": 2}]},
                calls=(Call("add", {"cart_id": "a"}),))  # fmt: skip
    theirs = Side(200, data={"meta": {"at": 2}, "items": [{"id": 9, "n": 2}]},
                  calls=(Call("add", {"cart_id": "b"}),))  # fmt: skip
    assert compare(ours, theirs, how) == []
    (found,) = compare(ours, msgspec.structs.replace(theirs, data={"items": []}), how)
    assert found.paths == ("$.items[*]",)


def test_many_tools_at_once_are_counted_by_their_families():
    many = order(*(Call(f"tool{n}") for n in range(30)))
    assert kinds(order(), many) == {"call_extra"}


# --- noise


def test_a_field_counts_only_above_what_control_differs_from_itself():
    ours = Side(200, data={"now": 1, "name": "a"})
    theirs = Side(200, data={"now": 2, "name": "b"})
    found = compare(ours, theirs, Rules())
    noise = Noise(10, control={"$.now": 9.0}, candidate={"$.now": 9.0, "$.name": 9.0})

    left, drowned = above(found, noise)

    assert [d.paths for d in left] == [("$.name",)]
    assert drowned == ["$.now"]


@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 50))
def test_a_field_that_differs_much_more_often_than_the_noise_never_drowns(pairs, noise, raw):
    seen = Noise(pairs, {"f": float(min(noise, pairs))}, {"f": float(min(raw, pairs))})
    if not min(noise, pairs):
        assert not seen.drowns("f")
    elif min(raw, pairs) <= min(noise, pairs):
        assert seen.drowns("f")
    elif min(raw, pairs) > 2 * min(noise, pairs):
        assert not seen.drowns("f")


def test_to_act_is_never_noise():
    found: Any = compare(order(), order(LATTE), Rules())
    assert fields(found) == set()
    noise = Noise(10, {"call_extra:add": 10.0}, {"call_extra:add": 10.0})
    assert above(found, noise)[0] == found
