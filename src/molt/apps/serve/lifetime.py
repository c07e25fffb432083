"""How a supervised process lives: it serves a socket, says that it is ready, and ends when told.

SIGTERM ends it; so does the end of standard input, when that is a pipe: then whoever started it is
gone.
"""

import asyncio
import contextlib
import json
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from molt.core.errors import OperatorError


async def orphaned(then: Callable[[], None]) -> None:
    """Call `then` when standard input ends; never, when it is no pipe."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError, ValueError):
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        await reader.read()
        then()


def bind(address: str) -> socket.socket:
    """A listening socket at `HOST:PORT`; raises `OperatorError` when the address cannot be had."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, int(port)))
    except OSError as error:
        sock.close()
        raise OperatorError(
            f"Cannot listen on {address}: {error.strerror}. Stop what holds it, or set another address"
        ) from error
    return sock


def _not_cut_short(record: logging.LogRecord) -> bool:
    """Live pages that a stop cuts short are no errors to write pages of traceback about."""
    return not (record.exc_info and record.exc_info[0] is asyncio.CancelledError)


class Server(uvicorn.Server):
    """A server that prints `announce` as one JSON line when it takes requests.

    With `patient` it lets answers under way end when it is stopped.
    """

    def __init__(
        self, config: uvicorn.Config, announce: dict[str, Any], *, patient: bool = False
    ) -> None:
        super().__init__(config)
        logging.getLogger("uvicorn.error").addFilter(_not_cut_short)
        self._announce = announce
        self._patient = patient

    def stop(self) -> None:
        """End."""
        self.should_exit = True
        self.force_exit = not self._patient

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The process has its own handlers."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and say so."""
        await super().startup(sockets)
        print(json.dumps(self._announce), flush=True)

    async def serve_until_told(self, sock: socket.socket) -> None:
        """Serve until SIGTERM, SIGINT, or the end of standard input."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        watching = asyncio.create_task(orphaned(self.stop))
        try:
            await self.serve([sock])
        finally:
            watching.cancel()
