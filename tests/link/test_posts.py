"""POSTs to control: the status, or one clear error; nothing is ever sent twice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from molt.link.posts import NotPosted, Posts

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


@asynccontextmanager
async def posts(handler: Handler, answer: float = 5.0) -> AsyncIterator[Posts]:
    """Posts to a server that does `handler` with each connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    one = Posts(f"http://127.0.0.1:{port}", b"x-key: k\r\n", connect=2.0, answer=answer)
    try:
        yield one
    finally:
        await one.close()
        server.close()
        await server.wait_closed()


async def request(reader: asyncio.StreamReader) -> bytes:
    """A whole request, as it came."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    return head + await reader.readexactly(length)


async def test_posts_share_a_connection_and_carry_their_headers():
    seen: list[list[bytes]] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine: list[bytes] = []
        seen.append(mine)
        while True:
            mine.append(await request(reader))
            writer.write(ANSWER)

    async with posts(handler) as one:
        assert [await one.post(b"/a", b"text/plain", b"%d" % n) for n in range(3)] == [204] * 3
    assert [len(mine) for mine in seen] == [3]
    head, _, body = seen[0][2].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /a HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"\r\nx-key: k\r\ncontent-type: text/plain\r\n" in head
    assert body == b"2"


async def test_a_server_that_hangs_up_is_an_error_and_the_next_post_dials_anew():
    tries = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        await request(reader)
        if tries > 1:
            writer.write(ANSWER)
            await writer.drain()

    async with posts(handler) as one:
        with pytest.raises(NotPosted, match="closed the connection"):
            await one.post(b"/a", b"text/plain", b"x")
        assert tries == 1
        assert await one.post(b"/a", b"text/plain", b"x") == 204


async def test_silence_and_garbage_are_told_apart():
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"hello\r\n\r\n")
        await reader.read()

    async with posts(silent, answer=0.01) as one:
        with pytest.raises(NotPosted, match="in time"):
            await one.post(b"/a", b"text/plain", b"x")
    async with posts(garbage) as one:
        with pytest.raises(NotPosted, match="not HTTP"):
            await one.post(b"/a", b"text/plain", b"x")


async def test_a_server_that_is_not_there_is_an_error():
    one = Posts("http://127.0.0.1:9", b"", connect=2.0, answer=5.0)
    with pytest.raises(NotPosted, match="cannot be connected to"):
        await one.post(b"/a", b"text/plain", b"x")
    await one.close()


async def test_a_post_that_is_given_up_leaves_no_connection_behind():
    arrived, closed = asyncio.Event(), asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        arrived.set()
        try:
            await reader.read()
        finally:
            closed.set()

    async with posts(handler) as one:
        task = asyncio.create_task(one.post(b"/a", b"text/plain", b"x"))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(closed.wait(), 5)
