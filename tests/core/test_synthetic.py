"""Answers of calls that were not executed satisfy the schema that they were made for."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from molt.core.arguments import schema_problem
from molt.core.synthetic import CannotSynthesise, synthesise
from molt.core.synthetic_text import matching

FORMATS = FormatChecker()
NAMES = st.sampled_from(["id", "name", "total", "lines", "note"])
SCALARS = st.none() | st.booleans() | st.integers(-1000, 1000) | st.text("abc -", max_size=6)


@st.composite
def fitting(draw: st.DrawFn, value: Any) -> dict[str, Any]:
    """A schema that accepts `value`, so that one that accepts anything at all is asked for."""
    if draw(st.integers(0, 9)) == 0:
        others = draw(st.lists(SCALARS, max_size=2))
        return draw(st.sampled_from([{"const": value}, {"enum": [*others, value]}]))
    schema = draw(_shape(value))
    for _ in range(draw(st.integers(0, 2))):
        schema = draw(_dressed(schema))
    return schema


@st.composite
def _shape(draw: st.DrawFn, value: Any) -> dict[str, Any]:
    if value is None:
        return {"type": draw(st.sampled_from(["null", ["null", "string"]]))}
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int):
        low, high = draw(st.integers(0, 50)), draw(st.integers(0, 50))
        kind = draw(st.sampled_from(["integer", "number"]))
        return {"type": kind, "minimum": value - low, "maximum": value + high}
    if isinstance(value, str):
        spare = draw(st.integers(0, 5))
        bounds = {"minLength": max(0, len(value) - spare), "maxLength": len(value) + spare}
        exact = {"pattern": f"^{re.escape(value)}$"}
        return {"type": "string"} | draw(st.sampled_from([{}, bounds, exact]))
    if isinstance(value, list):
        return draw(_array(value))
    parts = {name: draw(fitting(part)) for name, part in value.items()}
    needed = draw(st.lists(st.sampled_from(sorted(value)), unique=True)) if value else []
    closed = draw(st.sampled_from([{}, {"additionalProperties": False}]))
    return {"type": "object", "properties": parts, "required": needed, **closed}


@st.composite
def _array(draw: st.DrawFn, value: list[Any]) -> dict[str, Any]:
    if draw(st.booleans()):
        return {"type": "array", "prefixItems": [draw(fitting(v)) for v in value], "items": False}
    if not value:
        return {"type": "array", "items": draw(st.sampled_from([{}, {"type": "string"}]))}
    items = {"anyOf": [draw(fitting(item)) for item in value]}
    return {"type": "array", "items": items, "minItems": len(value)}


@st.composite
def _dressed(draw: st.DrawFn, schema: dict[str, Any]) -> dict[str, Any]:
    """The same behind a reference, beside alternatives, or split in parts."""
    how = draw(st.sampled_from(["all", "any", "one", "if"]))
    if how == "all":
        return {"allOf": [schema, {}, {"title": "x"}]}
    if how == "any":
        return {"anyOf": [{"not": {}}, schema]}
    if how == "one":
        return {"oneOf": [False, schema]}
    return {"if": {"type": "object", "required": ["no such"]}, "then": False, "else": schema}


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
@settings(max_examples=150)
def test_a_schema_that_some_value_satisfies_gets_one(data: st.DataObject):
    value = data.draw(VALUES)
    schema = data.draw(fitting(value))
    Draft202012Validator(schema).validate(value)
    Draft202012Validator(schema, format_checker=FORMATS).validate(synthesise(schema))


COUNT, NUMBER = st.integers(0, 3), st.integers(-3, 3)
LEAF: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from(
        ["array", "boolean", "integer", "null", "number", "object", "string", ["null", "integer"]]
    ),
    **dict.fromkeys(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"], NUMBER),
    **dict.fromkeys(["minLength", "maxLength", "minItems", "maxItems", "minProperties"], COUNT),
    "multipleOf": st.sampled_from([1, 2, 3, 0.5]),
    "uniqueItems": st.booleans(),
    "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
    "const": SCALARS,
    "enum": st.lists(SCALARS, max_size=3),
    "examples": st.lists(SCALARS, max_size=2),
    "pattern": st.sampled_from(["^a+$", "[0-9]{2}", "(x|y)z?$", "^(?=b)", "[^a]"]),
    "format": st.sampled_from(["uuid", "date", "email", "ipv4", "strange"]),
    "$ref": st.sampled_from(["#", "#/properties/a", "#/nowhere"]),
}


def _picked(words: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.lists(st.sampled_from(sorted(words)), max_size=4, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({n: words[n] for n in chosen}))


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    schema = inner | st.booleans()
    named = st.dictionaries(st.sampled_from(["a", "b", "^[ab]$"]), schema, max_size=2)
    one = ["items", "contains", "not", "if", "then", "else", "additionalProperties"]
    many = ["allOf", "anyOf", "oneOf", "prefixItems"]
    return _picked(
        LEAF
        | dict.fromkeys(one, schema)
        | dict.fromkeys(many, st.lists(schema, min_size=1, max_size=2))
        | dict.fromkeys(["properties", "patternProperties", "$defs"], named)
    )


@given(st.recursive(_picked(LEAF), _nested, max_leaves=6))
@settings(max_examples=200)
def test_any_schema_at_all_gets_a_value_that_satisfies_it_or_none(schema: Any):
    try:
        value = synthesise(schema)
    except CannotSynthesise:
        return
    Draft202012Validator(schema, format_checker=FORMATS).validate(value)


@pytest.mark.parametrize("schema", [{"oneOf": [{"$ref": "#"}]}, {"not": {"$ref": "#"}}])
def test_a_schema_that_refers_to_itself_without_end_is_no_harm(schema: Any):
    """However deep the stack is already: the library may meet its end in its compiled part."""

    def at_depth(depth: int) -> None:
        if depth:
            return at_depth(depth - 1)
        with pytest.raises(CannotSynthesise):
            synthesise(schema)
        assert "cannot be applied" in (schema_problem(schema, {"a": 1}) or "")
        return None

    for depth in range(60):
        at_depth(depth)


@given(VALUES, st.data())
@settings(max_examples=60)
def test_the_same_schema_gets_the_same_value(value: Any, data: st.DataObject):
    schema = data.draw(fitting(value))
    assert synthesise(schema) == synthesise(schema)


ORDER = {
    "type": "object",
    "properties": {
        "order_id": {"type": "string", "pattern": r"^O-\d{4,}$"},
        "status": {"$ref": "#/$defs/status"},
        "placed": {"type": "string", "format": "date-time"},
        "total": {"type": "number", "exclusiveMinimum": 0},
        "quantity": {"type": "integer", "maximum": 20},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "minItems": 1},
        "parent": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    },
    "required": ["order_id", "status", "total", "lines", "parent"],
    "additionalProperties": False,
    "$defs": {
        "status": {"enum": ["received", "ready"]},
        "line": {
            "type": "object",
            "properties": {"line_id": {"type": "integer", "minimum": 1}},
            "required": ["line_id"],
        },
    },
}


def test_an_order_looks_like_one_and_echoes_what_was_asked_for():
    made = synthesise(ORDER, {"quantity": 7, "status": "ready", "total": "no number"})
    Draft202012Validator(ORDER).validate(made)
    assert made["order_id"] == "O-0000"
    assert made["status"] == "ready"
    assert made["quantity"] == 7
    assert made["total"] == 1
    assert made["lines"] == [{"line_id": 1}]


def test_what_the_schema_offers_itself_comes_first():
    assert synthesise({"type": "string", "examples": ["latte"], "default": "tea"}) == "latte"
    assert synthesise({"type": "integer", "default": 3}) == 3
    assert synthesise({"type": "integer", "examples": ["not one"], "default": 3}) == 3


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 3, "uniqueItems": True},
        {"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True},
        {"type": "array", "contains": {"const": 7}, "items": {"type": "integer"}},
        {"type": "object", "minProperties": 3, "additionalProperties": {"type": "integer"}},
        {"type": "object", "required": ["x_1"], "patternProperties": {"^x_": {"const": 4}}},
        {"type": "object", "properties": {"a": {"const": 1}}, "dependentRequired": {"a": ["b"]}},
        {"type": "object", "propertyNames": {"pattern": "^k[0-9]$"}, "minProperties": 1},
        {"allOf": [{"type": ["integer", "string"]}, {"type": "number", "minimum": 2}]},
        {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        {"type": "integer", "multipleOf": 7, "minimum": 20},
        {"type": "string", "format": "uuid"},
        {"type": "string", "pattern": "^[A-Z]{3}-(\\d+)\\.[^a-z]+(x|y)?$", "minLength": 12},
        {"not": {"type": "object"}},
        {"type": "object", "properties": {"self": {"$ref": "#"}}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "items": [True]},
    ],
)
def test_keywords_of_all_kinds_are_honoured(schema: dict[str, Any]):
    value = synthesise(schema)
    Draft202012Validator({k: v for k, v in schema.items() if k != "items" or v != [True]}).validate(
        value
    )


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"$ref": "#/nowhere"},
        {"$ref": "http://127.0.0.1:9/schema"},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}},
    ],
)
def test_what_cannot_be_made_is_said_and_never_made_wrong(schema: Any):
    with pytest.raises(CannotSynthesise):
        synthesise(schema)


@given(st.from_regex(r"[a-c]{1,3}(x|y)?[0-9]*", fullmatch=True))
def test_texts_of_a_pattern_match_it(text: str):
    pattern = re.escape(text) + r"[a-f0-9]{3,5}(?:no|yes)\s\w+$"
    assert all(re.search(pattern, made) for made in matching(pattern))
    assert any(True for _ in matching(pattern))


def test_no_pattern_makes_no_text():
    assert list(matching("(")) == []
