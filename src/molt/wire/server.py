"""A user's connection: requests begin and are answered in the order in which they came."""

import asyncio
import socket
import struct
import time
from collections import deque
from typing import Any, Final, cast

from molt.wire.deadlines import NEVER
from molt.wire.delivery import Delivery
from molt.wire.exchange import Outcome
from molt.wire.front import Front
from molt.wire.reading import Refused, RequestReader
from molt.wire.relay import Relay

_MOST_WAITING: Final = 16
"""Pipelined requests above which nothing more is read; below it, a user who leaves is noticed."""
_RESET: Final = struct.pack("ii", 1, 0)


class UserConnection(RequestReader):
    """One connection of a user. `active` is answered now, those in `_waiting` after it."""

    __slots__ = (
        "_held",
        "_running",
        "_waiting",
        "active",
        "deadline",
        "transport",
        "write",
        "write_paused",
    )

    def __init__(self, front: Front) -> None:
        super().__init__(front)
        self.active: Relay | None = None
        self.deadline = NEVER
        self.write_paused = False
        self._waiting: deque[Relay] = deque()
        self._held = self._running = False

    # Callbacks of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A user has connected."""
        self.transport = cast("asyncio.Transport", transport)
        self.write = self.transport.write
        front = self.front
        front.connections.add(self)
        front.deadlines.members.add(self)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        self._proto = b"https" if transport.get_extra_info("sslcontext") else b"http"
        if front.forwarded != "off":
            self._forwarded = (
                b"x-forwarded-for: %b\r\nx-forwarded-proto: %b\r\nx-forwarded-host: "
                % (self.peer.encode(), self._proto)
            )
        self.deadline = time.monotonic() + front.limits.head_timeout

    def data_received(self, data: bytes) -> None:
        """Parse; whatever is complete is on its way when this returns."""
        if self._deaf or self._last:
            return
        between = not self._partial and self._incoming is None
        try:
            self._read(data)
        except Refused as refused:
            if not self._deaf:
                self._refuse(refused.status, refused.message)
            return
        if self._partial or self._incoming is not None:
            self._unfinished(began=between)

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
        elif self._partial and active is None:
            self._refuse(408, "the request's head did not arrive in time", "client_timeout")
        elif active is None:
            self.transport.close()

    # What is unfinished or wrong

    def _unfinished(self, *, began: bool) -> None:
        """The read ended inside a head or a body: begin what can begin, and set the clock."""
        limits = self.front.limits
        relay = self._incoming
        if relay is None:
            if began:
                self.deadline = time.monotonic() + limits.head_timeout
            return
        if not relay.begun and relay not in self._waiting:
            self._arrived(relay)
        if not relay.begun and relay.bytes_in > limits.decision_body:
            self.hold_reading()
        if not relay.over and not relay.waits_for_edge:
            self.deadline = time.monotonic() + limits.body_timeout

    def _refuse(self, status: int, message: str, outcome: Outcome = "bad_request") -> None:
        """Answer the request that is being read with an error, in its turn, and read no more."""
        self._deaf = True
        relay, self._incoming = self._incoming, None
        self._partial = b""
        if relay is None:
            relay = Relay(self, b"", b"", [], {})
        relay.refuse(status, message, outcome)
        if not relay.begun and relay not in self._waiting:
            self._arrived(relay)

    # Turns

    def _arrived(self, relay: Relay) -> None:
        if self.active is None and not self._waiting and not self.write_paused:
            self._begin(relay)
            return
        self._waiting.append(relay)
        if len(self._waiting) >= _MOST_WAITING:
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
            wait = limits.head_timeout if self._partial else limits.idle_timeout
            self.deadline = relay.finished + wait
            if self._held:
                self.release_reading()

    def hold_reading(self) -> None:
        """Read no more from the user for now."""
        if not self._held and not self.transport.is_closing():
            self._held = True
            self.transport.pause_reading()

    def release_reading(self) -> None:
        """Read on, unless too many requests are waiting already."""
        if self._held and len(self._waiting) < _MOST_WAITING:
            self._held = False
            if not self.transport.is_closing():
                self.transport.resume_reading()
            if self._incoming is not None:
                self.deadline = time.monotonic() + self.front.limits.body_timeout

    # Ends

    def close_if_idle(self) -> None:
        """Close unless a request is under way."""
        if self.active is None and not self._waiting and not self._partial:
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
