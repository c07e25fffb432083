"""Usage from the fields that an operator names, through the readers that answers pass."""

import gzip

import msgspec
import pytest

from molt.core.errors import OperatorError
from molt.gateway.own_usage import OwnUsage
from molt.gateway.settings import UsageFields
from molt.wire.usage import Usage, usage_reader

OWN = OwnUsage(UsageFields("meta.tokens.in", "meta.tokens.out", "meta.model"))
ANSWER = {"text": "hello", "meta": {"model": "m-1", "tokens": {"in": 7, "out": 3}}}


def read(body: bytes, kind: bytes = b"application/json", encoding: bytes | None = None) -> Usage:
    """What a reader of such an answer finds when it comes in pieces."""
    reader = usage_reader(kind, encoding, OWN)
    assert reader is not None
    for at in range(0, len(body), 5):
        reader.feed(body[at : at + 5])
    return reader.finish()


def test_named_fields_of_a_json_answer_are_measured():
    assert read(msgspec.json.encode(ANSWER)) == Usage("m-1", 7, 3, (), "measured")


def test_they_are_found_under_compression():
    body = gzip.compress(msgspec.json.encode(ANSWER))
    assert read(body, encoding=b"gzip") == Usage("m-1", 7, 3, (), "measured")


def test_the_last_event_that_holds_them_counts():
    events = [{"text": "he"}, {"meta": {"tokens": {"in": 7, "out": 1}}}, ANSWER, {"text": "."}]
    body = b"".join(b"data: %b\n\n" % msgspec.json.encode(event) for event in events)
    assert read(body, b"text/event-stream") == Usage("m-1", 7, 3, (), "measured")


def test_they_beat_a_known_form_and_keep_its_tools():
    known = {"model": "gpt", "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    body = msgspec.json.encode({**known, "tool_calls": [{"tool": "t"}], **ANSWER})
    assert read(body) == Usage("m-1", 7, 3, ("t",), "measured")


@pytest.mark.parametrize(
    "tokens", [None, {}, {"in": 7}, {"in": 7, "out": None}, {"in": "7", "out": 3}]
)
def test_a_missing_count_is_unknown_never_zero(tokens):
    assert read(msgspec.json.encode({"meta": {"tokens": tokens}})).source == "unknown"


@pytest.mark.parametrize("count", [-1, 2.5, True])
def test_what_is_no_count_is_unknown(count):
    assert (
        read(msgspec.json.encode({"meta": {"tokens": {"in": 7, "out": count}}})).source == "unknown"
    )


def test_a_known_form_is_read_where_they_are_missing():
    known = {"model": "gpt", "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
    assert read(msgspec.json.encode(known)) == Usage("gpt", 5, 2, (), "measured")


def test_paths_that_clash_are_refused():
    with pytest.raises(OperatorError, match="runs through a field"):
        OwnUsage(UsageFields("meta", "meta.out"))
