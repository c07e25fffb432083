"""`Mcp-Param-*` headers against the arguments they repeat; the official library is the reference."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.inbound import mcp_param_headers, validate_mcp_param_headers, x_mcp_header_map

from molt.wire.mcp_params import mismatch

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "dry": {"type": "boolean", "x-mcp-header": "Dry"},
        "place": {
            "type": "object",
            "properties": {"table": {"type": "string", "x-mcp-header": "Table"}},
        },
        "note": {"type": "string", "default": {"x-mcp-header": "none"}},
    },
}


def raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]


def judged(arguments: Any, headers: dict[str, str], schema: Any = SCHEMA) -> str | None:
    return mismatch(schema, arguments, raw(headers), must=True)


ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "region": st.text(max_size=8) | st.none(),
        "count": st.integers() | st.sampled_from([2.0, -0.0, 1.5]),
        "dry": st.booleans(),
        "place": st.fixed_dictionaries({}, optional={"table": st.text(max_size=3)}) | st.none(),
        "note": st.text(max_size=3),
    },
)


@given(ARGUMENTS)
def test_headers_that_the_official_client_makes_agree(arguments: dict[str, Any]):
    assert judged(arguments, mcp_param_headers(x_mcp_header_map(SCHEMA), arguments)) is None


@given(
    ARGUMENTS,
    st.dictionaries(
        st.sampled_from(
            ["Mcp-Param-Region", "mcp-param-count", "Mcp-Param-Dry", "Mcp-Param-Table"]
        ),
        st.sampled_from(
            ["", "eu", "2", "2.0", "02", "-0", "true", "=?base64?ZXU=?=", "=?base64?!?="]
        ),
    ),
)
def test_what_the_official_server_refuses_is_refused(
    arguments: dict[str, Any], headers: dict[str, str]
):
    theirs = validate_mcp_param_headers(SCHEMA, arguments, headers)
    if theirs is not None:
        assert judged(arguments, headers) is not None


@pytest.mark.parametrize(
    ("headers", "wrong"),
    [
        ({}, "Mcp-Param-Region header is missing"),
        ({"Mcp-Param-Region": "us"}, "does not match the request body's argument `region`"),
        ({"Mcp-Param-Region": "=?base64?broken"}, "does not match"),
        ({"Mcp-Param-Region": "eu", "Mcp-Param-Count": "1"}, "does not match"),
        ({"Mcp-Param-Region": "=?base64?ZXU=?="}, None),
        ({"Mcp-Param-Region": "eu", "Mcp-Param-Unheard": "of"}, None),
    ],
)
def test_a_header_says_what_the_body_says(headers: dict[str, str], wrong: str | None):
    found = judged({"region": "eu"}, headers)
    assert found is None if wrong is None else found is not None and wrong in found


def test_a_header_that_stands_twice_is_refused():
    twice = [(b"mcp-param-region", b"eu")] * 2
    assert "twice" in (mismatch(SCHEMA, {"region": "eu"}, twice, must=True) or "")


def test_older_clients_need_send_none_but_may_not_send_a_wrong_one():
    assert mismatch(SCHEMA, {"region": "eu"}, [], must=False) is None
    assert mismatch(SCHEMA, {"region": "eu"}, raw({"Mcp-Param-Region": "us"}), must=False)


@pytest.mark.parametrize(
    "part",
    [
        {"properties": {"a": {"type": "number", "x-mcp-header": "A"}}},
        {"properties": {"a": {"type": "string", "x-mcp-header": "A B"}}},
        {"items": {"properties": {"a": {"type": "string", "x-mcp-header": "A"}}}},
        {"type": "string", "x-mcp-header": "A"},
    ],
)
def test_a_mark_in_the_wrong_place_marks_nothing(part: dict[str, Any]):
    assert judged({"a": "x"}, {"Mcp-Param-A": "y"}, part) is None
