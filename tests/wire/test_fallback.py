"""When the candidate fails before a byte is out: who answers, and what is on record."""

import asyncio

import pytest

from molt.wire.exchange import Forward

BAD = b"HTTP/1.1 503 Busy\r\nX-Agent-Actions: none\r\nContent-Length: 4\r\n\r\nbusy"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ncontrol"


async def silent(visit):
    await visit.client.reader.read()


async def gone(visit):
    return None


FAILURES = {
    "timeout": (silent, "timeout", 0),
    "reset": (gone, "reset", 0),
    "garbage": (b"nonsense\r\n", "garbage", 0),
    "status": (BAD, "status", 503),
}


async def two_arms(stand, handler, **limits):
    candidate = handler if isinstance(handler, int) else await stand.service(handler)
    control = await stand.service(GOOD)
    plan = Forward(
        stand.upstream(candidate, "candidate"),
        b"x-molt-mode: live\r\n",
        stand.upstream(control, "control"),
        b"traceparent: t\r\n",
        timeout=0.05,
    )
    return candidate, control, await stand.proxy(plan, **limits)


@pytest.mark.parametrize("name", FAILURES)
async def test_control_answers_for_a_failed_candidate(stand, name):
    handler, kind, status = FAILURES[name]
    candidate, control, edge = await two_arms(stand, handler)
    answer = await stand.post(b'{"m":1}')
    assert (answer.status, answer.body) == (200, b"control")
    assert control.requests[0].body == candidate.requests[0].body == b'{"m":1}'
    failure = edge.failures[0]
    assert (failure.kind, failure.status, failure.delivered) == (kind, status, True)
    (record,) = edge.records
    assert (record.outcome, record.upstream, record.status) == ("ok", "control", 200)
    assert (record.fell_back, record.failure, record.failure_status) == (True, kind, status)
    assert record.started < record.failed_at <= record.first_byte <= record.finished


async def test_control_answers_for_an_unreachable_candidate_which_got_nothing(stand):
    _, control, edge = await two_arms(stand, 1)
    assert (await stand.post()).body == b"control"
    assert not edge.failures[0].delivered
    assert len(control.visits) == len(edge.records) == 1


async def test_each_upstream_gets_its_own_headers(stand):
    candidate, control, _ = await two_arms(stand, BAD)
    await stand.post()
    assert candidate.requests[0].get("x-molt-mode") == "live"
    assert candidate.requests[0].get("traceparent") is None
    assert control.requests[0].get("x-molt-mode") is None
    assert control.requests[0].get("traceparent") == "t"


async def test_the_edge_sees_what_the_failed_answer_said(stand):
    _, _, edge = await two_arms(stand, BAD)
    await stand.post()
    assert b"x-agent-actions" in edge.failures[0].headers


@pytest.mark.parametrize(
    ("name", "status"), [("timeout", 504), ("reset", 502), ("garbage", 502), ("status", 503)]
)
async def test_without_the_edges_consent_the_user_gets_the_failure(stand, name, status):
    _, control, edge = await two_arms(stand, FAILURES[name][0])
    edge.falls_back = False
    answer = await stand.post()
    assert answer.status == status
    assert answer.body == b"busy" if name == "status" else b"upstream_" in answer.body
    assert not control.visits
    (record,) = edge.records
    assert (record.fell_back, record.failure) == (False, FAILURES[name][1])


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("consent", [True, False])
async def test_the_edge_may_take_its_time(stand, name, consent, until):
    _, _, edge = await two_arms(stand, FAILURES[name][0])
    edge.falls_back = None
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\n{}")
    await until(lambda: edge.resume)
    edge.resume(consent)
    edge.resume(not consent)  # only the first word counts
    answer = await client.answer()
    assert (answer.body == b"control") is consent
    assert len(edge.records) == 1
    client.send(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
    await until(lambda: len(edge.failures) == 2)
    edge.resume(True)
    assert (await client.answer()).body == b"control"


async def test_an_edge_that_never_answers_is_taken_for_no(stand):
    _, control, edge = await two_arms(stand, BAD, ask_timeout=0.05)
    edge.falls_back = None
    answer = await stand.post()
    assert (answer.status, answer.body) == (503, b"busy")
    assert not control.visits


async def test_a_user_who_leaves_while_the_edge_thinks_is_recorded_once(stand, until):
    _, control, edge = await two_arms(stand, BAD)
    edge.falls_back = None
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\n{}")
    await until(lambda: edge.resume)
    client.reset()
    await until(lambda: edge.records)
    edge.resume(True)
    await asyncio.sleep(0.01)
    assert [record.outcome for record in edge.records] == ["client_aborted"]
    assert not control.visits


async def test_when_control_fails_too_the_user_gets_its_error(stand):
    _, control, edge = await two_arms(stand, BAD)
    control.handler = b"HTTP/1.1 500 Broken\r\nContent-Length: 6\r\n\r\nbroken"
    answer = await stand.post()
    assert (answer.status, answer.body) == (500, b"broken")
    control.handler = gone
    assert (await stand.post()).status == 502
    assert len(edge.failures) == 2
    assert [record.outcome for record in edge.records] == ["ok", "upstream_reset"]


async def test_a_body_too_large_to_hold_cannot_be_sent_again(stand):
    _, control, edge = await two_arms(stand, BAD, hold_body=100_000)
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 1000000\r\n\r\n")
    await asyncio.sleep(0.005)  # the candidate is asked before the body is here
    client.send(b"x" * 1_000_000)
    answer = await client.answer()
    assert (answer.status, answer.body) == (503, b"busy")
    assert not edge.failures
    assert not control.visits


async def test_a_body_that_is_still_coming_goes_on_to_control(stand, until):
    candidate, control, edge = await two_arms(stand, BAD)
    candidate.reads = False
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await until(lambda: edge.failures)
    client.send(b"3\r\ndef\r\n0\r\n\r\n")
    assert (await client.answer()).body == b"control"
    assert control.requests[0].body == b"abcdef"


async def test_once_a_byte_is_out_nobody_else_answers(stand):
    async def halfway(visit):
        visit.client.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")

    _, control, edge = await two_arms(stand, halfway)
    answer = await stand.post()
    assert not answer.whole
    assert not control.visits
    assert edge.records[0].outcome == "upstream_truncated"


async def test_a_client_error_of_the_candidate_is_the_answer(stand):
    _, control, edge = await two_arms(stand, b"HTTP/1.1 400 Bad\r\nContent-Length: 1\r\n\r\nx")
    assert (await stand.post()).status == 400
    assert not edge.failures
    assert not control.visits


async def test_a_stale_connection_is_no_failure_of_the_candidate(stand):
    async def once(visit):
        known = [v for v in candidate.visits if v.connection == visit.connection]
        return None if len(known) > 1 else GOOD

    candidate, control, edge = await two_arms(stand, once)
    for _ in range(3):
        assert (await stand.get()).status == 200
    assert not edge.failures
    assert not control.visits


async def test_a_post_that_met_a_stale_connection_is_the_edges_to_judge(stand):
    async def once(visit):
        known = [v for v in candidate.visits if v.connection == visit.connection]
        return None if len(known) > 1 else GOOD

    candidate, control, edge = await two_arms(stand, once)
    assert (await stand.post(b"1")).status == 200
    assert (await stand.post(b"2")).body == b"control"
    assert [request.body for request in candidate.requests] == [b"1", b"2"]
    assert [failure.kind for failure in edge.failures] == ["reset"]
    assert [request.body for request in control.requests] == [b"2"]


async def test_a_cancelled_request_is_answered_by_control(stand, until):
    candidate, _, edge = await two_arms(stand, silent)
    asking = asyncio.create_task(stand.post())
    await until(lambda: candidate.visits)
    for exchange in stand.listener.in_flight():
        exchange.cancel()
    assert (await asking).body == b"control"
    assert edge.failures[0].kind == "cancelled"
    await until(lambda: candidate.closed == 1)


async def test_a_cancelled_stream_is_cut(stand, until):
    async def stream(visit):
        visit.client.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await visit.client.reader.read()

    _, control, edge = await two_arms(stand, stream)
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\n{}")
    await client.reader.readuntil(b"abc")
    for exchange in stand.listener.in_flight():
        exchange.cancel()
    await until(lambda: edge.records)
    assert edge.records[0].outcome == "cancelled"
    assert not control.visits
    assert b"0\r\n\r\n" not in await client.reader.read()
