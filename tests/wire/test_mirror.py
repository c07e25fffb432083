"""Copies for another upstream: the user never notices, the edge always hears."""

import asyncio

from molt.wire.exchange import Forward

CHAT = b'{"model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}}'
USAGE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(CHAT),
    CHAT,
)


async def shadowed(stand, handler, **limits):
    shadow = handler if isinstance(handler, int) else await stand.service(handler)
    control = await stand.service()
    plan = Forward(
        stand.upstream(control),
        b"traceparent: t\r\n",
        mirror=stand.upstream(shadow, "candidate", answer_timeout=5),
        mirror_headers=b"x-molt-mode: shadow\r\n",
        mirror_token="the copy's",
    )
    return control, shadow, await stand.proxy(plan, **limits)


async def test_a_copy_of_the_request_reaches_the_mirror(stand, until):
    control, shadow, edge = await shadowed(stand, USAGE)
    answer = await stand.post(b'{"m":1}')
    assert answer.body == b"ok"
    await until(lambda: edge.copies)
    assert shadow.requests[0].body == control.requests[0].body == b'{"m":1}'
    assert shadow.requests[0].line == control.requests[0].line
    assert shadow.requests[0].get("x-molt-mode") == "shadow"
    assert control.requests[0].get("x-molt-mode") is None
    (copy,) = edge.copies
    assert (copy.outcome, copy.status, copy.upstream) == ("ok", 200, "candidate")
    assert (copy.token, copy.mirror, copy.bytes_in) == ("the copy's", True, 7)
    assert (copy.usage.input_tokens, copy.usage.output_tokens) == (5, 7)
    assert [record.outcome for record in edge.records] == ["ok"]


async def test_a_mirror_that_hangs_delays_nobody_and_too_many_copies_are_dropped(stand, until):
    async def silent(visit):
        await visit.client.reader.read()

    _, shadow, edge = await shadowed(stand, silent, mirrors=3)
    for _ in range(5):
        assert (await stand.post()).body == b"ok"
    await until(lambda: len(shadow.visits) == 3)
    assert [copy.outcome for copy in edge.copies] == ["mirror_dropped"] * 2
    assert len(edge.records) == 5
    assert len(stand.listener.in_flight()) == 3


async def test_a_copy_lives_on_when_the_user_leaves(stand, until):
    gate = asyncio.Event()

    async def late(visit):
        await gate.wait()
        return USAGE

    control, shadow, edge = await shadowed(stand, late)
    control.handler = late
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\n{}")
    await until(lambda: shadow.visits)
    client.reset()
    await until(lambda: edge.records)
    gate.set()
    await until(lambda: edge.copies)
    assert (edge.records[0].outcome, edge.copies[0].outcome) == ("client_aborted", "ok")


async def test_a_streamed_body_is_copied_when_it_is_whole(stand, until):
    control, shadow, edge = await shadowed(stand, USAGE)
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await until(lambda: control.connections)
    client.send(b"3\r\ndef\r\n0\r\n\r\n")
    assert (await client.answer()).status == 200
    await until(lambda: edge.copies)
    assert shadow.requests[0].body == b"abcdef"
    assert shadow.requests[0].get("content-length") == "6"


async def test_a_body_too_large_to_hold_is_not_copied(stand, until):
    control, shadow, edge = await shadowed(stand, USAGE, hold_body=10_000)
    client = await stand.client()
    client.send(b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 300000\r\n\r\n")
    await until(lambda: control.connections)
    client.send(b"x" * 300_000)
    assert (await client.answer()).status == 200
    await until(lambda: edge.copies)
    assert edge.copies[0].outcome == "mirror_dropped"
    assert not shadow.visits


async def test_every_end_of_a_copy_is_recorded(stand, until):
    async def gone(visit):
        return None

    async def halfway(visit):
        visit.client.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")

    _, shadow, edge = await shadowed(stand, gone)
    ends = []
    for handler in (gone, halfway, b"nonsense\r\n"):
        shadow.handler = handler
        assert (await stand.post()).body == b"ok"
        await until(lambda: len(edge.copies) > len(ends))
        ends.append(edge.copies[-1].outcome)
    assert ends == ["upstream_reset", "upstream_truncated", "upstream_garbage"]


async def test_an_unreachable_mirror_is_recorded(stand, until):
    _, _, edge = await shadowed(stand, 1)
    assert (await stand.post()).body == b"ok"
    await until(lambda: edge.copies)
    assert edge.copies[0].outcome == "upstream_unreachable"


async def test_a_copy_can_be_cancelled(stand, until):
    async def silent(visit):
        await visit.client.reader.read()

    _, shadow, edge = await shadowed(stand, silent)
    await stand.post()
    await until(lambda: shadow.visits)
    for exchange in stand.listener.in_flight():
        exchange.cancel()
    assert edge.copies[0].outcome == "cancelled"
    await until(lambda: shadow.closed == 1)
