"""What users send: what is forwarded, how it reaches the upstream, what is refused."""

import asyncio

import pytest

from molt.wire.exchange import Answer, Forward, find, header_lines
from molt.wire.lines import HeaderLines

HELLO = b"GET /a HTTP/1.1\r\nHost: bar\r\n\r\n"


async def test_raw_path_and_query_reach_the_upstream_as_they_came(stand):
    service, edge = await stand.front()
    target = "/a//b/../%2e%2E/%e4?q=1&q=2&x=%20+%00;&&=?/"
    assert (await stand.get(target)).status == 200
    assert service.requests[0].line == f"GET {target} HTTP/1.1"
    assert edge.records[0].target == target.encode()


async def test_an_upstream_prefix_is_put_before_the_path(stand):
    service = await stand.service()
    await stand.proxy(Forward(stand.upstream(service, prefix=b"/base")))
    await stand.get("/a?b")
    assert service.requests[0].line == "GET /base/a?b HTTP/1.1"


async def test_duplicate_and_multi_valued_headers_survive_in_order(stand):
    service, _ = await stand.front()
    client = await stand.client()
    client.send("GET / HTTP/1.1\r\nHost: bar\r\nX-A: 1, 2\r\nX-B: b\r\nx-a: 3\r\nX-A:\r\n\r\n")
    await client.answer()
    sent = [(n, v) for n, v in service.requests[0].headers if n.startswith("x-a") or n == "x-b"]
    assert sent == [("x-a", "1, 2"), ("x-b", "b"), ("x-a", "3"), ("x-a", "")]


async def test_duplicate_headers_of_an_answer_survive_in_order(stand):
    await stand.front(
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX: y\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
    )
    answer = await stand.get()
    assert [v for n, v in answer.headers if n == "set-cookie"] == ["a=1", "b=2"]


async def test_headers_named_in_connection_are_stripped(stand):
    service, _ = await stand.front()
    client = await stand.client()
    client.send(
        "GET / HTTP/1.1\r\nHost: bar\r\nX-Secret: s\r\nX-Kept: k\r\nConnection: close, X-Secret\r\n"
        "Keep-Alive: timeout=3\r\nTE: trailers\r\nTrailer: x\r\nProxy-Connection: close\r\n\r\n"
    )
    await client.answer()
    names = {name for name, _ in service.requests[0].headers}
    assert "x-kept" in names
    hop_by_hop = {"x-secret", "connection", "keep-alive", "te", "trailer", "proxy-connection"}
    assert names.isdisjoint(hop_by_hop)


async def test_headers_named_in_an_answers_connection_are_stripped(stand):
    await stand.front(
        b"HTTP/1.1 200 OK\r\nConnection: x-inner\r\nX-Inner: 1\r\nX-Outer: 2\r\n"
        b"Keep-Alive: timeout=9\r\nContent-Length: 0\r\n\r\n"
    )
    answer = await stand.get()
    assert answer.get("x-outer") == "2"
    assert answer.get("x-inner") is None
    assert answer.get("keep-alive") is None


async def test_inbound_molt_headers_and_those_the_plan_strips_never_reach_an_upstream(stand):
    service = await stand.service()
    plan = Forward(
        stand.upstream(service), headers=b"x-molt-run: ours\r\n", strip=frozenset({b"x-drop"})
    )
    await stand.proxy(plan)
    await stand.get(X_Molt_Run="forged", X_MOLT_Mode="live", X_Drop="d", X_Keep="x-molt-run")
    headers = dict(service.requests[0].headers)
    assert headers["x-molt-run"] == "ours"
    assert headers["x-keep"] == "x-molt-run"
    assert not headers.keys() & {"x-molt-mode", "x-drop"}


async def test_the_client_is_named_to_the_upstream(stand):
    service, edge = await stand.front()
    await stand.get()
    await stand.get(X_Forwarded_For="1.2.3.4", X_Forwarded_Proto="https")
    first, second = (dict(request.headers) for request in service.requests)
    assert first["x-forwarded-for"] == "127.0.0.1"
    assert (first["x-forwarded-proto"], first["x-forwarded-host"]) == ("http", "bar")
    assert second["x-forwarded-for"] == "1.2.3.4, 127.0.0.1"
    assert (second["x-forwarded-proto"], second["x-forwarded-host"]) == ("https", "bar")
    assert edge.records[1].header(b"x-forwarded-for") == b"1.2.3.4"


async def test_what_clients_say_about_forwarding_can_be_disbelieved(stand):
    service = await stand.service()
    await stand.proxy(Forward(stand.upstream(service)), forwarded="replace")
    await stand.get(X_Forwarded_For="1.2.3.4", X_Forwarded_Host="evil")
    headers = dict(service.requests[0].headers)
    assert (headers["x-forwarded-for"], headers["x-forwarded-host"]) == ("127.0.0.1", "bar")


async def test_host_is_forwarded_as_it_came_or_replaced_by_the_upstreams(stand):
    service = await stand.service()
    own = stand.upstream(service, own_host=True)
    await stand.proxy(Forward(own), forwarded="off")
    await stand.get()
    assert service.requests[0].headers == [("host", f"127.0.0.1:{service.port}")]


async def test_a_body_with_a_length_arrives_with_its_length(stand):
    service, edge = await stand.front()
    assert (await stand.post(b"x" * 1000)).body == b"ok"
    assert service.requests[0].get("content-length") == "1000"
    assert service.requests[0].body == b"x" * 1000
    assert edge.records[0].bytes_in == 1000


async def test_a_chunked_body_arrives_whole_without_its_trailers(stand):
    service, edge = await stand.front()
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: bar\r\nTransfer-Encoding: chunked\r\n\r\n")
    await asyncio.sleep(0)
    client.send(b"3;ext=1\r\nabc\r\n")
    client.send(b"2\r\nde\r\n0\r\nX-Evil: trailer\r\n\r\n")
    assert (await client.answer()).status == 200
    assert service.requests[0].body == b"abcde"
    assert service.requests[0].get("x-evil") is None
    assert edge.records[0].bytes_in == 5


async def test_a_body_that_takes_long_is_streamed_in_chunks(stand, until):
    service = await stand.service(reads=False)
    edge = await stand.proxy(Forward(stand.upstream(service)))

    async def echo(visit):
        body = await visit.body()
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    service.handler = echo
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: bar\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await until(lambda: service.visits)
    assert edge.decided == [None]
    client.send(b"3\r\ndef\r\n0\r\n\r\n")
    assert (await client.answer()).body == b"abcdef"
    assert service.requests[0].get("transfer-encoding") == "chunked"


async def test_the_edge_gets_a_small_body_only_when_it_asks_or_it_is_here(stand, until):
    service, edge = await stand.front()
    edge.wants = True
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: bar\r\nContent-Length: 4\r\n\r\nab")
    client.send(b"cd")
    await client.answer()
    assert edge.decided == [b"abcd"]
    client.send(b"POST / HTTP/1.1\r\nHost: bar\r\nContent-Length: 100000\r\n\r\n" + b"x" * 70000)
    await until(lambda: len(edge.decided) == 2)
    assert edge.decided[1] is None
    client.send(b"x" * 30000)
    await client.answer()
    assert service.requests[1].body == b"x" * 100000


@pytest.mark.parametrize("cut", range(1, 95, 3))
async def test_any_split_of_a_request_gives_the_same_request(stand, cut):
    service, _ = await stand.front()
    raw = b"POST /a?b HTTP/1.1\r\nHost: bar\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    client = await stand.client()
    client.send(raw[:cut])
    await asyncio.sleep(0.002)  # lets the first piece arrive by itself
    client.send(raw[cut:])
    assert (await client.answer()).status == 200
    request = service.requests[0]
    assert (request.line, request.body) == ("POST /a?b HTTP/1.1", b"ab")
    assert request.get("x-a") == "1"


async def test_pipelined_requests_are_answered_in_order(stand, until):
    gate = asyncio.Event()

    async def answer(visit):
        if visit.request.line == "GET /1 HTTP/1.1":
            await gate.wait()
        path = visit.request.line.split()[1].encode()
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(path), path)

    service, edge = await stand.front(answer)
    client = await stand.client()
    client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: b\r\n\r\n" % n for n in range(1, 4)))
    await until(lambda: service.visits)
    gate.set()
    assert [(await client.answer()).body for _ in range(3)] == [b"/1", b"/2", b"/3"]
    assert [record.target for record in edge.records] == [b"/1", b"/2", b"/3"]


async def test_thousands_of_pipelined_requests_are_answered(stand):
    _, edge = await stand.front()
    edge.plan = Answer(200, b"here")
    client = await stand.client()
    client.send(HELLO * 5000)
    for _ in range(5000):
        assert (await client.answer()).body == b"here"
    assert len(edge.records) == 5000


async def test_a_second_request_with_a_body_waits_for_its_turn(stand):
    async def slowly(visit):
        await asyncio.sleep(0.02)
        body = visit.request.body or b"-"
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    await stand.front(slowly)
    client = await stand.client()
    client.send(HELLO + b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 6\r\n\r\nabc")
    client.send(b"def")
    assert (await client.answer()).body == b"-"
    assert (await client.answer()).body == b"abcdef"


async def test_expect_continue_is_answered_before_the_body_is_sent(stand, until):
    service, _ = await stand.front()
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert (await client.answer()).status == 100
    client.send(b"ab")
    assert (await client.answer()).status == 200
    assert service.requests[0].get("expect") is None
    assert service.requests[0].body == b"ab"


async def test_expect_continue_with_a_body_for_the_decision(stand):
    _, edge = await stand.front()
    edge.wants = True
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert (await client.answer()).status == 100
    client.send(b"ab")
    assert (await client.answer()).status == 200
    assert edge.decided == [b"ab"]


async def test_a_refused_upload_is_not_asked_to_continue(stand):
    _, edge = await stand.front()
    edge.plan = Answer(429, b"{}")
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert (await client.answer()).status == 429
    assert await client.ended()
    assert edge.records[0].outcome == "refused"


async def test_other_expectations_are_refused(stand):
    await stand.front()
    assert (await stand.get(Expect="tea")).status == 417


async def test_an_upgrade_is_refused_with_a_clear_status(stand):
    service, edge = await stand.front()
    client = await stand.client()
    client.send(
        b"GET /ws HTTP/1.1\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n\x81\x85"
    )
    assert (await client.answer()).status == 501
    assert await client.ended()
    assert not service.visits
    assert [record.outcome for record in edge.records] == ["bad_request"]


async def test_an_offer_of_http2_is_ignored_and_its_body_arrives(stand):
    service, edge = await stand.front()
    client = await stand.client()
    offer = (
        b"POST /x HTTP/1.1\r\nHost: b\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 4\r\n\r\nbody"
    )
    client.send(offer + HELLO)
    assert (await client.answer()).status == 200
    assert (await client.answer()).status == 200
    assert service.requests[0].body == b"body"
    names = {name for name, _ in service.requests[0].headers}
    assert names.isdisjoint({"upgrade", "connection", "http2-settings"})
    assert len(edge.records) == 2


async def test_a_tunnel_is_refused(stand):
    await stand.front()
    client = await stand.client()
    client.send(b"CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n")
    assert (await client.answer()).status == 501


async def test_an_absolute_target_becomes_a_path_and_its_host(stand):
    service, _ = await stand.front()
    client = await stand.client()
    client.send(b"GET http://inner:81/a?b HTTP/1.1\r\nHost: outer\r\n\r\n")
    client.send(b"GET http://inner?q HTTP/1.1\r\nHost: outer\r\n\r\n")
    client.send(b"OPTIONS * HTTP/1.1\r\nHost: outer\r\n\r\n")
    for _ in range(3):
        await client.answer()
    lines = [(r.line, r.get("host")) for r in service.requests]
    assert lines[0] == ("GET /a?b HTTP/1.1", "inner:81")
    assert lines[1] == ("GET /?q HTTP/1.1", "inner")
    assert lines[2] == ("OPTIONS * HTTP/1.1", "outer")


async def test_when_the_edge_fails_the_rescue_plan_serves_the_user(stand):
    service = await stand.service()
    plan = Forward(stand.upstream(service))

    def broken(exchange):
        raise RuntimeError("a bug")

    edge = await stand.proxy(broken, rescue=plan)
    assert (await stand.get()).body == b"ok"
    assert edge.records[0].outcome == "ok"


async def test_the_edge_reads_the_first_of_several_headers(stand):
    _, edge = await stand.front()
    client = await stand.client()
    client.send("GET / HTTP/1.1\r\nHost: bar\r\nX-User: one\r\nx-user: two\r\nX-B: X-User\r\n\r\n")
    await client.answer()
    (record,) = edge.records
    names = (b"x-user", b"host", b"x-b", b"x-c", b"x-forwarded-for", b"one")
    assert [record.header(name) for name in names] == [b"one", b"bar", b"X-User", None, None, None]


async def test_an_answer_made_by_the_edge_is_sent_and_recorded(stand):
    service, edge = await stand.front()
    edge.plan = Answer(429, b'{"a":1}', b"content-type: application/json\r\nretry-after: 3\r\n")
    client = await stand.client()
    client.send(HELLO)
    answer = await client.answer()
    assert (answer.status, answer.body, answer.get("retry-after")) == (429, b'{"a":1}', "3")
    assert answer.get("date").endswith("GMT")
    client.send(b"HEAD / HTTP/1.1\r\nHost: b\r\n\r\n")
    answer = await client.answer(head=True)
    assert answer.get("content-length") == "7"
    client.send(HELLO)
    assert (await client.answer()).status == 429
    assert [record.outcome for record in edge.records] == ["refused"] * 3
    assert not service.visits


def test_a_value_that_looks_like_a_name_is_not_found():
    flat = [b"a", b": ", b"x-b", b"\r\n", b"x-b", b": ", b"1", b"\r\n"]
    assert (find(flat, b"x-b"), find(flat[:4], b"x-b")) == (b"1", None)


def test_header_lines_cannot_smuggle():
    assert header_lines([(b"a", b"1"), (b"b", b"2")]) == b"a: 1\r\nb: 2\r\n"
    for value in (b"1\r\nx: y", b"1\n", b"\0"):
        with pytest.raises(ValueError, match="line break or NUL"):
            header_lines([(b"a", value)])


def test_header_lines_are_remembered_within_bounds():
    lines = HeaderLines(frozenset({b"host"}), prefix=b"x-own-")
    for n in range(3000):
        head = [b"HOST: b", b"X-A:  %d\t" % n, b"x-OWN-%d: 1" % n, b"b:" + b"x" * 300, b"Host:c"]
        plain, special = lines.take(head)
        assert plain[:4] == [b"x-a", b": ", b"%d" % n, b"\r\n"]
        assert len(plain) == 8
        assert special == {b"host": b"b, c", b"x-own-%d" % n: b"1"}
        assert len(lines) <= 4096


@pytest.mark.parametrize(
    ("accepted", "passed_on"),
    [
        ("gzip, deflate, br, zstd", "gzip, deflate"),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", "gzip;q=0.8"),
        ("br", "identity"),
        ("GZIP", "GZIP"),
        ("", "identity"),
    ],
)
async def test_upstreams_are_offered_only_codings_that_are_read_here(
    stand, accepted: str, passed_on: str
):
    service, _ = await stand.front()
    client = await stand.client()
    client.send(f"GET / HTTP/1.1\r\nHost: bar\r\nAccept-Encoding: {accepted}\r\n\r\n")
    await client.answer()
    assert [v for n, v in service.requests[0].headers if n == "accept-encoding"] == [passed_on]
