"""What counts as a request, an error, a refusal; and for which arm."""

from typing import Any

import pytest

from molt.gateway.observations import Observation, Pricing, observe
from molt.gateway.routes import Decided, Route, Running
from molt.gateway.streams import StreamReader
from molt.wire.usage import Usage, usage_reader

from .world import FlatPrices, ended, exchange, rollout

ROUTE = Route(rollout(), "guest", Running(1800.0))
PRICING = Pricing(FlatPrices(), candidate_model="assumed")


def seen(arm: Any = "candidate", **end: Any) -> Observation:
    """The observation of a request that ended like this."""
    decided = Decided(ROUTE, arm, "in_share", subject="u1")
    return observe(ended(exchange(), **end), decided, ROUTE, PRICING)


@pytest.mark.parametrize(
    ("end", "kind", "error", "status"),
    [
        ({"status": 200}, "request", False, "2"),
        ({"status": 302}, "request", False, "3"),
        ({"status": 404}, "request", True, "4"),
        ({"status": 429}, "request", True, "4"),  # the service's own, not our limiter's
        ({"status": 500}, "request", True, "5"),
        ({"status": 502, "outcome": "upstream_unreachable"}, "request", True, "0"),
        ({"status": 504, "outcome": "upstream_timeout"}, "request", True, "0"),
        ({"status": 502, "outcome": "upstream_garbage"}, "request", True, "0"),
        ({"status": 200, "outcome": "upstream_truncated"}, "request", True, "0"),
        ({"status": 429, "outcome": "refused"}, "limited", False, "0"),
        ({"status": 0, "outcome": "client_aborted"}, "aborted", False, "0"),
        ({"status": 200, "outcome": "client_aborted"}, "aborted", False, "0"),
        ({"status": 408, "outcome": "client_timeout"}, "aborted", False, "0"),
        ({"status": 413, "outcome": "bad_request"}, "aborted", False, "0"),
        ({"status": 503, "outcome": "cancelled"}, "aborted", False, "0"),
        ({"status": 0, "outcome": "mirror_dropped"}, "mirror_dropped", False, "0"),
    ],
)
def test_each_end_is_one_kind_of_observation(end, kind, error, status):
    found = seen(**end)
    assert (found.kind, found.error, found.status) == (kind, error, status)
    assert not found.fell_back


@pytest.mark.parametrize("outcome", ["ok", "client_aborted", "upstream_unreachable"])
def test_a_failed_candidate_gets_the_error_whatever_became_of_controls_answer(outcome: str):
    found = seen(
        seconds=3.0, outcome=outcome, fell_back=True, failure="status", failure_status=503,
        failed_at=101.0, usage=Usage("m", 5, 5),
    )  # fmt: skip
    assert (found.kind, found.error, found.fell_back) == ("request", True, True)
    assert found.status == "5"
    assert found.latency_ms == pytest.approx(1000.0)
    assert found.cost is None  # control's usage is not the candidate's


@pytest.mark.parametrize(
    ("pieces", "inner", "kind"),
    [
        ([b'data: {"x":1}\n\n', b"data: [DONE]\n\n"], None, "request"),
        ([b'data: {"x":1}\n\ndata: [DO', b"NE]\n", b"\n"], None, "request"),
        ([b'data: {"x":1}\n\n'], None, "aborted"),
        ([b'data: {"usage":{"input_tokens":1,"output_tokens":2}}\n\n'], "usage", "request"),
        ([], None, "aborted"),
    ],
)
def test_a_client_that_leaves_after_the_last_event_has_had_its_answer(pieces, inner, kind):
    decided = Decided(ROUTE, "candidate", "in_share", subject="u1")
    reader = StreamReader(usage_reader(b"text/event-stream") if inner else None, decided)
    for piece in pieces:
        reader.feed(piece)
    done = ended(exchange(), outcome="client_aborted", usage=reader.finish())
    assert observe(done, decided, ROUTE, PRICING).kind == kind


def test_a_candidate_without_an_answer_has_status_class_0():
    found = seen(fell_back=True, failure="timeout", failed_at=101.0)
    assert found.status == "0"


def test_what_a_rollback_took_back_is_not_the_candidates_error():
    found = seen(fell_back=True, failure="cancelled", failed_at=101.0)
    assert (found.kind, found.error, found.fell_back) == ("aborted", False, True)


def test_latency_is_the_whole_time_to_the_last_byte():
    assert seen(seconds=1.25, first_byte=100.1).latency_ms == pytest.approx(1250.0)


def test_cost_is_known_only_with_both_counts_and_a_price():
    assert seen(usage=Usage("m", 10, 5)).cost == 15.0
    assert seen(usage=Usage("m", 10, None)).cost is None
    assert seen(usage=Usage("?", 10, 5)).cost is None
    assert seen(usage=None).cost is None


def test_a_candidate_that_names_no_model_runs_on_the_configured_one():
    assert seen("candidate", usage=Usage(None, 10, 5)).cost == 15.0
    assert seen("control", usage=Usage(None, 10, 5)).cost is None


def test_only_the_candidate_can_violate_its_policy():
    usage = Usage("m", 1, 1, ("menu_search", "approval_resolve", "menu_drop"))
    assert seen("candidate", usage=usage).forbidden == ("approval_resolve", "menu_drop")
    assert seen("control", usage=usage).forbidden == ()
    assert seen("control", usage=usage).tool_calls == 3
