"""A stream is judged as the whole answer is, however it comes in pieces."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from molt.core.policy import ToolPolicy
from molt.egress.model_stream import ModelStream
from molt.egress.verdicts import Forbidden, verdict
from molt.wire.models import DIALECTS, Made

from .answers import Answer

POLICY = ToolPolicy(
    allow=("menu_*", "add_*", "place_order"),
    deny=("menu_drop",),
    arguments={
        "add_*": ("quantity <= 20", "len(notes) <= 9"),
        "place_order": ({"required": ["cart_id"]},),
    },
)
BY_NAME = {dialect.name: dialect for dialect in DIALECTS}
MARKS = {"chat": "call_{}", "responses": "fc_{}", "messages": "toolu_{}"}
"""How a client can tell the calls of an answer apart."""
every_api = pytest.mark.parametrize("api", list(BY_NAME))


def opened(api: str, most: int = 10**6, policy: ToolPolicy | None = POLICY, **asked: Any):
    """A stream of `api` under the policy."""
    dialect = BY_NAME[api]
    body = {"model": "m", "stream": True, "stream_options": {"include_usage": True}, **asked}
    return ModelStream(dialect, dialect.read(json.dumps(body).encode()), policy, most, "too long")


def passed(stream: ModelStream, *pieces: bytes) -> bytes:
    """What goes on until the stream ends or is stopped."""
    out = []
    for piece in pieces:
        out.append(stream.feed(piece))
        if stream.stop:
            break
    else:
        out.append(stream.finish())
    return b"".join(out)


def cut_at(places: list[int]):
    """Cuts a text there, as far as it reaches."""

    def cut(text: str) -> list[str]:
        ends = sorted({0, len(text), *(at % (len(text) + 1) for at in places)})
        return [text[a:b] for a, b in pairwise(ends)] or [text]

    return cut


ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "quantity": st.integers(18, 23) | st.just("many"),
        "notes": st.text(max_size=12),
        "cart_id": st.just(1),
    },
)
NAMES = st.sampled_from(["menu_search", "menu_drop", "add_to_cart", "place_order", "approve"])
PLACES = st.lists(st.integers(0, 60), max_size=6)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    calls = draw(st.lists(st.tuples(NAMES, ARGUMENTS), max_size=4))
    texts = [(name, json.dumps(given, ensure_ascii=False)) for name, given in calls]
    words = draw(st.lists(st.sampled_from(["Hello", " there", "\n", "{}"]), max_size=3))
    cuts = cut_at(draw(PLACES)), cut_at(draw(PLACES))
    return Answer(words, texts, cut=cuts[0], cut_name=cuts[1])


def of_whole(api: str, body: dict[str, Any]) -> tuple[int, Any] | None:
    """Which call the policy stops in a whole answer, and why."""
    calls = BY_NAME[api].calls(json.dumps(body).encode())
    found = ((at, verdict(POLICY, call)) for at, call in enumerate(calls))
    return next(((at, stop) for at, stop in found if stop is not None), None)


@every_api
@given(answers(), st.lists(st.integers(0, 5000), max_size=12))
def test_any_split_of_a_stream_has_the_verdict_of_the_whole_answer(
    api: str, answer: Answer, places: list[int]
):
    events = "".join(answer.events(api)).encode()
    ends = sorted({0, len(events), *(at % len(events) for at in places)})
    stream = opened(api)

    out = passed(stream, *(events[a:b] for a, b in pairwise(ends)))

    expected = of_whole(api, answer.whole(api))
    if expected is None:
        assert stream.stop is None
        assert out == events
        return
    at, stop = expected
    assert stream.stop is not None
    assert stream.stop.why == stop.why
    assert events.startswith(out)
    assert MARKS[api].format(at).encode() not in out
    if isinstance(stop, Forbidden):
        made = stream.stop.made
        assert made is not None
        assert made.name == stop.made.name
        if made.arguments is not None:  # its name alone is forbidden, where they are not known
            assert json.loads(made.arguments) == json.loads(stop.made.arguments or "")


BROKEN_OFF = Answer([], [("add_to_cart", "{}"), ("menu_search", "{}")])


@every_api
@given(answers(), st.integers(0, 200))
@example(BROKEN_OFF, 86)  # behind the name of an event, in responses and below in messages
@example(BROKEN_OFF, 93)
def test_a_stream_that_breaks_off_passes_nothing_that_was_not_judged(
    api: str, answer: Answer, where: int
):
    events = "".join(answer.events(api)).encode()
    stream = opened(api)
    out = passed(stream, events[: len(events) * where // 200])
    assert events.startswith(out)
    for at, (name, arguments) in enumerate(answer.tools):
        if verdict(POLICY, Made(name, arguments)) is not None:
            assert MARKS[api].format(at).encode() not in out


@every_api
def test_only_calls_of_tools_with_rules_are_held_back(api: str):
    def went(*tools: tuple[str, str]) -> tuple[list[bytes], list[bytes]]:
        events = [e.encode() for e in Answer(["a", "b"], [*tools], cut=list[str]).events(api)]
        stream = opened(api)
        return events, [stream.feed(event) for event in events]

    events, out = went(("menu_search", '{"q": "tea"}'))
    name = next(n for n, event in enumerate(events) if b"menu_search" in event)
    if api == "chat":  # where a name has no end of its own
        events[name : name + 2] = [b"", events[name] + events[name + 1]]
    assert out == events

    events, out = went(("add_to_cart", '{"quantity": 1}'))
    name = next(n for n, event in enumerate(events) if b"add_to_cart" in event)
    judged = next(n for n in range(name, len(events)) if out[n])
    assert out[:name] == events[:name]
    assert out[judged] == b"".join(events[name : judged + 1])
    assert out[judged + 1 :] == events[judged + 1 :]


def chunk(index: int, delta: dict[str, Any], reason: str | None = None) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": reason}
    return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()


def part(at: int, arguments: str = "", name: str | None = None) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"tool_calls": [{"index": at, "function": function}]}


def test_text_of_another_choice_does_not_wait_for_a_call():
    stream = opened("chat", n=2)
    assert stream.feed(chunk(0, part(0, "{", "add_to_cart"))) == b""
    text, usage = chunk(1, {"content": "Hi"}), b'data: {"choices":[],"usage":{}}\n\n'
    assert stream.feed(text) == text
    assert stream.feed(chunk(0, part(0, "}"))) == b""
    assert stream.feed(b": ping\n\n") == b": ping\n\n"
    assert b"add_to_cart" in stream.feed(chunk(0, {}, "tool_calls"))
    assert stream.feed(usage) == usage


def test_the_pieces_of_several_calls_may_come_in_turns():
    def told(quantity: int) -> tuple[ModelStream, bool]:
        stream = opened("chat")
        events = [
            chunk(0, part(0, name="add_to_cart")),
            chunk(0, part(1, name="add_more")),
            chunk(0, part(0, '{"quantity": ')),
            chunk(0, part(1, '{"quantity": 1')),
            chunk(0, part(0, f"{quantity}}}")),
            chunk(0, part(1, "}")),
            chunk(0, {}, "tool_calls"),
        ]
        out = passed(stream, *events)
        assert out in (b"", b"".join(events))
        return stream, bool(out)

    assert told(20)[1]
    stream, went = told(21)
    assert not went
    assert stream.stop is not None
    assert stream.stop.made == ("add_to_cart", '{"quantity": 21}')


def test_nothing_is_added_to_arguments_that_were_judged():
    late = {
        "chat": [
            chunk(0, part(0, '{"quantity": 1}', "add_to_cart")),
            chunk(0, part(1, "{}", "menu_search")),
            chunk(0, part(0, '{"quantity": 99}')),
        ],
        "messages": [
            _message("content_block_start", content_block={"type": "tool_use", "name": "add_x"}),
            _message("content_block_stop"),
            _message("content_block_delta", delta={"partial_json": '{"quantity": 99}'}),
        ],
        "responses": [
            _response("output_item.added", item={"type": "function_call", "name": "add_x"}),
            _response("output_item.done", item={"type": "function_call", "name": "add_x"}),
            _response("function_call_arguments.delta", delta='{"quantity": 99}'),
        ],
    }
    for api, events in late.items():
        stream = opened(api)
        assert b"add_" in passed(stream, *events)
        assert stream.stop is not None
        assert "that had ended" in stream.stop.why


def _message(kind: str, **values: Any) -> bytes:
    return f"data: {json.dumps({'type': kind, 'index': 1, **values})}\n\n".encode()


def _response(kind: str, **values: Any) -> bytes:
    data = {"type": f"response.{kind}", "output_index": 1, **values}
    return f"data: {json.dumps(data)}\n\n".encode()


def _call(arguments: str) -> dict[str, Any]:
    return {"type": "function_call", "name": "add_x", "arguments": arguments}


@pytest.mark.parametrize("where", range(4))
def test_every_text_that_could_be_taken_for_the_arguments_is_judged(where: int):
    texts = ['{"quantity": 1}'] * 4
    texts[where] = '{"quantity": 99}'
    stream = opened("responses")
    passed(
        stream,
        _response("output_item.added", item=_call("")),
        _response("function_call_arguments.delta", delta=texts[0]),
        _response("function_call_arguments.done", arguments=texts[1]),
        _response("output_item.done", item=_call(texts[2])),
        _response("completed", response={"output": [{"type": "reasoning"}, _call(texts[3])]}),
    )
    assert stream.stop is not None
    assert stream.stop.made == ("add_x", '{"quantity": 99}')


def test_an_input_that_comes_with_the_name_is_judged_too():
    block = {"type": "tool_use", "name": "add_x", "input": {"quantity": 99}}
    stream = opened("messages")
    out = passed(stream, _message("content_block_start", content_block=block))
    assert (out, stream.stop and stream.stop.reason) == (b"", "forbidden_tool")


def test_a_name_that_grows_into_one_with_rules_goes_no_further():
    stream = opened("chat")
    passed(stream, chunk(0, part(0, "{", "menu_")), chunk(0, part(0, "}", "search")))
    assert stream.stop is None
    wider = ToolPolicy(allow=("*",), arguments={"add_more": ("n < 1",)})
    stream = opened("chat", policy=wider)
    passed(stream, chunk(0, part(0, "{", "add_")), chunk(0, part(0, "}", "more")))
    assert stream.stop is not None
    assert stream.stop.reason == "unreadable"


@every_api
def test_a_call_that_is_too_long_to_be_held_goes_no_further(
    api: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("molt.wire.events.MAX_HELD", 5000)
    answer = Answer(["Hi"], [("add_to_cart", json.dumps({"notes": "x" * 200}))], cut=list[str])
    stream = opened(api)
    out = passed(stream, *(event.encode() for event in answer.events(api)))
    assert b"Hi" in out
    assert b"add_to_cart" not in out
    assert stream.stop is not None
    assert (stream.stop.reason, "more than 5000 bytes" in stream.stop.why) == ("unreadable", True)
    free = opened(api, policy=ToolPolicy(allow=("*",)))
    passed(free, *(event.encode() for event in answer.events(api)))
    assert free.stop is None


ERRORS = {
    "chat": b'data: {"error": {"message": "overloaded"}}\n\n',
    "messages": b'event: error\ndata: {"type": "error", "error": {"message": "overloaded"}}\n\n',
    "responses": b'event: error\ndata: {"type": "error", "message": "overloaded"}\n\n',
}


@every_api
def test_an_error_in_the_middle_of_a_call_is_told_and_the_call_dropped(api: str):
    events = Answer([], [("add_to_cart", '{"quantity": 99}')], cut=list[str]).events(api)
    begins = next(n for n, event in enumerate(events) if "add_to_cart" in event)
    stream = opened(api)
    out = passed(stream, *(e.encode() for e in events[: begins + 4]), ERRORS[api])
    assert out == "".join(events[:begins]).encode() + ERRORS[api]
    assert stream.stop is None


@every_api
def test_a_call_in_which_the_stream_broke_off_never_goes_on(api: str):
    for arguments, reason in (('{"quantity": 1}', None), ('{"quantity": 1', "unreadable")):
        answer = Answer([], [("add_to_cart", '{"quantity": 1}')], cut=lambda _, a=arguments: [a])
        events = answer.events(api)
        last = next(n for n, event in enumerate(events) if "quantity" in event)
        stream = opened(api)
        out = passed(stream, *(event.encode() for event in events[: last + 1]))
        assert (stream.stop and stream.stop.reason) == reason
        assert b"add_to_cart" not in out


def test_a_call_that_waits_when_the_limit_is_reached_never_began():
    answer = Answer(["Hi"], [("add_to_cart", json.dumps({"notes": "x" * 99}))], cut=list[str])
    stream = opened("messages", most=20)
    out = passed(stream, *(event.encode() for event in answer.events("messages"))) + stream.end()
    assert stream.stop is not None
    assert stream.stop.reason == "token_limit"
    assert b"tool_use" not in out
    assert out.count(b'"content_block_start"') == out.count(b'"content_block_stop"') == 1
