"""A user's connection: requests parsed strictly and answered in the order in which they came.

llhttp in its strict mode refuses conflicting or odd lengths, bare line feeds, folded headers, a
space before the colon and control characters; what it lets through and we do not is checked here.
"""

import asyncio
import logging
import socket
import struct
import time
from collections import deque
from typing import Any, Final, cast

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from molt.wire.client import CHUNKED
from molt.wire.deadlines import NEVER
from molt.wire.delivery import Delivery
from molt.wire.exchange import HOP_BY_HOP, Outcome, without
from molt.wire.front import Front
from molt.wire.messages import is_host, split_absolute
from molt.wire.relay import Relay

_FORWARDED: Final = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"})
_SPECIAL: Final = HOP_BY_HOP | _FORWARDED | {b"host", b"content-length", b"expect"}
_RESET: Final = struct.pack("ii", 1, 0)
_log = logging.getLogger(__name__)


class Refused(Exception):
    """A request that is not forwarded; stops the parser."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class UserConnection(asyncio.Protocol):
    """One connection of a user. `active` is answered now, those in `_waiting` after it."""

    __slots__ = (
        "_deaf",
        "_forwarded",
        "_head_size",
        "_headers",
        "_held",
        "_in_head",
        "_incoming",
        "_parser",
        "_peer",
        "_proto",
        "_reading",
        "_running",
        "_special",
        "_stalled",
        "_url",
        "_waiting",
        "active",
        "deadline",
        "front",
        "transport",
        "write",
        "write_paused",
    )

    def __init__(self, front: Front) -> None:
        self.front = front
        self.active: Relay | None = None
        self.deadline = NEVER
        self.write_paused = False
        self._waiting: deque[Relay] = deque()
        self._incoming: Relay | None = None
        self._headers: list[bytes] = []
        self._special: dict[bytes, bytes] = {}
        self._url = b""
        self._in_head = False
        self._head_size = self._reading = self._stalled = 0
        self._deaf = self._held = self._running = False
        self._parser = HttpRequestParser(self)

    # Callbacks of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A user has connected."""
        self.transport = cast("asyncio.Transport", transport)
        self.write = self.transport.write
        front = self.front
        front.connections.add(self)
        front.deadlines.members.add(self)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        self._proto = b"https" if transport.get_extra_info("sslcontext") else b"http"
        self._forwarded = b"x-forwarded-for: %b\r\nx-forwarded-proto: %b\r\nx-forwarded-host: " % (
            self._peer.encode(),
            self._proto,
        )
        self.deadline = time.monotonic() + front.limits.head_timeout

    def data_received(self, data: bytes) -> None:
        """Parse; whatever is complete is on its way when this returns."""
        if self._deaf:
            return
        self._reading = len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as stop:
            self._upgrade(data[stop.args[0] :])
        except HttpParserError as error:
            if not self._deaf:
                self._misread(error)
        if self._in_head or self._incoming is not None:
            self._unfinished(len(data))

    def eof_received(self) -> None:
        """The user sends no more, which is taken as gone: the two cannot be told apart."""
        self._gone()
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self.front.connections.discard(self)
        self.front.deadlines.members.discard(self)
        self._gone()
        self._parser = cast("Any", None)  # it holds this object's methods

    def pause_writing(self) -> None:
        """The user does not take the answer as fast as it comes."""
        self.write_paused = True
        self.deadline = time.monotonic() + self.front.limits.write_timeout
        if self.active is not None:
            self.active.user_slow()

    def resume_writing(self) -> None:
        """The user has caught up."""
        self.write_paused = False
        self.deadline = NEVER
        if self.active is not None:
            self.active.user_ready()
        else:
            self._next()

    def expired(self, now: float) -> None:
        """The deadline passed; which one, follows from the state."""
        self.deadline = NEVER
        active = self.active
        if self._deaf and active is None:
            self.transport.abort()
        elif self.write_paused:
            self._gone("client_timeout")
            self.transport.abort()
        elif active is not None and active.waits_for_edge:
            active.resume(False)
        elif self._incoming is not None:
            if not self._held:
                self._refuse(408, "the request's body did not arrive in time", "client_timeout")
        elif self._in_head and active is None:
            self._refuse(408, "the request's head did not arrive in time", "client_timeout")
        elif active is None:
            self.transport.close()

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self._in_head = True
        self._url = b""
        self._headers = []
        self._special = {}

    def on_url(self, data: bytes) -> None:
        """The target, or a piece of it."""
        self._url += data

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers are dropped."""
        if not self._in_head:
            return
        name = name.lower()
        if name not in _SPECIAL:
            self._headers += (name, b": ", value, b"\r\n")
        elif name in self._special:
            self._special[name] += b", " + value
        else:
            self._special[name] = value

    def on_headers_complete(self) -> None:
        """Check what llhttp does not, and make the relay."""
        if self._deaf:
            raise Refused(400, "nothing follows a last request")
        self._in_head = False
        if self._head_size + self._reading > self.front.limits.max_head:
            self._check_head_size()
        parser, special = self._parser, self._special
        relay = Relay(
            parser.get_method(),
            self._url,
            self._headers,
            special.get(b"host", b""),
            self._peer,
            time.monotonic(),
        )
        relay.user = self
        self._incoming = relay
        self._head_size = 0
        relay.keep_alive = parser.should_keep_alive()
        if b"connection" in special or not relay.keep_alive:
            self._check_connection(relay)
        if not is_host(relay.host) or not (relay.host or b"host" in special or relay.http10):
            raise Refused(400, "there must be one Host header, naming one host")
        if not relay.target.startswith(b"/") or b"#" in relay.target:
            self._check_target(relay)
        if b"content-length" in special:
            self._check_length(relay)
        elif b"transfer-encoding" in special:
            self._check_encoding(relay)
        if b"expect" in special:
            self._check_expectation(relay)
        relay.forwarded = self._forwarded_lines(relay)

    def on_body(self, data: bytes) -> None:
        """A piece of a body."""
        relay = self._incoming
        if relay is not None:
            self._stalled = 0
            relay.feed(data)
            if relay.refusal is not None:
                raise Refused(*relay.refusal)

    def on_message_complete(self) -> None:
        """A request is whole."""
        relay = self._incoming
        if relay is None or self._parser.should_upgrade():
            return
        self._incoming = None
        relay.end()
        if not relay.begun:
            self._enqueue(relay)

    # Checks

    def _check_head_size(self) -> None:
        size = len(self._url) + sum(map(len, self._headers))
        size += sum(len(n) + len(v) + 4 for n, v in self._special.items())
        if size > self.front.limits.max_head:
            raise Refused(431, f"the head is over {self.front.limits.max_head} bytes")

    def _check_connection(self, relay: Relay) -> None:
        version = self._parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            raise Refused(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
        relay.http10 = version == "1.0"
        connection = self._special.get(b"connection", b"").lower()
        if connection not in {b"", b"close", b"keep-alive"}:
            named = {token.strip() for token in connection.split(b",")}
            relay.headers = self._headers = without(relay.headers, named.__contains__)

    def _check_target(self, relay: Relay) -> None:
        if relay.method == b"CONNECT":
            raise Refused(501, "this proxy opens no tunnels")
        if relay.target == b"*" and relay.method == b"OPTIONS":
            return
        split = None if b"#" in relay.target else split_absolute(relay.target)
        if split is None or not is_host(split[0]):
            raise Refused(400, "the target must be a path, or an http URL without user or fragment")
        relay.host, relay.target = split

    def _check_length(self, relay: Relay) -> None:
        relay.length = int(self._special[b"content-length"])
        limit = self.front.limits.max_body
        if limit is not None and relay.length > limit:
            raise Refused(413, f"the body is over {limit} bytes")

    def _check_encoding(self, relay: Relay) -> None:
        if relay.http10 or self._special[b"transfer-encoding"].strip().lower() != b"chunked":
            raise Refused(400, "the only transfer encoding is chunked, and that in HTTP/1.1")
        relay.length = CHUNKED

    def _check_expectation(self, relay: Relay) -> None:
        if self._special[b"expect"].strip().lower() != b"100-continue":
            raise Refused(417, "the only expectation met here is 100-continue")
        relay.expects = not relay.http10

    def _forwarded_lines(self, relay: Relay) -> bytes:
        mode, special = self.front.forwarded, self._special
        if special.keys().isdisjoint(_FORWARDED):
            return b"" if mode == "off" else b"%b%b\r\n" % (self._forwarded, relay.host)
        relay.forwarded_for = seen = special.get(b"x-forwarded-for")
        if mode != "append":
            return b"" if mode == "off" else b"%b%b\r\n" % (self._forwarded, relay.host)
        peer = self._peer.encode() if seen is None else b"%b, %b" % (seen, self._peer.encode())
        proto = special.get(b"x-forwarded-proto", self._proto)
        return b"x-forwarded-for: %b\r\nx-forwarded-proto: %b\r\nx-forwarded-host: %b\r\n" % (
            peer,
            proto,
            special.get(b"x-forwarded-host", relay.host),
        )

    # What is unfinished or wrong

    def _unfinished(self, size: int) -> None:
        """The read ended inside a head or a body: count what it costs and set the clock."""
        limits = self.front.limits
        relay = self._incoming
        if relay is None:
            if not self._head_size:
                self.deadline = time.monotonic() + limits.head_timeout
            self._head_size += size
            if self._head_size > limits.max_head:
                self._refuse(431, f"the head is over {limits.max_head} bytes")
            return
        self._stalled += size  # grows while no byte of body comes out: endless trailers
        if self._stalled > limits.max_head + size:
            self._refuse(400, "a chunk's extension or trailers are too long")
            return
        if not relay.begun and relay is not self.active and relay not in self._waiting:
            self._enqueue(relay)
        if not relay.over and not relay.waits_for_edge:
            self.deadline = time.monotonic() + limits.body_timeout

    def _misread(self, error: HttpParserError) -> None:
        if isinstance(error, HttpParserCallbackError):
            refused = error.__context__
            if isinstance(refused, Refused):
                self._refuse(refused.status, refused.message)
                return
            _log.error("reading a request failed", exc_info=error)
            self._refuse(500, "this proxy failed")
        elif isinstance(error, HttpParserInvalidMethodError):
            self._refuse(400, "not an HTTP method that is known here")
        elif self._in_head or self._incoming is not None:
            self._refuse(400, f"malformed request: {error}")
        else:
            self._deaf = True  # more after `Connection: close`: not looked at

    def _refuse(self, status: int, message: str, outcome: Outcome = "bad_request") -> None:
        """Answer the request that is being read with an error, in its turn, and read no more."""
        self._deaf = True
        relay, self._incoming = self._incoming, None
        if relay is None:
            relay = Relay(b"", self._url, [], b"", self._peer, time.monotonic())
            relay.user = self
        self._in_head = False
        relay.refuse(status, message, outcome)
        if not relay.begun and relay not in self._waiting:
            self._enqueue(relay)

    def _upgrade(self, rest: bytes) -> None:
        """HTTP/2 upgrades are ignored, as HTTP allows; what cannot be ignored is refused."""
        relay = self._incoming
        upgrade = self._special.get(b"upgrade", b"").strip().lower()
        if relay is None or upgrade != b"h2c":
            self._refuse(501, "this proxy switches to no other protocol")
            return
        kept = HOP_BY_HOP - {b"transfer-encoding"}
        special = [(n, b": ", v, b"\r\n") for n, v in self._special.items() if n not in kept]
        self._incoming = None
        self._parser = HttpRequestParser(self)
        lines = b"".join(part for line in special for part in line)
        line = b"%b %b HTTP/1.1\r\n" % (relay.method, relay.target)
        self.data_received(b"".join((line, lines, *relay.headers, b"\r\n", rest)))

    # Turns

    def _enqueue(self, relay: Relay) -> None:
        if self.active is None and not self._waiting and not self.write_paused:
            self._begin(relay)
            return
        self._waiting.append(relay)
        self.hold_reading()
        if self.active is None and not self._running:
            self._next()

    def _begin(self, relay: Relay) -> None:
        self.active = relay
        self.deadline = NEVER
        relay.begin()
        if not relay.request_done and not relay.over:
            self.deadline = time.monotonic() + self.front.limits.body_timeout

    def _next(self) -> None:
        """Begin requests until one has to wait for its upstream; a loop, for there may be many."""
        self._running = True
        while self._waiting and self.active is None and not self.write_paused:
            relay = self._waiting.popleft()
            self.release_reading()
            self._begin(relay)
        self._running = False

    @property
    def has_waiting(self) -> bool:
        """True while pipelined requests wait for their turn."""
        return bool(self._waiting)

    def done(self, relay: Delivery) -> None:
        """`relay` is over: the next one's turn, or the connection rests, or it ends."""
        if relay is not self.active:
            return
        self.active = None
        if self.transport.is_closing():
            self._gone()
        elif not relay.keep_alive:
            self._end()
        elif self._waiting:
            if not self._running:
                self._next()
        elif not self.write_paused:
            limits = self.front.limits
            wait = limits.head_timeout if self._in_head else limits.idle_timeout
            self.deadline = relay.finished + wait
            if self._held:
                self.release_reading()

    def hold_reading(self) -> None:
        """Read no more from the user for now."""
        if not self._held and not self.transport.is_closing():
            self._held = True
            self.transport.pause_reading()

    def release_reading(self) -> None:
        """Read on, unless whole requests are waiting already."""
        if self._held and not self._waiting:
            self._held = False
            if not self.transport.is_closing():
                self.transport.resume_reading()
            if self._incoming is not None:
                self.deadline = time.monotonic() + self.front.limits.body_timeout

    # Ends

    def close_if_idle(self) -> None:
        """Close unless a request is under way."""
        if self.active is None and not self._waiting and not self._in_head:
            self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._gone("cancelled")
        self.transport.abort()

    def cut(self, *, reset: bool) -> None:
        """Break the connection; `reset` where a clean end would look like the answer's end."""
        self.deadline = time.monotonic() + self.front.limits.linger_timeout
        if reset and (raw := self.transport.get_extra_info("socket")) is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()
        else:
            self.transport.close()

    def _end(self) -> None:
        """Close when the answer is out; if more input may come, not before the user has read it."""
        whole = self._incoming is None and not self._deaf
        self._gone()
        if whole or not self.transport.can_write_eof():
            self.deadline = time.monotonic() + self.front.limits.write_timeout
            self.transport.close()
            return
        self.deadline = time.monotonic() + self.front.limits.linger_timeout
        self.release_reading()
        self.transport.write_eof()

    def _gone(self, outcome: Outcome = "client_aborted") -> None:
        """Nobody takes an answer any more: end what is under way and what waits."""
        self._deaf = True
        relays = [*self._waiting] if self.active is None else [self.active, *self._waiting]
        self.active = self._incoming = None
        self._waiting.clear()
        for relay in relays:
            relay.user_gone(outcome)
