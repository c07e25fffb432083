"""What answers say, in every dialect, whole and streamed; what cannot be read is marked."""

import contextlib
import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.wire.said import Said, ToolCall, Unreadable, decoded, read_answer

JSON = "application/json; charset=utf-8"
ADD = ToolCall("add", {"n": 1})
FUNCTION = {"name": "add", "arguments": '{"n": 1}'}


def read(data: Any) -> Said:
    return read_answer(JSON, json.dumps(data).encode())


@pytest.mark.parametrize(
    "data",
    [
        {"content": "Hi", "tool_calls": [{"tool": "add", "arguments": {"n": 1}}], "usage": {}},
        {"choices": [{"message": {"content": "Hi", "tool_calls": [{"function": FUNCTION}]}}]},
        {
            "choices": [{"message": {"content": "Hi"}}],
            "tool_calls_made": [{"tool": "add", "arguments": {"n": 1}}],
        },
        {
            "object": "response",
            "output": [
                {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
                {"type": "function_call", **FUNCTION},
            ],
        },
        {
            "type": "message",
            "content": [
                {"type": "text", "text": "Hi"},
                {"type": "tool_use", "name": "add", "input": {"n": 1}},
            ],
        },
    ],
    ids=["agent-chat", "chat", "chat that acted itself", "responses", "messages"],
)
def test_every_dialect_gives_its_text_and_its_calls(data):
    assert read(data) == Said("Hi", [ADD], None)


def test_no_list_of_calls_is_not_known_and_an_empty_list_is_none():
    assert read({"content": "Hi"}).calls is None
    assert read({"content": "Hi", "tool_calls": []}).calls == []


def events(*data: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(d).encode() + b"\n\n" for d in data)


def test_a_stream_is_put_together():
    def chunk(**delta: Any) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": delta}]}

    call = [{"index": 0, "function": {"name": "add", "arguments": '{"n"'}}]
    more = [{"index": 0, "function": {"arguments": ": 1}"}}]
    chat = events(chunk(content="H"), chunk(content="i"), chunk(tool_calls=call),
                  chunk(tool_calls=more)) + b"data: [DONE]\n\n"  # fmt: skip
    anthropic = events(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_start", "index": 1,
         "content_block": {"type": "tool_use", "name": "add"}},
        {"type": "content_block_delta", "index": 1, "delta": {"partial_json": '{"n": 1}'}},
    )  # fmt: skip
    for body in (chat, anthropic):
        assert read_answer("text/event-stream", body) == Said("Hi", [ADD], None)


def test_other_json_is_data_and_other_text_is_text():
    assert read({"items": [1, 2]}) == Said(data={"items": [1, 2]})
    assert read_answer("text/html", b"<p>Hi</p>").text == "<p>Hi</p>"


@pytest.mark.parametrize(
    ("kind", "body", "mark"),
    [(JSON, b"{", "damaged JSON"), ("image/png", b"\x89", "image/png")],
)
def test_what_cannot_be_read_says_why(kind, body, mark):
    with pytest.raises(Unreadable, match=mark):
        read_answer(kind, body)


def test_bodies_are_decoded_up_to_a_bound():
    assert decoded(gzip.compress(b"hello"), "gzip", 5) == b"hello"
    assert decoded(zlib.compress(b"hello"), "deflate", 5) == b"hello"
    for body, name, mark in (
        (gzip.compress(bytes(1_000_000)), "gzip", "too large"),
        (b"nonsense", "gzip", "damaged gzip"),
        (b"?", "compress", "encoded as compress"),
    ):
        with pytest.raises(Unreadable, match=mark):
            decoded(body, name, 1000)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "message",
                    "content",
                    "tool_calls",
                    "type",
                    "output",
                    "delta",
                    "function",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(anything)
def test_whatever_an_answer_holds_it_is_read_or_marked(data):
    body = json.dumps(data).encode()
    for kind, sent in ((JSON, body), ("text/event-stream", b"data: " + body + b"\n\n")):
        with contextlib.suppress(Unreadable):
            assert isinstance(read_answer(kind, sent), Said)
