"""One service as a process: a free port, a ready line on standard output, a clean end on SIGTERM."""

import argparse
import asyncio
import contextlib
import gc
import hmac
import json
import math
import random
import signal
import socket
from collections.abc import Generator

import uvicorn
import uvloop
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from molt.apps.serve.lifetime import orphaned

KEEP_ALIVE = 75
"""Seconds an idle connection is kept; proxies in front must give up theirs earlier."""


class Latency:
    """A delay as a real service has one: lognormal around a median, seeded."""

    def __init__(self, median_ms: float, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._median = median_ms / 1000

    async def wait(self, share: float = 1.0) -> None:
        """Sleep for one drawn delay times `share`; nothing when the median is zero."""
        if self._median > 0:
            await asyncio.sleep(self._median * share * math.exp(self._random.gauss(0.0, 0.35)))


def keyed(app: ASGIApp, key: str) -> ASGIApp:
    """`app` for those only who have the key; without a key, for everybody."""
    return _Keyed(app, key) if key else app


class _Keyed:
    """Asks for the key everywhere but at `/stats` and `/health`."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._authorization = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and scope["path"] not in ("/stats", "/health"):
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._authorization):
                refusal = JSONResponse({"error": {"message": "a key is needed"}}, status_code=401)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. Raises OSError when the port is taken."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    return sock


def serve(app: ASGIApp, service: str, options: argparse.Namespace) -> None:
    """Run `app` until SIGTERM or SIGINT; prints {"service", "url"} as one JSON line when it is ready.

    With `until_stdin_ends` it ends with standard input as well.
    """
    sock = listen(options.host, options.port)
    uvloop.run(_serve(app, service, sock, options.until_stdin_ends))


async def _serve(app: ASGIApp, service: str, sock: socket.socket, watched: bool) -> None:
    config = uvicorn.Config(
        app, http="httptools", ws="none", lifespan="auto", log_level="warning", access_log=False,
        server_header=False, timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=3, backlog=1024,
    )  # fmt: skip
    server = _Server(config, service)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    watching = asyncio.create_task(orphaned(server.stop)) if watched else None
    await server.serve([sock])
    if watching:
        watching.cancel()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, service: str) -> None:
        super().__init__(config)
        self._service = service

    def stop(self) -> None:
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Nothing to capture: uvicorn's own handlers would end the process by the signal, not with 0."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.should_exit or not sockets:
            return
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        host, port = sockets[0].getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        print(json.dumps({"service": self._service, "url": f"http://{host}:{port}"}), flush=True)
