"""300 MB pass through a proxy that is a process of its own, one side slow: its memory stays flat."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

SIZE = 300_000_000
PIECE = b"x" * 60_000
ALLOWED = 24 * 1024 * 1024
PROXY = """
import asyncio, sys, uvloop
from molt.gateway.proxy import Proxy
from molt.wire.deadlines import Deadlines
from molt.wire.exchange import Forward
from molt.wire.upstream import Upstream

class Edge:
    def wants_body(self, exchange): return False
    def decide(self, exchange): return plan
    def answered(self, exchange, status, headers): return None
    def may_fall_back(self, exchange, failure, resume): resume(False)
    def record(self, exchange): pass

async def main():
    global plan
    deadlines = Deadlines()
    plan = Forward(Upstream("control", "127.0.0.1", int(sys.argv[1]), deadlines))
    proxy = Proxy(Edge(), plan, deadlines)
    await proxy.start()
    print(proxy.port, flush=True)
    await asyncio.Event().wait()

uvloop.run(main())
"""


def resident(pid: int) -> int:
    """Peak resident memory in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@contextlib.asynccontextmanager
async def proxy_process(upstream: int) -> AsyncIterator[tuple[int, int]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROXY, str(upstream), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield int(await process.stdout.readline()), process.pid
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
async def test_a_large_answer_to_a_slow_user_does_not_grow_the_proxy(stand, standstill):
    sent = 0

    async def flood(visit):
        nonlocal sent
        visit.client.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        for _ in range(SIZE // len(PIECE)):
            visit.client.send(PIECE)
            sent += len(PIECE)
            await visit.client.writer.drain()
        return b""

    service = await stand.service(flood)
    async with proxy_process(service.port) as (port, pid):
        client = await stand.client(port=port)
        client.send(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
        await client.reader.readuntil(b"\r\n\r\n")
        before, got = resident(pid), 0
        client.writer.transport.pause_reading()
        await standstill(lambda: sent)
        client.writer.transport.resume_reading()
        while got < SIZE:
            got += len(await client.reader.read(1 << 20))
        assert resident(pid) - before < ALLOWED


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
async def test_a_large_upload_to_a_slow_upstream_does_not_grow_the_proxy(stand, standstill):
    sent = 0
    gate = asyncio.Event()

    async def swallow(visit):
        await gate.wait()
        got = 0
        while got < SIZE:
            got += len(await visit.client.reader.read(1 << 20))
        return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    service = await stand.service(swallow, reads=False)
    async with proxy_process(service.port) as (port, pid):
        client = await stand.client(port=port)
        client.send(b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\n\r\n" % SIZE)
        before = resident(pid)

        async def upload():
            nonlocal sent
            for _ in range(SIZE // len(PIECE)):
                client.send(PIECE)
                sent += len(PIECE)
                await client.writer.drain()

        uploading = asyncio.create_task(upload())
        await standstill(lambda: sent)
        gate.set()
        await uploading
        assert (await client.answer()).body == b"ok"
        assert resident(pid) - before < ALLOWED
