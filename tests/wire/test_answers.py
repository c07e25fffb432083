"""What upstreams answer: how its end is found, and how it reaches users of either version."""

import asyncio

import pytest

from molt.wire.exchange import Forward

GET = b"GET / HTTP/1.1\r\nHost: b\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\nHost: b\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"


def closing(answer):
    """A handler that answers and closes the connection."""

    async def handler(visit):
        visit.client.send(answer)

    return handler


def resetting(answer):
    """A handler that answers and resets the connection."""

    async def handler(visit):
        visit.client.send(answer)
        await visit.client.writer.drain()
        visit.client.reset()

    return handler


async def test_an_answer_to_head_has_a_length_and_no_body(stand):
    service, edge = await stand.front(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    client = await stand.client()
    for _ in range(3):
        client.send(b"HEAD / HTTP/1.1\r\nHost: b\r\n\r\n")
        answer = await client.answer(head=True)
        assert (answer.status, answer.get("content-length")) == (200, "5")
    assert service.connections == 1
    assert [record.outcome for record in edge.records] == ["ok"] * 3


async def test_a_chunked_answer_to_head_has_no_body(stand):
    await stand.front(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    client = await stand.client()
    for _ in range(2):
        client.send(b"HEAD / HTTP/1.1\r\nHost: b\r\n\r\n")
        assert (await client.answer(head=True)).status == 200


async def test_a_body_that_an_upstream_sends_to_head_never_becomes_an_answer(stand):
    service, _ = await stand.front(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    client = await stand.client()
    client.send(b"HEAD / HTTP/1.1\r\nHost: b\r\n\r\n")
    assert (await client.answer(head=True)).status == 200
    service.handler = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    client.send(GET)
    assert (await client.answer()).body == b"ok"
    assert service.connections == 2


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("length", [b"", b"Content-Length: 5\r\n"])
async def test_204_and_304_have_no_body(stand, status, length):
    service, _ = await stand.front(b"HTTP/1.1 %d X\r\nETag: e\r\n%b\r\n" % (status, length))
    client = await stand.client()
    for _ in range(2):
        client.send(GET)
        answer = await client.answer()
        assert (answer.status, answer.get("etag"), answer.body) == (status, "e", b"")
    assert service.connections == 1


async def test_interim_answers_are_not_taken_for_the_answer(stand):
    _, edge = await stand.front(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"
    )
    answer = await stand.get()
    assert (answer.status, answer.body, answer.get("link")) == (201, b"ok", None)
    assert edge.records[0].status == 201


async def test_an_interim_answer_that_comes_alone_is_waited_over(stand):
    async def handler(visit):
        visit.client.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        await asyncio.sleep(0.01)
        return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    await stand.front(handler)
    assert (await stand.get()).status == 200


async def test_a_chunked_answer_arrives_whole_without_its_trailers(stand):
    await stand.front(CHUNKED)
    answer = await stand.get()
    assert (answer.body, answer.get("x-t"), answer.whole) == (b"abc", None, True)


async def test_pieces_of_a_stream_arrive_as_they_come(stand):
    gate = asyncio.Event()

    async def handler(visit):
        visit.client.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await gate.wait()
        return b"3\r\ndef\r\n0\r\n\r\n"

    _, edge = await stand.front(handler)
    client = await stand.client()
    client.send(GET)
    async with asyncio.timeout(5):
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head
        assert await client.reader.readexactly(8) == b"3\r\nabc\r\n"
        gate.set()
        assert await client.reader.readexactly(13) == b"3\r\ndef\r\n0\r\n\r\n"
    record = edge.records[0]
    assert record.started <= record.first_byte <= record.finished


async def test_an_answer_that_ends_with_its_connection_gets_an_end_of_its_own(stand, until):
    service, edge = await stand.front(closing(b"HTTP/1.1 200 OK\r\n\r\nhello"))
    client = await stand.client()
    for _ in range(2):
        client.send(GET)
        answer = await client.answer()
        assert (answer.body, answer.whole) == (b"hello", True)
    assert [record.outcome for record in edge.records] == ["ok", "ok"]
    assert service.connections == 2


@pytest.mark.parametrize("answer", [CHUNKED, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"])
async def test_http_1_0_clients_never_get_chunks(stand, answer):
    await stand.front(answer)
    client = await stand.client()
    client.send(OLD)
    got = await client.answer()
    assert (got.body, got.get("transfer-encoding")) == (b"abc", None)
    assert got.get("connection") == "close"
    assert await client.ended()


async def test_http_1_0_clients_get_a_stream_until_the_connection_closes(stand):
    async def handler(visit):
        visit.client.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await asyncio.sleep(0.01)
        return b"3\r\ndef\r\n0\r\n\r\n"

    await stand.front(handler)
    client = await stand.client()
    client.send(OLD)
    answer = await client.answer()
    assert (answer.body, answer.get("transfer-encoding")) == (b"abcdef", None)
    assert answer.get("content-length") is None


async def test_http_1_0_keep_alive_is_honoured_where_the_length_is_known(stand):
    await stand.front()
    client = await stand.client()
    for _ in range(2):
        client.send(b"GET / HTTP/1.0\r\nHost: b\r\nConnection: keep-alive\r\n\r\n")
        answer = await client.answer()
        assert answer.get("connection") == "keep-alive"


async def test_http_1_0_without_a_host_gets_the_upstreams(stand):
    service, _ = await stand.front()
    client = await stand.client()
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert (await client.answer()).status == 200
    assert service.requests[0].get("host") == f"127.0.0.1:{service.port}"


async def test_connection_close_is_honoured(stand):
    await stand.front()
    client = await stand.client()
    client.send(b"GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
    answer = await client.answer()
    assert (answer.body, answer.get("connection")) == (b"ok", "close")
    assert await client.ended()


TRUNCATED = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
    "malformed chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
}


@pytest.mark.parametrize("name", TRUNCATED)
@pytest.mark.parametrize("end", [closing, resetting])
async def test_a_truncated_answer_is_cut_and_never_ended_cleanly(stand, name, end):
    _, edge = await stand.front(end(TRUNCATED[name]))
    answer = await stand.get()
    assert (answer.status, answer.whole) == (200, False)
    assert [record.outcome for record in edge.records] == ["upstream_truncated"]


async def test_an_http_1_0_client_can_tell_a_truncated_answer_from_a_whole_one(stand):
    _, edge = await stand.front(closing(TRUNCATED["chunks"]))
    client = await stand.client()
    client.send(OLD)
    answer = await client.answer()
    assert (answer.status, answer.whole) == (200, False)
    assert edge.records[0].outcome == "upstream_truncated"


async def test_an_answer_until_close_that_ends_in_a_reset_is_truncated(stand):
    async def handler(visit):
        visit.client.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await visit.client.writer.drain()
        raw = visit.client.writer.get_extra_info("socket")
        raw.setsockopt(1, 13, b"\x01\0\0\0\0\0\0\0")  # SO_LINGER of 0 s: close means reset
        await asyncio.sleep(0.01)
        visit.client.reset()

    _, edge = await stand.front(handler)
    assert not (await stand.get()).whole
    assert edge.records[0].outcome == "upstream_truncated"


async def test_silence_inside_an_answer_cuts_it(stand):
    async def handler(visit):
        visit.client.send(TRUNCATED["length"])
        await visit.client.reader.read()

    service = await stand.service(handler)
    edge = await stand.proxy(Forward(stand.upstream(service, read_timeout=0.05)))
    assert not (await stand.get()).whole
    assert edge.records[0].outcome == "upstream_truncated"


GARBAGE = {
    "text": b"SSH-2.0-OpenSSH_9.6\r\n",
    "conflicting framing": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab",
    "unknown encoding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "NUL": b"HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 2\r\n\r\nok",
    "unasked upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "endless head": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_for_an_answer_is_a_502(stand, name, until):
    service, edge = await stand.front(GARBAGE[name])
    answer = await stand.get()
    assert answer.status == 502
    assert b"upstream_garbage" in answer.body
    assert [record.outcome for record in edge.records] == ["upstream_garbage"]
    await until(lambda: service.closed == 1)


async def test_bytes_after_an_answer_never_become_the_next_one(stand):
    poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    service, _ = await stand.front(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + poison)
    client = await stand.client()
    for _ in range(3):
        client.send(GET)
        assert (await client.answer()).body == b"ok"
    assert service.connections == 3


async def test_bytes_on_an_idle_connection_never_become_an_answer(stand, until):
    async def handler(visit):
        visit.client.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await asyncio.sleep(0.02)
        return b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"

    service, _ = await stand.front(handler)
    assert (await stand.get()).body == b"ok"
    await until(lambda: service.closed == 1)
    assert (await stand.get()).body == b"ok"


async def test_an_unreachable_upstream_is_a_502(stand):
    edge = await stand.proxy(Forward(stand.upstream(1)))
    answer = await stand.get()
    assert (answer.status, edge.records[0].outcome) == (502, "upstream_unreachable")
    assert edge.records[0].failure == "unreachable"


async def test_an_upstream_that_never_answers_is_a_504(stand, until):
    async def handler(visit):
        await visit.client.reader.read()

    service = await stand.service(handler)
    edge = await stand.proxy(Forward(stand.upstream(service, answer_timeout=0.05)))
    assert (await stand.get()).status == 504
    assert edge.records[0].outcome == "upstream_timeout"


async def test_a_plan_may_shorten_the_wait(stand):
    async def handler(visit):
        await visit.client.reader.read()

    service = await stand.service(handler)
    await stand.proxy(Forward(stand.upstream(service), timeout=0.05))
    assert (await stand.get()).status == 504


async def test_an_upstream_that_closes_without_an_answer_is_a_502(stand):
    _, edge = await stand.front(closing(b""))
    assert (await stand.get()).status == 502
    assert edge.records[0].outcome == "upstream_reset"


async def test_errors_of_the_upstream_pass_as_they_are(stand):
    _, edge = await stand.front(b"HTTP/1.1 599 Odd\r\nContent-Length: 4\r\n\r\noops")
    answer = await stand.get()
    assert (answer.status, answer.body) == (599, b"oops")
    assert (edge.records[0].status, edge.records[0].outcome) == (599, "ok")


async def test_lines_that_the_plan_adds_reach_the_user(stand):
    service = await stand.service()
    await stand.proxy(Forward(stand.upstream(service), answer_headers=b"x-molt-arm: control\r\n"))
    assert (await stand.get()).get("x-molt-arm") == "control"


async def test_connections_to_the_upstream_are_reused(stand):
    service, _ = await stand.front()
    for _ in range(5):
        assert (await stand.get()).status == 200
    assert service.connections == 1


async def test_an_idle_connection_is_closed_before_the_upstream_would(stand, until):
    service = await stand.service()
    await stand.proxy(Forward(stand.upstream(service, idle_timeout=0.05)))
    await stand.get()
    await until(lambda: service.closed == 1)


async def test_what_an_upstream_says_of_its_patience_is_believed(stand, until):
    service = await stand.service(
        b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok"
    )
    await stand.proxy(Forward(stand.upstream(service, idle_timeout=600)))
    await stand.get()
    await until(lambda: service.closed == 1, 3)


async def test_a_stale_connection_never_surfaces_on_idempotent_requests(stand, until):
    """The upstream closes each connection just when the next request comes."""

    async def once(visit):
        known = [v for v in service.visits if v.connection == visit.connection]
        return None if len(known) > 1 else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    service, edge = await stand.front(once)
    client = await stand.client()
    for method in (b"GET", b"PUT", b"DELETE", b"OPTIONS", b"GET"):
        client.send(b"%b / HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\nabc" % method)
        assert (await client.answer()).status == 200
    assert len(edge.records) == 5
    assert all(request.body == b"abc" for request in service.requests)


async def test_a_post_is_never_sent_twice(stand):
    async def once(visit):
        known = [v for v in service.visits if v.connection == visit.connection]
        return None if len(known) > 1 else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    service, edge = await stand.front(once)
    assert (await stand.post(b"1")).status == 200
    assert (await stand.post(b"2")).status == 502
    assert [request.body for request in service.requests] == [b"1", b"2"]
    assert edge.records[1].outcome == "upstream_reset"


async def test_a_post_does_not_meet_a_connection_that_was_closed_while_idle(stand, until):
    service, _ = await stand.front()
    assert (await stand.post()).status == 200
    service.visits[0].client.writer.close()
    await until(lambda: service.closed == 1)
    assert (await stand.post()).status == 200
    assert service.connections == 2


async def test_a_fresh_connection_that_is_reset_is_not_tried_again(stand):
    service, _ = await stand.front(closing(b""))
    assert (await stand.get()).status == 502
    assert service.connections == 1


async def test_an_answer_before_the_end_of_the_upload_is_delivered(stand):
    service = await stand.service(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno", reads=False)
    edge = await stand.proxy(Forward(stand.upstream(service)))
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
    answer = await client.answer()
    assert (answer.status, answer.body, answer.get("connection")) == (401, b"no", "close")
    assert edge.records[0].outcome == "ok"
    assert await client.ended()


async def test_a_prefix_of_the_head_is_enough_for_no_verdict(stand):
    async def slowly(visit):
        for piece in (b"HTTP/1.1 20", b"0 OK\r\nX-A: 1\r\nConte", b"nt-Length: 2\r\n\r", b"\nok"):
            visit.client.send(piece)
            await asyncio.sleep(0.002)
        return b""

    await stand.front(slowly)
    answer = await stand.get()
    assert (answer.status, answer.get("x-a"), answer.body) == (200, "1", b"ok")


async def test_a_large_answer_arrives_byte_for_byte(stand):
    body = bytes(range(256)) * 20_000
    await stand.front(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    answer = await stand.get()
    assert answer.body == body
