"""A proxy between raw sockets: every byte on both sides is the test's own."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop

from molt.gateway.proxy import Proxy
from molt.wire.deadlines import Deadlines
from molt.wire.exchange import Answer, Exchange, Failure, Forward, Plan, find
from molt.wire.front import Limits
from molt.wire.upstream import Upstream
from molt.wire.usage import usage_reader

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the gateway runs on."""
    return {"uvloop": uvloop.new_event_loop}


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Return as soon as `condition` holds; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.001)


@dataclass
class Message:
    """A request or an answer as it stood on the wire."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    whole: bool = True

    @property
    def status(self) -> int:
        return int(self.line.split()[1])

    def get(self, name: str) -> str | None:
        return next((v for n, v in self.headers if n.lower() == name), None)


async def read_head(reader: asyncio.StreamReader) -> Message:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = [line.partition(":") for line in lines[1:-2]]
    return Message(lines[0], [(name, value.strip()) for name, _, value in pairs])


async def read_body(reader: asyncio.StreamReader, message: Message, *, to_end: bool) -> None:
    if (message.get("transfer-encoding") or "") == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            message.body += await reader.readexactly(size)
            assert await reader.readexactly(2) == b"\r\n"
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
    elif (length := message.get("content-length")) is not None:
        message.body = await reader.readexactly(int(length))
    elif to_end:
        message.body = await reader.read()


class Client:
    """A user with a raw socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes | str) -> None:
        self.writer.write(data if isinstance(data, bytes) else data.encode("latin-1"))

    async def answer(self, *, head: bool = False) -> Message:
        """The next final answer. A body that is cut short has `whole` False."""
        async with asyncio.timeout(10):
            message = await read_head(self.reader)
            bodyless = head or message.status in {100, 204, 304}
            try:
                if not bodyless:
                    await read_body(self.reader, message, to_end=True)
            except (asyncio.IncompleteReadError, ConnectionResetError):
                message.whole = False
            return message

    async def ended(self) -> bool:
        """True if the connection ends cleanly with nothing more; False if it is reset."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read(1) == b""
            except ConnectionResetError:
                return False

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def reset(self) -> None:
        self.writer.transport.abort()


Handler = Callable[["Visit"], Awaitable[bytes | None]]


class Visit:
    """One request that a service got, and the connection it came by."""

    def __init__(self, request: Message, client: Client, connection: int) -> None:
        self.request = request
        self.client = client
        self.connection = connection

    async def body(self) -> bytes:
        await read_body(self.client.reader, self.request, to_end=False)
        return self.request.body


class Service:
    """An upstream. `handler` gets each request's head and returns the raw answer, or None to close.

    The body is read first unless `reads` is False.
    """

    def __init__(self, handler: Handler | bytes = OK, *, reads: bool = True) -> None:
        self.handler = handler
        self.reads = reads
        self.visits: list[Visit] = []
        self.closed = 0
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def requests(self) -> list[Message]:
        return [visit.request for visit in self.visits]

    async def start(self, tls: Any = None, host: str = "127.0.0.1") -> None:
        self._server = await asyncio.start_server(self._accept, host, 0, ssl=tls, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.add(asyncio.get_running_loop().create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(reader, writer)
        try:
            await self._answer_all(client, self.connections)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.closed += 1
            writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _answer_all(self, client: Client, connection: int) -> None:
        while True:
            visit = Visit(await read_head(client.reader), client, connection)
            if self.reads:
                await visit.body()
            self.visits.append(visit)
            handler = self.handler
            answer = handler if isinstance(handler, bytes) else await handler(visit)
            if answer is None:
                return
            client.send(answer)
            await client.writer.drain()


@dataclass
class Edge:
    """Plans what the test says and keeps what it is told."""

    plan: Plan | Callable[[Exchange], Plan]
    wants: bool = False
    falls_back: bool | None = True
    records: list[Exchange] = field(default_factory=list)
    copies: list[Exchange] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    resume: Callable[[bool], None] | None = None
    decided: list[bytes | None] = field(default_factory=list)

    def wants_body(self, exchange: Exchange) -> bool:
        return self.wants

    def decide(self, exchange: Exchange) -> Plan:
        self.decided.append(exchange.body)
        plan = self.plan
        return plan if isinstance(plan, Answer | Forward) else plan(exchange)

    def answered(self, exchange: Exchange, status: int, headers: list[bytes]) -> Any:
        return usage_reader(find(headers, b"content-type"), find(headers, b"content-encoding"))

    def may_fall_back(
        self, exchange: Exchange, failure: Failure, resume: Callable[[bool], None]
    ) -> None:
        self.failures.append(failure)
        self.resume = resume
        if self.falls_back is not None:
            resume(self.falls_back)

    def record(self, exchange: Exchange) -> None:
        (self.copies if exchange.mirror else self.records).append(exchange)


class Stand:
    """A proxy with its services and clients; everything is closed at the end of the test."""

    def __init__(self) -> None:
        self.deadlines = Deadlines(tick=0.01)
        self.upstreams: list[Upstream] = []
        self._services: list[Service] = []
        self._clients: list[Client] = []
        self._proxies: list[Proxy] = []

    async def service(self, handler: Handler | bytes = OK, *, reads: bool = True) -> Service:
        service = Service(handler, reads=reads)
        await service.start()
        self._services.append(service)
        return service

    def upstream(self, service: Service | int, name: str = "control", **options: Any) -> Upstream:
        port = service if isinstance(service, int) else service.port
        upstream = Upstream(name, "127.0.0.1", port, self.deadlines, **options)
        self.upstreams.append(upstream)
        return upstream

    def adopt(self, upstream: Upstream, service: Service | None = None) -> Upstream:
        self.upstreams.append(upstream)
        if service is not None:
            self._services.append(service)
        return upstream

    async def proxy(
        self,
        plan: Plan | Callable[[Exchange], Plan],
        *,
        listen: dict[str, Any] | None = None,
        forwarded: Any = "append",
        rescue: Forward | None = None,
        **limits: Any,
    ) -> Edge:
        edge = Edge(plan)
        self.listener = Proxy(
            edge,
            rescue or (plan if isinstance(plan, Forward) else Forward(self.upstreams[0])),
            self.deadlines,
            limits=Limits(**limits),
            forwarded=forwarded,
        )
        await self.listener.start(**(listen or {}))
        self._proxies.append(self.listener)
        return edge

    async def front(self, handler: Handler | bytes = OK, **limits: Any) -> tuple[Service, Edge]:
        """A proxy that forwards everything to one service."""
        service = await self.service(handler)
        return service, await self.proxy(Forward(self.upstream(service)), **limits)

    async def client(self, **options: Any) -> Client:
        options = {"host": "127.0.0.1"} | options
        options.setdefault("port", self.listener.port if self._proxies else None)
        client = Client(*await asyncio.open_connection(limit=1 << 20, **options))
        self._clients.append(client)
        return client

    async def get(self, path: str = "/", **headers: str) -> Message:
        client = await self.client()
        extra = "".join(f"{name.replace('_', '-')}: {v}\r\n" for name, v in headers.items())
        client.send(f"GET {path} HTTP/1.1\r\nHost: bar\r\n{extra}\r\n")
        return await client.answer()

    async def post(self, body: bytes = b"{}", **options: Any) -> Message:
        client = await self.client()
        client.send(b"POST /chat HTTP/1.1\r\nHost: bar\r\nContent-Length: %d\r\n\r\n" % len(body))
        client.send(body)
        return await client.answer()

    async def close(self) -> None:
        for client in self._clients:
            client.reset()
            await client.close()
        for proxy in self._proxies:
            await proxy.stop(grace=0)
        for upstream in self.upstreams:
            upstream.close()
        for service in self._services:
            await service.stop()


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    stand = Stand()
    yield stand
    await stand.close()


async def standstill(count: Callable[[], int]) -> None:
    """Return when `count` has stopped to grow: every buffer on the way is full."""
    before = -1
    while count() != before:
        before = count()
        await asyncio.sleep(0.1)


@pytest.fixture(name="standstill")
def standstill_fixture() -> Callable[..., Awaitable[None]]:
    return standstill


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Awaitable[None]]:
    return until
