"""What a proxy must know of model APIs: what is asked, what is answered, event by event."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.wire.events import Blocks, TooLarge, data_of
from molt.wire.models import CHAT, DIALECTS, MESSAGES, RESPONSES, BadRequest, Unreadable
from molt.wire.models.base import estimate


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", **fields}).encode()


# --- events as bytes


@given(
    st.lists(st.sampled_from(["data: {}", "event: a\ndata: b", ": ping", "data: c\r\ndata: d"])),
    st.sampled_from(["\n\n", "\r\n\r\n", "\r\r"]),
    st.data(),
)
def test_events_are_the_same_bytes_however_the_stream_is_split(events, end, data):
    stream = "".join(event + end for event in events).encode() + b"rest"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    blocks, found = Blocks(), []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += blocks.feed(stream[start:stop])
    assert b"".join(found) + blocks.finish() == stream
    assert [data_of(b) for b in found if data_of(b)] == [
        data_of(f"{e}\n\n".encode()) for e in events if "data" in e
    ]


def test_an_event_without_an_end_is_not_held_for_ever(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("molt.wire.events.MAX_HELD", 100)
    with pytest.raises(TooLarge):
        Blocks().feed(b"x" * 101)


def test_a_byte_order_mark_hides_no_event():
    assert data_of(b"\xef\xbb\xbfdata: {}\n\n") == b"{}"


# --- requests


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
def test_all_but_the_limit_keeps_its_bytes(dialect):
    sent = b'{"model":"m","messages":[{"role":"user","content":"\\u00e9 1.0 1e400"}],"x":1.50}'
    asked = dialect.read(sent)
    limited = dialect.limited(asked, 77, "max_completion_tokens")
    assert limited.startswith(sent[:-1])
    (limit,) = json.loads(limited).keys() - json.loads(sent).keys()
    assert json.loads(limited)[limit] == 77


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
@pytest.mark.parametrize(
    "wrong", [b"", b"[]", b"{", b"{}", b'{"model":7}', b'{"model":"m","stream":"yes"}']
)
def test_what_is_no_request_is_refused(dialect, wrong: bytes):
    with pytest.raises(BadRequest):
        dialect.read(wrong)


def test_the_limit_that_the_client_names_is_the_one_that_is_lowered():
    for name in ("max_tokens", "max_completion_tokens"):
        asked = CHAT.read(body(**{name: 500}))
        assert asked.most == 500
        assert json.loads(CHAT.limited(asked, 9, "max_completion_tokens")) == {
            "model": "m",
            name: 9,
        }
    both = CHAT.read(body(max_tokens=500, max_completion_tokens=100))
    assert both.most == 100
    assert json.loads(CHAT.limited(both, 9, "max_tokens")) == {
        "model": "m", "max_tokens": 9, "max_completion_tokens": 9,
    }  # fmt: skip


def test_usage_of_a_stream_is_asked_for_beside_other_options():
    asked = CHAT.read(body(stream=True, stream_options={"include_obfuscation": False}))
    options = json.loads(CHAT.limited(asked, 9, "max_tokens"))["stream_options"]
    assert options == {"include_obfuscation": False, "include_usage": True}
    assert "stream_options" not in json.loads(CHAT.limited(CHAT.read(body()), 9, "max_tokens"))


def test_tools_that_the_provider_runs_are_found():
    function = {"type": "function", "function": {"name": "f"}}
    assert CHAT.read(body(tools=[function], web_search_options={})).hosted == ("web_search",)
    tools = [{"type": "function", "name": "f"}, {"type": "code_interpreter"}, {"type": "mcp"}]
    assert RESPONSES.read(body(tools=tools)).hosted == ("code_interpreter", "mcp")
    tools = [
        {"name": "f", "input_schema": {}},
        {"type": "custom", "name": "g"},
        {"type": "bash_20250124", "name": "bash"},
        {"type": "web_search_20250305", "name": "web_search"},
    ]
    assert MESSAGES.read(body(tools=tools, mcp_servers=[{}])).hosted == ("web_search", "mcp")


def test_answers_that_are_fetched_later_are_refused():
    with pytest.raises(BadRequest, match="background"):
        RESPONSES.read(body(background=True))


def test_a_picture_is_not_counted_by_its_bytes():
    words = "word " * 1000
    plain = estimate(body(input=words))
    assert 1200 < plain < 1300
    assert estimate(body(input=words, image="A" * 1_000_000)) < plain + 1100


# --- chat streams


def chunk(delta: dict[str, Any], reason: str | None = None, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": reason}
    data = {"id": "c", "model": "m", "choices": [choice], **more}
    return b"data: %b\n\n" % json.dumps(data).encode()


def call(index: int = 0, id: str | None = None, **function: str) -> dict[str, Any]:  # noqa: A002
    return {"tool_calls": [{"index": index, "id": id, "function": function}]}


def passed(*events: bytes, usage: bool = True) -> tuple[list[bytes], list[list[str]]]:
    """What goes on at each event and at the end, and the names that were ready then."""
    options = {"include_usage": True} if usage else {}
    passing = CHAT.passing(CHAT.read(body(stream=True, stream_options=options)))
    out, named = [], []
    for event in events:
        passing.read(event)
        named.append([made.name for made in passing.calls])
        out.append(passing.release())
    passing.finish()
    named.append([made.name for made in passing.calls])
    out.append(passing.release())
    return out, named


def test_a_name_that_is_said_again_with_each_piece_is_one_name():
    passing = CHAT.passing(CHAT.read(body(stream=True)))
    found: list[str] = []
    for id_, arguments in (("c1", ""), ("c1", '{"a"'), (None, ": 1}"), ("c1", "")):
        function = {"name": "menu_search", "arguments": arguments}
        call = {"index": 0, "function": function} | ({"id": id_} if id_ else {})
        data = json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
        passing.read(f"data: {data}\n\n".encode())
        found += [made.name for made in passing.calls]
    assert found == ["menu_search"]


def test_a_name_in_pieces_is_held_until_its_arguments_begin():
    events = [
        chunk({"content": "a"}),
        chunk(call(id="1", name="menu_", arguments="")),
        chunk(call(name="drop")),
        chunk(call(arguments='{"x')),
        chunk(call(arguments='":1}')),
        chunk({}, "tool_calls"),
    ]
    out, named = passed(*events)
    assert named == [[], [], [], ["menu_drop"], [], [], []]
    assert out == [events[0], b"", b"", b"".join(events[1:4]), events[4], events[5], b""]


def test_a_name_is_whole_when_the_next_call_the_finish_or_the_end_comes():
    first, second = chunk(call(name="a")), chunk(call(1, name="b"))
    finish, done = chunk({}, "tool_calls"), b"data: [DONE]\n\n"
    assert passed(first, second, finish)[1] == [[], ["a"], ["b"], []]
    assert passed(first, done)[1] == [[], ["a"], []]
    out, named = passed(first)
    assert (out, named) == ([b"", b""], [[], ["a"]])


def test_calls_of_several_choices_and_several_ids_at_one_index_are_told_apart():
    _, named = passed(
        chunk(call(id="1", name="a", arguments="{}")),
        chunk(call(id="2", name="b", arguments="{}")),
        chunk(call(id="1", name="c"), index=1),
        chunk({}, "tool_calls", index=1),
    )
    assert named == [["a"], ["b"], [], ["c"], []]


def test_an_id_for_each_piece_of_one_call_makes_no_further_calls():
    _, named = passed(
        chunk(call(id="1", name="a", arguments="")),
        chunk(call(id="2", arguments='{"x":')),
        chunk(call(id="3", arguments="1}")),
        chunk({}, "tool_calls"),
    )
    assert named == [[], ["a"], [], [], []]


def test_more_of_a_name_after_its_arguments_began_is_judged_again():
    _, named = passed(
        chunk(call(name="menu_", arguments="{")), chunk(call(name="drop", arguments="}"))
    )
    assert named[:2] == [["menu_"], ["menu_drop"]]


def test_calls_of_other_kinds_have_names_too():
    legacy = chunk({"function_call": {"name": "old", "arguments": "{}"}})
    custom = chunk({"tool_calls": [{"index": 0, "custom": {"name": "free", "input": "x"}}]})
    assert passed(legacy)[1][0] == ["old"]
    assert passed(custom)[1][0] == ["free"]


def test_usage_that_the_client_did_not_ask_for_is_hidden():
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n'
    empty = b'data: {"choices":[],"usage":null}\n\n'
    error = b'data: {"error":{"message":"x"}}\n\n'
    assert passed(usage, empty, error, usage=False)[0] == [b"", empty, error, b""]
    assert passed(usage)[0] == [usage, b""]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
def test_an_event_of_another_form_is_not_passed_over_in_silence(dialect):
    passing = dialect.passing(dialect.read(body(stream=True)))
    passing.read(b": a comment\n\n")
    assert passing.release() == b": a comment\n\n"
    with pytest.raises(Unreadable):
        passing.read(b"data: {not json\n\n")


# --- whole answers


def test_calls_of_whole_answers_are_found_with_their_arguments():
    function = {"function": {"name": "f", "arguments": "{}"}}
    chat = {"choices": [{"message": {"tool_calls": [function]}}]}
    assert CHAT.calls(json.dumps(chat).encode()) == [("f", "{}")]
    output = [{"type": "web_search_call"}, {"type": "custom_tool_call", "name": "g", "input": "x"}]
    found = RESPONSES.calls(json.dumps({"output": output}).encode())
    assert found == [("web_search", ""), ("g", "x")]
    content = [{"type": "text"}, {"type": "tool_use", "name": "h", "input": {"a": 1}}]
    (made,) = MESSAGES.calls(json.dumps({"content": content}).encode())
    assert (made.name, msgspec.json.decode(made.arguments or "")) == ("h", {"a": 1})


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
def test_an_answer_that_is_none_is_unreadable(dialect):
    with pytest.raises(Unreadable):
        dialect.calls(b'{"choices": 7, "output": 7, "content": 7}')
