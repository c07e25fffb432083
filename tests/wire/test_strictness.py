"""What is refused, with which status, and what is never looked at: smuggling has no way in."""

import asyncio

import pytest

from molt.wire.exchange import Forward

HELLO = b"GET /a HTTP/1.1\r\nHost: bar\r\n\r\n"

MALFORMED = {
    "both length and chunks": b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, the other way round": b"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "length twice": b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "lengths in a list": b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 3, 3\r\n\r\nabc",
    "signed length": b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: +3\r\n\r\nabc",
    "negative length": b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: -3\r\n\r\nabc",
    "hexadecimal length": b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 0x3\r\n\r\nabc",
    "underscored length": b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 1_0\r\n\r\n",
    "empty length": b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length:\r\n\r\n",
    "enormous length": b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "unknown encoding": b"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "second encoding": b"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "encoding twice": b"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "identity encoding": b"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: identity\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: b\n\n",
    "one bare line feed": b"GET / HTTP/1.1\r\nHost: b\nX: y\r\n\r\n",
    "bare carriage return": b"GET / HTTP/1.1\r\nHost: b\r\nX: a\rb\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nHost: b\r\nX: a\r\n b\r\n\r\n",
    "space before the first header": b"GET / HTTP/1.1\r\n Host: b\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nHost: b\r\nX : a\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost: b\r\nnonsense\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\nHost: b\r\n: a\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nHost: b\r\nX: a\0b\r\n\r\n",
    "NUL in a name": b"GET / HTTP/1.1\r\nHost: b\r\nX\0: a\r\n\r\n",
    "NUL in the target": b"GET /\0 HTTP/1.1\r\nHost: b\r\n\r\n",
    "control character": b"GET / HTTP/1.1\r\nHost: b\r\nX: a\x01b\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\nX: a\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: b\r\nHost: b\r\n\r\n",
    "hosts in a list": b"GET / HTTP/1.1\r\nHost: b, c\r\n\r\n",
    "a path for a host": b"GET / HTTP/1.1\r\nHost: b/c\r\n\r\n",
    "a user in the host": b"GET / HTTP/1.1\r\nHost: u@b\r\n\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\nHost: b\r\n\r\n",
    "fragment in the target": b"GET /a#b HTTP/1.1\r\nHost: b\r\n\r\n",
    "a user in an absolute target": b"GET http://u@b/ HTTP/1.1\r\nHost: b\r\n\r\n",
    "another scheme": b"GET ftp://b/ HTTP/1.1\r\nHost: b\r\n\r\n",
    "unknown method": b"BREW / HTTP/1.1\r\nHost: b\r\n\r\n",
    "method in lower case": b"get / HTTP/1.1\r\nHost: b\r\n\r\n",
    "TLS on a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "unknown version": b"GET / HTTP/1.2\r\nHost: b\r\n\r\n",
    "text after the version": b"GET / HTTP/1.1 x\r\nHost: b\r\n\r\n",
    "chunk size with a prefix": b"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
    "chunk size too large": b"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    "chunk with bare line feed": b"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
    "chunk longer than its size": b"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_requests_are_refused_and_never_forwarded(stand, name, until):
    service, edge = await stand.front()
    client = await stand.client()
    client.send(MALFORMED[name])
    answer = await client.answer()
    assert answer.status == 400
    assert answer.get("connection") == "close"
    assert await client.ended()
    assert not service.visits
    assert [record.outcome for record in edge.records] == ["bad_request"]


@pytest.mark.parametrize(
    "raw", [b"GET / HTTP/2.0\r\nHost: b\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
)
async def test_an_unknown_major_version_is_refused(stand, raw):
    _, edge = await stand.front()
    client = await stand.client()
    client.send(raw)
    assert (await client.answer()).status == 505
    assert edge.records[0].outcome == "bad_request"


async def test_nothing_after_a_malformed_request_is_looked_at(stand):
    service, edge = await stand.front()
    client = await stand.client()
    client.send(b"GET / HTTP/1.1\r\n\r\n" + HELLO)
    assert (await client.answer()).status == 400
    client.send(HELLO)
    assert await client.ended()
    assert not service.visits
    assert len(edge.records) == 1


async def test_a_malformed_request_is_answered_after_those_before_it(stand):
    _, edge = await stand.front()
    client = await stand.client()
    client.send(HELLO + b"GET / HTTP/1.1\r\nX : y\r\n\r\n")
    assert (await client.answer()).status == 200
    assert (await client.answer()).status == 400
    assert [record.outcome for record in edge.records] == ["ok", "bad_request"]


@pytest.mark.parametrize(
    "pieces", [[b"\r\n\r\n" + HELLO], [b"\r", b"\n" + HELLO], [b"\r\n", HELLO]]
)
async def test_empty_lines_before_a_request_mean_nothing(stand, pieces):
    _, edge = await stand.front()
    client = await stand.client()
    for piece in [*pieces, *pieces]:
        client.send(piece)
        await asyncio.sleep(0.002)  # lets each piece arrive by itself
    for _ in range(2):
        assert (await client.answer()).status == 200
    assert [record.outcome for record in edge.records] == ["ok", "ok"]


async def test_nothing_after_connection_close_is_looked_at(stand):
    service, edge = await stand.front()
    client = await stand.client()
    client.send(b"GET /1 HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n" + HELLO)
    assert (await client.answer()).status == 200
    assert await client.ended()
    assert len(service.visits) == len(edge.records) == 1


@pytest.mark.parametrize("pieces", [1, 9])
async def test_an_oversized_head_gets_431(stand, pieces):
    service, edge = await stand.front(max_head=4096)
    client = await stand.client()
    client.send(b"GET / HTTP/1.1\r\nHost: b\r\n")
    for _ in range(pieces):
        client.send(b"X-A: " + b"a" * (4500 // pieces) + b"\r\n")
        await asyncio.sleep(0.001)  # so that the pieces arrive one by one
    client.send(b"\r\n")
    assert (await client.answer()).status == 431
    assert not service.visits
    assert [record.outcome for record in edge.records] == ["bad_request"]


async def test_a_head_just_under_the_limit_passes(stand):
    await stand.front(max_head=4096)
    assert (await stand.get(X_A="a" * 4000)).status == 200


async def test_a_body_over_the_limit_gets_413_by_its_length(stand):
    service, edge = await stand.front(max_body=1000)
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 1001\r\n\r\n")
    assert (await client.answer()).status == 413
    assert not service.visits
    assert edge.records[0].outcome == "bad_request"


async def test_a_body_over_the_limit_gets_413_by_its_chunks(stand, until):
    service = await stand.service(reads=False)
    edge = await stand.proxy(Forward(stand.upstream(service)), max_body=1000)

    async def read(visit):
        await visit.body()

    service.handler = read
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\n")
    client.send(b"a" * 500 + b"\r\n")
    await until(lambda: service.visits)
    client.send(b"1f5\r\n" + b"a" * 501 + b"\r\n0\r\n\r\n")
    assert (await client.answer()).status == 413
    await until(lambda: service.closed == 1)
    assert [record.outcome for record in edge.records] == ["bad_request"]


async def test_a_refused_upload_is_read_so_that_its_answer_is_not_lost(stand):
    await stand.front(max_body=1000)
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 4000000\r\n\r\n" + b"a" * 4000000)
    assert (await client.answer()).status == 413


async def test_a_slow_head_gets_408(stand):
    _, edge = await stand.front(head_timeout=0.05)
    client = await stand.client()
    client.send(b"GET / HTTP/1.1\r\nHost:")
    assert (await client.answer()).status == 408
    assert edge.records[0].outcome == "client_timeout"


async def test_a_head_that_drips_is_not_given_more_time(stand):
    await stand.front(head_timeout=0.1)
    client = await stand.client()

    async def drip():
        client.send(b"GET / HTTP/1.1\r\nX: ")
        while True:
            client.send(b"a")
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    assert (await client.answer()).status == 408
    dripping.cancel()


async def test_a_slow_body_gets_408(stand, until):
    service = await stand.service(reads=False)

    async def read(visit):
        await visit.body()

    service.handler = read
    edge = await stand.proxy(Forward(stand.upstream(service)), body_timeout=0.05)
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 9\r\n\r\nabc")
    assert (await client.answer()).status == 408
    await until(lambda: service.closed == 1)
    assert [record.outcome for record in edge.records] == ["client_timeout"]


async def test_a_connection_that_says_nothing_is_closed_without_a_record(stand):
    _, edge = await stand.front(head_timeout=0.05)
    client = await stand.client()
    assert await client.ended()
    assert not edge.records


async def test_an_idle_connection_is_closed(stand):
    await stand.front(idle_timeout=0.05)
    client = await stand.client()
    client.send(HELLO)
    assert (await client.answer()).status == 200
    assert await client.ended()


async def test_endless_trailers_are_cut_off(stand):
    _, edge = await stand.front(max_head=4096)
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
    for _ in range(40):
        client.send(b"X-A: " + b"a" * 1000 + b"\r\n")
        await asyncio.sleep(0.001)
    answer = await client.answer()
    assert answer.status == 400
    assert len(edge.records) == 1
