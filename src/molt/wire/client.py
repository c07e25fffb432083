"""The proxy's connection to an upstream: one request at a time, its answer parsed and collected.

Knows framing and nothing of users: what arrives is kept in `body` until the receiver takes it.
"""

import asyncio
import logging
import select
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpResponseParser,
)

from molt.wire.deadlines import NEVER
from molt.wire.exchange import HOP_BY_HOP, without

if TYPE_CHECKING:
    from molt.wire.upstream import Upstream

MAX_ANSWER_HEAD: Final = 64 * 1024
CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2
_BODYLESS: Final = frozenset({204, 304})
SPECIAL: Final = HOP_BY_HOP | {b"content-length"}
_PLAIN_CONNECTION: Final = frozenset({None, b"close", b"keep-alive", b"Keep-Alive", b"Close"})
_log = logging.getLogger(__name__)


class Receiver(Protocol):
    """Whom a connection answers. All calls come from the event loop."""

    method: bytes

    def connected(self, conn: "UpstreamConnection") -> None:
        """A dialled connection is ready."""
        ...

    def unreachable(self) -> None:
        """It could not be dialled."""
        ...

    def receive(self, conn: "UpstreamConnection") -> None:
        """Something of the answer arrived: look at `head_done`, `body`, `complete`, `broken`."""
        ...

    def lost(self, conn: "UpstreamConnection") -> None:
        """The connection closed before the answer was complete."""
        ...

    def late(self, conn: "UpstreamConnection") -> None:
        """The connection's deadline passed."""
        ...

    def hold_upload(self) -> None:
        """The upstream takes no more of the request for now."""
        ...

    def resume_upload(self) -> None:
        """The upstream takes the request again."""
        ...


class UpstreamConnection(asyncio.Protocol):
    """One connection. `length` is the answer's body length, CHUNKED or UNTIL_CLOSE."""

    __slots__ = (
        "_eof",
        "_from",
        "_interim",
        "_parser",
        "_paused",
        "_raw",
        "_stuck",
        "body",
        "broken",
        "complete",
        "deadline",
        "head_done",
        "head_size",
        "headers",
        "keep_alive",
        "length",
        "owner",
        "status",
        "transport",
        "upstream",
        "used",
        "write",
    )

    def __init__(self, upstream: "Upstream") -> None:
        self.upstream = upstream
        self.owner: Receiver | None = None
        self.deadline = NEVER
        self.used = 0
        self.keep_alive = True
        self.broken = False
        self._paused = False
        self._eof = False
        self._interim = False
        self._stuck = False
        self._parser = HttpResponseParser(self)
        self.status = 0
        self.length = UNTIL_CLOSE
        self.headers: list[bytes] = []
        self.body: list[bytes] = []
        self.head_done = self.complete = False
        self.head_size = self._from = 0
        self._raw = b""

    def begin(self, owner: Receiver, data: bytes) -> None:
        """Send a request's first bytes for `owner`, who gets the answer."""
        if self.used:
            self.status = self.head_size = self._from = 0
            self.length = UNTIL_CLOSE
            self.body = []
            self.head_done = self.complete = False
            if self._stuck:
                self._stuck = False
                self._parser = HttpResponseParser(self)
        self.used += 1
        self.owner = owner
        self.write(data)

    def release(self, *, reusable: bool) -> None:
        """Give the connection back: to the pool if its answer is whole, else closed at once."""
        self.owner = None
        usable = reusable and self.complete and self.keep_alive and not self.broken
        if usable and not self.transport.is_closing():
            if self._paused:
                self.resume()
            self.upstream.park(self)
        else:
            self.transport.abort()

    def pause(self) -> None:
        """Read no more of the answer for now; the upstream feels it."""
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.deadline = NEVER
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused:
            self._paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def is_stale(self) -> bool:
        """True if the upstream has closed, or sent something, while the connection was idle."""
        if self.transport.is_closing():
            return True
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def expired(self, now: float) -> None:
        """The deadline passed: an idle connection closes, an owner decides."""
        if self.owner is not None:
            self.deadline = NEVER
            self.owner.late(self)
        else:
            self.transport.close()

    def abort(self) -> None:
        """Close at once; an owner hears of it."""
        self.transport.abort()

    # Callbacks of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Dialled."""
        self.transport = cast("asyncio.Transport", transport)
        self.write = self.transport.write
        self.upstream.deadlines.members.add(self)

    def data_received(self, data: bytes) -> None:
        """Parse, then let the owner look once."""
        owner = self.owner
        if owner is None:
            self.transport.abort()  # nobody asked: never mistake it for the next answer
            return
        if not self.head_done:
            self._raw = self._raw + data if self._raw else data
        try:
            self._parser.feed_data(data)
        except HttpParserCallbackError as error:
            self.broken = True
            if not isinstance(error.__context__, _Unexpected):
                _log.exception("reading an answer of upstream %s", self.upstream.name)
        except (HttpParserError, HttpParserUpgrade):
            self.broken = True
        if not self.head_done:
            self.head_size = len(self._raw)
            self.broken |= self.head_size > MAX_ANSWER_HEAD
        owner.receive(self)

    def eof_received(self) -> None:
        """The upstream has closed its side cleanly, which may be how it ends an answer."""
        self._eof = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed; a clean end completes an answer that has no other end."""
        self.upstream.deadlines.members.discard(self)
        self.upstream.forget(self)
        self._parser = cast("Any", None)  # it holds this object's methods
        owner = self.owner
        if owner is None:
            return
        ends = self._eof and exc is None and self.head_done and self.length == UNTIL_CLOSE
        if ends and not self.complete:
            self.complete = True
            owner.receive(self)
        else:
            owner.lost(self)

    def pause_writing(self) -> None:
        """The request fills the upstream's window."""
        if self.owner is not None:
            self.owner.hold_upload()

    def resume_writing(self) -> None:
        """The upstream has taken what was sent."""
        if self.owner is not None:
            self.owner.resume_upload()

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """A second message after a whole answer is never looked at."""
        if self.complete:
            raise _Unexpected

    def on_headers_complete(self) -> None:
        """Settle how the answer ends, and what belongs to this connection only."""
        raw = self._raw
        end = raw.find(b"\r\n\r\n", self._from)
        lines = raw[self._from : end].split(b"\r\n")
        self.status = status = self._parser.get_status_code()
        if status < 200:
            if status == 101:
                raise _Unexpected
            self._from = end + 4
            self._interim = True
            return
        if end < 0 or not lines[0].startswith(b"HTTP/1."):
            raise _Unexpected
        self._raw = b""
        del lines[0]
        self.headers, special = self.upstream.lines.take(lines)
        self.keep_alive = self._parser.should_keep_alive()
        if b"content-length" in special:
            self.length = int(special[b"content-length"])
        elif b"transfer-encoding" in special:
            if special[b"transfer-encoding"].lower() != b"chunked":
                raise _Unexpected
            self.length = CHUNKED
        self._settle(status, special)

    def _settle(self, status: int, special: dict[bytes, bytes]) -> None:
        if (connection := special.get(b"connection")) not in _PLAIN_CONNECTION:
            named = {t.strip().lower() for t in cast("bytes", connection).split(b",")}
            self.headers = without(self.headers, named.__contains__)
        if self.used == 1 and b"keep-alive" in special:
            self.upstream.learn_keep_alive(special[b"keep-alive"])
        self.head_done = True
        if status in _BODYLESS or cast("Receiver", self.owner).method == b"HEAD":
            self.complete = True
            self._stuck = True  # the parser may wait for a body that never comes

    def on_body(self, data: bytes) -> None:
        """Collect."""
        if self.complete:
            raise _Unexpected
        self.body.append(data)

    def on_message_complete(self) -> None:
        """The answer is whole, unless it was an interim one."""
        if self._interim:
            self._interim = False
        else:
            self.complete = True


class _Unexpected(Exception):
    """Bytes that no safe reading allows here; stops the parser."""
