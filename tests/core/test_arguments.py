"""Rules on the arguments of tool calls."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.core.arguments import broken, check_rule, parse_limit, schema_problem

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "quantity"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("rule", "kept", "not_kept"),
    [
        ("quantity <= 20", [{"quantity": 20}, {"quantity": 1.5}, {}], [{"quantity": 21}]),
        ("quantity < 20", [{"quantity": 19}], [{"quantity": 20}]),
        ("amount >= -1.5e0", [{"amount": -1.5}], [{"amount": -2}]),
        ("order.total > 0", [{"order": {"total": 1}}, {"order": {}}], [{"order": {"total": 0}}]),
        ("order.total > 0", [{}], [{"order": 7}, {"order": [{"total": 1}]}]),
        ("lines[].quantity <= 5", [{"lines": []}, {"lines": [{"quantity": 5}]}], []),
        ("lines[].quantity <= 5", [], [{"lines": [{"quantity": 1}, {"quantity": 6}]}]),
        ("len(lines) <= 1", [{"lines": [1]}], [{"lines": [1, 2]}, {"lines": 1}]),
        ("len( note ) < 3", [{"note": "ab"}], [{"note": "abc"}]),
        ('kind == "here"', [{"kind": "here"}, {}], [{"kind": "there"}, {"kind": None}]),
        ("force != true", [{"force": False}, {"force": 1}], [{"force": True}]),
        ('kind in ["a", "b", 1]', [{"kind": "a"}, {"kind": 1}], [{"kind": "c"}, {"kind": True}]),
        ("inside == 1", [{"inside": 1}], [{"inside": 2}]),
        ('since <= "2026-12-31"', [{"since": "2026-01-01"}], [{"since": "2027-01-01"}]),
    ],
)
def test_a_limit_is_kept_or_broken(
    rule: str, kept: list[dict[str, Any]], not_kept: list[dict[str, Any]]
):
    for arguments in kept:
        assert broken((rule,), arguments) is None, arguments
    for arguments in not_kept:
        assert broken((rule,), arguments) == f"arguments break `{rule}`", arguments


@pytest.mark.parametrize("wrong", ["20", True, None, [1], {"a": 1}])
def test_an_argument_of_the_wrong_type_breaks_a_limit(wrong: Any):
    assert broken(("quantity <= 20",), {"quantity": wrong})


@pytest.mark.parametrize(
    "text",
    [
        "", "quantity", "quantity <=", "quantity <= twenty", "quantity =< 20", "<= 20", "1 <= 20",
        'kind in "a"', "quantity <= true", "quantity <= [1]", 'len(name) <= "a"', "a b <= 1",
        "quantity <= 20 or true == true", "__import__('os').system('x') == 0", "len(a <= 1",
    ],
)  # fmt: skip
def test_what_is_no_limit_is_refused_with_an_example(text: str):
    with pytest.raises(ValueError, match="expected a"):
        parse_limit(text)


def test_a_schema_fragment_judges_the_arguments_as_a_whole():
    rule = {"required": ["cart_id"], "properties": {"note": {"maxLength": 3}}}
    assert broken((rule,), {"cart_id": "c", "note": "abc"}) is None
    assert broken((rule,), {}) == "arguments break the rule: 'cart_id' is a required property"
    assert broken((rule,), {"cart_id": "c", "note": "abcd"}) == (
        "arguments break the rule: note: 'abcd' is too long"
    )


def test_a_schema_that_is_none_or_points_outside_is_refused():
    with pytest.raises(ValueError, match="not a JSON Schema"):
        check_rule({"type": "strange"})
    with pytest.raises(ValueError, match="inside the schema"):
        check_rule({"properties": {"a": {"$ref": "http://127.0.0.1:9/schema"}}})


def test_a_reference_to_elsewhere_is_not_fetched_but_a_problem():
    problem = schema_problem({"$ref": "http://127.0.0.1:9/schema"}, {})
    assert problem is not None
    assert "cannot be applied" in problem


@given(JSON, st.sampled_from(["quantity <= 20", "a.b[].quantity < 3", "len(a[]) in [1, 2]"]))
def test_any_arguments_get_a_clear_answer(arguments: Any, rule: str):
    answer = broken((rule,), arguments)
    assert answer is None or rule in answer


@given(st.integers(-100, 100), st.integers(-100, 100))
def test_comparisons_are_those_of_numbers(value: int, bound: int):
    arguments = {"n": value}
    for sign, holds in [("<=", value <= bound), ("<", value < bound), ("==", value == bound)]:
        assert (broken((f"n {sign} {json.dumps(bound)}",), arguments) is None) is holds
