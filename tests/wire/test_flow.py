"""Who goes away, who is slow, who stops: nothing leaks, nothing grows, everything is recorded."""

import asyncio
import time

import pytest

from molt.wire.exchange import Forward

GET = b"GET / HTTP/1.1\r\nHost: b\r\n\r\n"


async def silent(visit):
    await visit.client.reader.read()


async def stream(visit):
    visit.client.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await visit.client.reader.read()


async def watched(visit, closed):
    """Reads from the proxy until it closes the connection, and notes when."""
    await visit.client.reader.read()
    closed.append(time.monotonic())


@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize("moment", ["before the head", "in mid-stream"])
async def test_a_user_who_leaves_cancels_the_upstream_at_once(stand, leave, moment, until):
    closed = []

    async def handler(visit):
        if moment == "in mid-stream":
            visit.client.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await watched(visit, closed)

    service, edge = await stand.front(handler)
    client = await stand.client()
    client.send(GET)
    await until(lambda: service.visits)
    if moment == "in mid-stream":
        await client.reader.readuntil(b"\r\na\r\n")
    left = time.monotonic()
    if leave == "close":
        await client.close()
    else:
        client.reset()
    await until(lambda: closed)
    assert closed[0] - left < 0.25  # milliseconds, on a machine that is not busy
    assert [record.outcome for record in edge.records] == ["client_aborted"]


async def test_a_user_who_leaves_while_the_upstream_is_being_dialled(stand, until):
    _, edge = await stand.front(silent)
    client = await stand.client()
    client.send(GET)
    client.reset()
    client = await stand.client()
    client.send(GET)
    await client.close()
    await until(lambda: all(r.outcome == "client_aborted" for r in edge.records))
    assert len(edge.records) <= 2


async def test_pipelined_requests_of_a_user_who_leaves_are_recorded_too(stand, until):
    service, edge = await stand.front(silent)
    client = await stand.client()
    client.send(GET * 3)
    await until(lambda: service.visits)
    client.reset()
    await until(lambda: len(edge.records) == 3)
    assert {record.outcome for record in edge.records} == {"client_aborted"}


async def test_a_user_who_takes_nothing_is_cut_off(stand, until):
    async def flood(visit):
        visit.client.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            visit.client.send(b"x" * 65536)
            await visit.client.writer.drain()

    service, edge = await stand.front(flood, write_timeout=0.1)
    client = await stand.client()
    client.send(GET)
    client.writer.transport.pause_reading()
    await until(lambda: edge.records)
    assert edge.records[0].outcome == "client_timeout"
    await until(lambda: service.closed == 1)


async def test_a_user_who_hangs_up_with_the_answer_untaken_cancels_the_upstream(
    stand, until, standstill
):
    sent = 0

    async def flood(visit):
        nonlocal sent
        visit.client.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            visit.client.send(b"x" * 65536)
            sent += 65536
            await visit.client.writer.drain()

    service, edge = await stand.front(flood)
    client = await stand.client()
    client.send(GET)
    client.writer.transport.pause_reading()
    await standstill(lambda: sent)
    client.writer.write_eof()
    await until(lambda: service.closed == 1, 3)
    assert [record.outcome for record in edge.records] == ["client_aborted"]


async def test_a_slow_user_holds_back_the_upstream(stand, until, standstill):
    sent = 0

    async def flood(visit):
        nonlocal sent
        visit.client.send(b"HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n")
        while sent < 30_000_000:
            visit.client.send(b"x" * 50_000)
            sent += 50_000
            await visit.client.writer.drain()
        return b""

    service = await stand.service(flood)
    edge = await stand.proxy(Forward(stand.upstream(service, read_timeout=0.05)))
    client = await stand.client()
    client.send(GET)
    await client.reader.readuntil(b"\r\n\r\n")
    client.writer.transport.pause_reading()
    await standstill(lambda: sent)  # longer than the upstream may be silent
    assert sent < 30_000_000
    client.writer.transport.resume_reading()
    assert len(await client.reader.readexactly(30_000_000)) == 30_000_000
    await until(lambda: edge.records)
    assert edge.records[0].outcome == "ok"


async def test_a_slow_upstream_holds_back_the_upload(stand, until, standstill):
    gate = asyncio.Event()

    async def handler(visit):
        await gate.wait()
        body = await visit.body()
        return b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n%08d" % len(body)

    service = await stand.service(handler, reads=False)
    await stand.proxy(Forward(stand.upstream(service)))
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 30000000\r\n\r\n")
    await until(lambda: service.visits)
    sent = 0

    async def upload():
        nonlocal sent
        while sent < 30_000_000:
            client.send(b"x" * 50_000)
            sent += 50_000
            await client.writer.drain()

    uploading = asyncio.create_task(upload())
    await standstill(lambda: sent)
    assert sent < 30_000_000
    gate.set()
    await uploading
    assert (await client.answer()).body == b"30000000"


async def test_a_stalled_upload_times_out_on_the_upstreams_account(stand, until):
    service = await stand.service(silent, reads=False)
    edge = await stand.proxy(Forward(stand.upstream(service, answer_timeout=0.2)), body_timeout=5)
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 30000000\r\n\r\n")
    client.send(b"x" * 30_000_000)
    assert (await client.answer()).status == 504
    assert edge.records[0].outcome == "upstream_timeout"


async def test_draining_lets_requests_end_and_takes_no_more(stand, until):
    gate = asyncio.Event()

    async def handler(visit):
        await gate.wait()
        return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    service, edge = await stand.front(handler)
    idle = await stand.client()
    busy = await stand.client()
    busy.send(GET)
    await until(lambda: service.visits)
    stopping = asyncio.create_task(stand.listener.stop(grace=5))
    assert await idle.ended()
    with pytest.raises(OSError):
        await stand.client()
    gate.set()
    answer = await busy.answer()
    assert (answer.body, answer.get("connection")) == (b"ok", "close")
    await stopping
    assert edge.records[0].outcome == "ok"


async def test_draining_ends_at_its_deadline(stand, until):
    service, edge = await stand.front(silent)
    client = await stand.client()
    client.send(GET)
    await until(lambda: service.visits)
    await stand.listener.stop(grace=0.05)
    assert [record.outcome for record in edge.records] == ["cancelled"]
    await until(lambda: service.closed == 1)


async def test_two_proxies_may_share_a_port(stand):
    service = await stand.service()
    plan = Forward(stand.upstream(service))
    await stand.proxy(plan, listen={"shared": True})
    port = stand.listener.port
    await stand.proxy(plan, listen={"shared": True, "port": port})
    assert stand.listener.port == port
    for _ in range(4):
        assert (await stand.get()).status == 200


async def test_ipv6_is_spoken_on_both_sides(stand):
    from molt.wire.upstream import Upstream

    service = await stand.service()
    await service.stop()
    await service.start(host="::1")
    upstream = Upstream.from_url("control", f"http://[::1]:{service.port}/", stand.deadlines)
    edge = await stand.proxy(Forward(stand.adopt(upstream)), listen={"host": "::1"})
    client = await stand.client(host="::1")
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert (await client.answer()).status == 200
    assert service.requests[0].get("host") == f"[::1]:{service.port}"
    assert edge.records[0].client == "::1"


@pytest.mark.parametrize(
    "url", ["ftp://a", "a:80", "http://", "http://u@a/", "http://a/?q", "http://a/#f"]
)
def test_upstream_urls_that_say_too_much_or_too_little_are_refused(stand_urls, url):
    with pytest.raises(ValueError, match="upstream control"):
        stand_urls(url)


@pytest.fixture
def stand_urls():
    from molt.wire.deadlines import Deadlines
    from molt.wire.upstream import Upstream

    return lambda url: Upstream.from_url("control", url, Deadlines())
