"""Usage out of answers: real shapes, any split, and never a guess."""

import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.wire.sse import MAX_EVENT, EventReader
from molt.wire.usage import MAX_JSON, UNKNOWN, InflatingReader, Usage, fed, usage_reader

JSON, SSE = b"application/json", b"text/event-stream; charset=utf-8"


def events(*data, end="\n"):
    """A stream of `data` events."""
    texts = (item if isinstance(item, str) else json.dumps(item) for item in data)
    return "".join(f"data: {text}{end}{end}" for text in texts).encode()


def call(name, index=None):
    return {"index": index, "id": "c", "function": {"name": name, "arguments": "{}"}}


CHAT = {
    "id": "chatcmpl-1",
    "model": "gpt-4o-mini",
    "choices": [
        {
            "index": 0,
            "message": {"content": None, "tool_calls": [call("menu_search"), call("place_order")]},
        }
    ],
    "usage": {
        "prompt_tokens": 12,
        "completion_tokens": 5,
        "total_tokens": 17,
        "prompt_tokens_details": {"cached_tokens": 4},
    },
}
CHAT_STREAM = events(
    {"model": "gpt-4o-mini", "choices": [{"index": 0, "delta": {"content": "“Grüße” \\n"}}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": [call("menu_search", 0)]}}], "usage": None},
    {
        "choices": [
            {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}}
        ]
    },
    {"choices": [{"index": 0, "delta": {"tool_calls": [call("place_order", 1)]}}]},
    {"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 5}},
    "[DONE]",
)
RESPONSE = {
    "object": "response",
    "model": "gpt-5",
    "output": [
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "name": "menu_search", "arguments": "{}"},
        {"type": "web_search_call", "status": "completed"},
        {"type": "message", "content": [{"type": "output_text", "text": "hi"}]},
    ],
    "usage": {"input_tokens": 12, "output_tokens": 5, "total_tokens": 17},
}
RESPONSE_STREAM = events(
    {"type": "response.created", "response": {"model": "gpt-5", "usage": None, "output": []}},
    {
        "type": "response.output_item.added",
        "output_index": 1,
        "item": {"type": "function_call", "name": "menu_search"},
    },
    {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{}"},
    {"type": "response.completed", "response": RESPONSE},
)
MESSAGE = {
    "type": "message",
    "model": "claude-sonnet-5",
    "content": [
        {"type": "text", "text": 'he said "input_tokens": 99'},
        {"type": "tool_use", "id": "t", "name": "menu_search", "input": {"name": "x"}},
    ],
    "usage": {"input_tokens": 3, "cache_read_input_tokens": 9, "output_tokens": 5},
}
MESSAGE_STREAM = events(
    {
        "type": "message_start",
        "message": {
            "model": "claude-sonnet-5",
            "content": [],
            "usage": {"input_tokens": 3, "cache_read_input_tokens": 9, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ha 🍺"}},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "t", "name": "menu_search", "input": {}},
    },
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}},
    {"type": "message_stop"},
)
AGENT_CHAT = {
    "content": "Two beers.",
    "tool_calls": [
        {"tool": "menu_search", "arguments": {"q": "beer"}, "result": {"tool": "nested"}},
        {"tool": "menu_search", "arguments": {}, "result": None},
    ],
    "usage": {"input_tokens": 12, "output_tokens": 5},
    "session_id": "s",
}
TWO = ("menu_search", "place_order")
CASES = {
    "chat": (JSON, json.dumps(CHAT).encode(), Usage("gpt-4o-mini", 12, 5, TWO, "measured")),
    "chat stream": (SSE, CHAT_STREAM, Usage("gpt-4o-mini", 12, 5, TWO, "measured")),
    "response": (
        JSON,
        json.dumps(RESPONSE).encode(),
        Usage("gpt-5", 12, 5, ("menu_search", "web_search"), "measured"),
    ),
    "response stream": (
        SSE,
        RESPONSE_STREAM,
        Usage("gpt-5", 12, 5, ("menu_search", "web_search"), "measured"),
    ),
    "message": (
        JSON,
        json.dumps(MESSAGE).encode(),
        Usage("claude-sonnet-5", 12, 5, ("menu_search",), "measured"),
    ),
    "message stream": (
        SSE,
        MESSAGE_STREAM,
        Usage("claude-sonnet-5", 12, 5, ("menu_search",), "measured"),
    ),
    "agent-chat": (
        JSON,
        json.dumps(AGENT_CHAT).encode(),
        Usage(None, 12, 5, ("menu_search", "menu_search"), "measured"),
    ),
}


def read(kind, data, cuts=(), encoding=None):
    reader = usage_reader(kind, encoding)
    assert reader is not None
    at = 0
    for cut in [*sorted(cuts), len(data)]:
        reader.feed(data[at:cut])
        at = cut
    return reader.finish()


@pytest.mark.parametrize("name", CASES)
def test_usage_is_read_from(name):
    kind, data, expected = CASES[name]
    assert read(kind, data) == expected


@pytest.mark.parametrize("name", CASES)
@given(st.data())
def test_any_split_of_bytes_gives_the_same_usage(name, data):
    kind, raw, expected = CASES[name]
    if kind is SSE:
        raw = raw.replace(b"\n", data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"])))
    cuts = data.draw(st.lists(st.integers(0, len(raw))))
    assert read(kind, raw, cuts) == expected


@pytest.mark.parametrize("name", CASES)
def test_one_byte_at_a_time_gives_the_same_usage(name):
    kind, raw, expected = CASES[name]
    assert read(kind, raw, range(len(raw))) == expected


@pytest.mark.parametrize("name", CASES)
def test_usage_is_read_through_compression(name):
    kind, raw, expected = CASES[name]
    for encoding, packed in ((b"gzip", gzip.compress(raw)), (b"deflate", zlib.compress(raw))):
        assert read(kind, packed, [7, 30], encoding) == expected


def test_tool_calls_that_an_agent_reports_beside_its_answer_are_read():
    body = {"model": "m", "choices": [], "tool_calls_made": [{"tool": "place_order"}]}
    assert read(JSON, json.dumps(body).encode()).tools == ("place_order",)
    assert read(SSE, events({"model": "m"}, body)).tools == ("place_order",)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"usage": "many"}',
        b'{"model": 5}',
        b'{"model": "m", "usage": {"prompt_tokens": "5"}}',
        b'{"choices": [1]}',
        b'{"content": "' + b"x" * MAX_JSON + b'", "usage": {}}',
    ],
)
def test_what_cannot_be_read_is_unknown_and_never_zero(data):
    assert read(JSON, data, [10]) == UNKNOWN


def test_half_a_count_is_unknown():
    usage = read(JSON, b'{"model": "m", "usage": {"prompt_tokens": 5}}')
    assert (usage.input_tokens, usage.output_tokens, usage.source) == (5, None, "unknown")


def test_other_forms_of_content_may_carry_text():
    raw = b'{"message": "busy", "item": "x", "response": "y", "output": "z", "content": "c"}'
    assert read(JSON, raw) == Usage()


def test_a_stream_that_is_cut_says_what_it_said_so_far():
    assert read(SSE, CHAT_STREAM[:-120]).model == "gpt-4o-mini"
    assert read(SSE, CHAT_STREAM[:-120]).source == "unknown"


@pytest.mark.parametrize("kind", [None, b"", b"text/html", b"application/x-ndjson"])
def test_there_is_no_reader_for_other_types(kind):
    assert usage_reader(kind) is None


def test_there_is_no_reader_for_other_encodings():
    assert usage_reader(JSON, b"br") is None


def test_a_compressed_bomb_is_not_followed():
    class Counting:
        seen = 0

        def feed(self, data):
            self.seen += len(data)

        def finish(self):
            return Usage("m")

    inner = Counting()
    reader = InflatingReader(inner)
    reader.feed(gzip.compress(b" " * 64_000_000))
    assert reader.finish() == UNKNOWN
    assert inner.seen <= 16 * 1024 * 1024


def test_what_is_not_compressed_as_it_says_is_unknown():
    assert read(SSE, b"not gzip", encoding=b"gzip") == UNKNOWN


def test_an_event_without_an_end_is_skipped_and_does_not_grow():
    reader = EventReader()
    for _ in range(40):
        assert reader.feed(b"data: " + b"x" * 65536) == []
    held = sum(map(len, reader._parts)) + sum(map(len, reader._data))
    assert held < MAX_EVENT
    assert reader.feed(b"\n\ndata: next\n\n") == [b"next"]


def test_events_of_many_lines_comments_and_names_are_read_by_the_book():
    raw = b"\xef\xbb\xbf: hello\nevent: x\nid: 1\ndata: a\ndata:b\ndata\n\n\ndata:  c\r\rdata: lost"
    assert EventReader().feed(raw) == [b"a\nb\n", b" c"]


@given(st.lists(st.integers(0, 30)))
def test_line_ends_split_between_pieces_end_one_line(cuts):
    raw, reader, got, at = b"data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", EventReader(), [], 0
    for cut in [*sorted(min(cut, len(raw)) for cut in cuts), len(raw)]:
        got += reader.feed(raw[at:cut])
        at = cut
    assert got == [b"a\nb", b"c"]


def test_a_reader_that_fails_is_dropped_and_not_the_answer():
    class Broken:
        def feed(self, data):
            raise RuntimeError("a bug")

        def finish(self):
            return UNKNOWN

    assert fed(Broken(), [b"x"]) is None


def test_the_agent_chat_dialect_names_its_model_within_usage():
    calls = b'"tool_calls": [{"tool": "menu_search"}], '
    body = (
        b'{"content": "hi", ' + calls + b'"session_id": "s",'
        b' "usage": {"prompt_tokens": 3, "completion_tokens": 2, "model": "gpt-4o-mini"}}'
    )
    for answer, tools in ((body, ("menu_search",)), (body.replace(calls, b""), ())):
        reader = usage_reader(b"application/json")
        assert reader is not None
        reader.feed(answer)
        assert reader.finish() == Usage("gpt-4o-mini", 3, 2, tools, "measured")
