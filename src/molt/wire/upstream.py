"""A server behind the proxy: where it is, how long it may take, and its idle connections."""

import asyncio
import re
import ssl
import time
from typing import Final
from urllib.parse import urlsplit

from molt.wire.client import SPECIAL, Receiver, UpstreamConnection
from molt.wire.deadlines import Deadlines
from molt.wire.lines import HeaderLines

_TRUSTED_IDLE: Final = 0.5
"""Seconds for which the event loop is trusted to have reported that an idle peer closed."""
_KEEP_ALIVE_TIMEOUT: Final = re.compile(rb"(?:^|[,;\s])timeout\s*=\s*\"?(\d{1,6})", re.IGNORECASE)


class Dial:
    """One attempt to connect; `cancel` it when nobody waits for it any more."""

    __slots__ = ("owner", "task")

    def __init__(self, owner: Receiver) -> None:
        self.owner: Receiver | None = owner
        self.task: asyncio.Task[None]

    def cancel(self) -> None:
        """The connection, when it comes, goes to the pool."""
        self.owner = None


class Upstream:
    """One upstream and its connections. Times are seconds.

    `connect_timeout` bounds a dial with its TLS handshake; `answer_timeout` the wait from the end
    of the request to the head of its answer; `read_timeout` a silence inside an answer. An idle
    connection is closed after `idle_timeout`, which must be shorter than the upstream's own
    (uvicorn's and Node's are 5 s), or after one second less than its `Keep-Alive: timeout` says.
    Requests carry the host that the client named, or with `own_host` the upstream's.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        deadlines: Deadlines,
        *,
        tls: ssl.SSLContext | None = None,
        prefix: bytes = b"",
        own_host: bool = False,
        connect_timeout: float = 2.0,
        answer_timeout: float = 60.0,
        read_timeout: float = 300.0,
        idle_timeout: float = 4.0,
    ) -> None:
        self.name = name
        self.deadlines = deadlines
        self.prefix = prefix
        self.own_host = own_host
        self.answer_timeout = answer_timeout
        self.read_timeout = read_timeout
        self.authority = _authority(host, port, secure=tls is not None)
        self.lines = HeaderLines(SPECIAL)
        self._address = (host, port)
        self._tls = tls
        self._connect_timeout = connect_timeout
        self._idle_timeout = idle_timeout
        self._idle: list[UpstreamConnection] = []
        self._dials: set[asyncio.Task[None]] = set()

    @classmethod
    def from_url(
        cls,
        name: str,
        url: str,
        deadlines: Deadlines,
        *,
        tls: ssl.SSLContext | None = None,
        **options: float | bool,
    ) -> "Upstream":
        """An upstream from `http://host:port/prefix` or `https://...`.

        `tls` replaces the default context, which verifies against the system's authorities; see
        `tls.client_context`. `options` are the keyword arguments of `Upstream`. Raises ValueError
        for a URL that is neither, or that has a user, a query or a fragment.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"upstream {name}: {url!r} is not an http:// or https:// URL")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError(f"upstream {name}: only host, port and path may stand in {url!r}")
        secure = parts.scheme == "https"
        if secure and tls is None:
            tls = ssl.create_default_context()
        return cls(
            name,
            parts.hostname,
            parts.port or (443 if secure else 80),
            deadlines,
            tls=tls if secure else None,
            prefix=parts.path.rstrip("/").encode(),
            **options,  # pyright: ignore[reportArgumentType]
        )

    def take(self) -> UpstreamConnection | None:
        """An idle connection that is still open, or None; most recently used first."""
        idle = self._idle
        while idle:
            conn = idle.pop()
            if conn.transport.is_closing():
                continue
            rested = time.monotonic() - conn.deadline + self._idle_timeout
            if rested < _TRUSTED_IDLE or not conn.is_stale():
                return conn
            conn.transport.abort()
        return None

    def dial(self, owner: Receiver) -> Dial:
        """Connect; `owner.connected` or `owner.unreachable` will be called, never from here."""
        dial = Dial(owner)
        dial.task = asyncio.get_running_loop().create_task(self._connect(dial))
        self._dials.add(dial.task)
        dial.task.add_done_callback(self._dials.discard)
        return dial

    async def _connect(self, dial: Dial) -> None:
        host, port = self._address
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout):
                _, conn = await loop.create_connection(
                    lambda: UpstreamConnection(self),
                    host,
                    port,
                    ssl=self._tls,
                    server_hostname=host if self._tls is not None else None,
                )
        except OSError:  # TimeoutError and ssl.SSLError are OSErrors
            if dial.owner is not None:
                dial.owner.unreachable()
            return
        if dial.owner is not None:
            dial.owner.connected(conn)
        else:
            self.park(conn)

    def park(self, conn: UpstreamConnection) -> None:
        """Keep an idle connection for the next request."""
        conn.deadline = time.monotonic() + self._idle_timeout
        self._idle.append(conn)

    def forget(self, conn: UpstreamConnection) -> None:
        """The connection has closed."""
        if conn.owner is None and conn in self._idle:
            self._idle.remove(conn)

    def learn_keep_alive(self, value: bytes) -> None:
        """Close idle connections before the upstream does, if it says when that is."""
        if found := _KEEP_ALIVE_TIMEOUT.search(value):
            self._idle_timeout = min(self._idle_timeout, max(0.25, int(found[1]) - 1.0))

    def close(self) -> None:
        """Close what is idle or being dialled; connections in use are their owners'."""
        for task in self._dials:
            task.cancel()
        for conn in list(self._idle):
            conn.transport.abort()
        self._idle.clear()


def _authority(host: str, port: int, *, secure: bool) -> bytes:
    name = f"[{host}]" if ":" in host else host
    return (name if port == (443 if secure else 80) else f"{name}:{port}").encode("ascii")
