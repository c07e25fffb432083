"""The gateway's listener: a proxy that serves an edge until it is told to stop."""

import asyncio
import gc
import ssl
import time
from typing import Final, Literal

from molt.wire.deadlines import Deadlines
from molt.wire.exchange import Edge, Exchange, Forward
from molt.wire.front import Front, Limits
from molt.wire.server import UserConnection

_COLLECT: Final = (20_000, 20, 100)
"""Allocations before a young collection, and how many of them before an older one."""


class Proxy:
    """Takes requests on a port and does with them what `edge` decides.

    `rescue` is where requests go when the edge itself raises: the control. `deadlines` is the timer
    that the upstreams were made with; the proxy runs it. `forwarded` and `watched` are explained at `Front`.
    """

    def __init__(
        self,
        edge: Edge,
        rescue: Forward,
        deadlines: Deadlines,
        *,
        limits: Limits | None = None,
        forwarded: Literal["append", "replace", "off"] = "append",
        watched: frozenset[bytes] = frozenset(),
    ) -> None:
        self._front = Front(edge, rescue, deadlines, limits or Limits(), forwarded, watched)
        self._deadlines = deadlines
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        tls: ssl.SSLContext | None = None,
        shared: bool = False,
        freeze: bool = False,
    ) -> None:
        """Listen; `port` then says where. Several processes may hold a `shared` port.

        `freeze` keeps what exists now out of garbage collections, and makes them rare, for requests
        leave no cycles behind: for a process that only serves.
        Raises OSError when the address cannot be had.
        """
        loop = asyncio.get_running_loop()
        self._deadlines.start(loop)
        self._server = await loop.create_server(
            lambda: UserConnection(self._front),
            host,
            port,
            ssl=tls,
            backlog=4096,
            reuse_port=shared or None,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        if freeze:
            gc.collect()
            gc.freeze()
            gc.set_threshold(*_COLLECT)

    def in_flight(self) -> list[Exchange]:
        """All exchanges under way, mirror copies too; each can be taken back by its `cancel`."""
        return self._front.in_flight()

    async def stop(self, grace: float = 10.0) -> None:
        """Stop listening, let what is in flight end for `grace` seconds, then close everything.

        Upstreams are closed by whoever made them.
        """
        front = self._front
        front.draining = True
        if self._server is not None:
            self._server.close()
        for connection in list(front.connections):
            connection.close_if_idle()
        until = time.monotonic() + grace
        while front.is_busy and time.monotonic() < until:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.01)
        for copy in list(front.mirrors.in_flight):
            copy.cancel()
        self._deadlines.stop()
        await asyncio.sleep(0)  # connections close in the next turn of the loop
