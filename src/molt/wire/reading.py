"""Reads requests off a connection, strictly.

Two readings must agree. llhttp in its strict mode sees every byte and refuses conflicting or odd
lengths, bare line feeds, folded headers, a space before the colon and control characters. What it
lets through and we do not is refused here, where the boundaries of messages are found as well.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Final, cast

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from molt.wire.chunks import ChunkDecoder, Malformed
from molt.wire.client import CHUNKED
from molt.wire.exchange import without
from molt.wire.front import FORWARDED, Front
from molt.wire.messages import is_host, split_absolute
from molt.wire.relay import Relay

if TYPE_CHECKING:
    from molt.wire.server import UserConnection

_END_OF_HEAD: Final = b"\r\n\r\n"
_SLASH: Final = ord("/")
_MERGED: Final = b", "
_log = logging.getLogger(__name__)


class Refused(Exception):
    """A request that is not forwarded."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class RequestReader(asyncio.Protocol):
    """Turns bytes into relays; what becomes of them is the subclass's.

    `_partial` holds a head that is not whole, of which llhttp has seen `_fed` bytes. `_incoming` is
    the relay whose body is being read, `_left` what its length leaves to come. Nothing is read when
    `_deaf`, nor after the `_last` request.
    """

    __slots__ = (
        "_agreed",
        "_chunks",
        "_deaf",
        "_fed",
        "_forwarded",
        "_host",
        "_host_line",
        "_incoming",
        "_last",
        "_left",
        "_parser",
        "_partial",
        "_proto",
        "front",
        "peer",
    )

    def __init__(self, front: Front) -> None:
        self.front = front
        self._partial = b""
        self._fed = self._left = 0
        self._agreed = self._deaf = self._last = False
        self._incoming: Relay | None = None
        self._chunks = ChunkDecoder()
        self.peer = ""
        self._proto = self._forwarded = self._host_line = b""
        self._host: bytes | None = None
        self._parser = HttpRequestParser(self)

    def _arrived(self, relay: Relay) -> None:
        """A request is whole, or as much of it as this read brought."""
        raise NotImplementedError

    def on_message_complete(self) -> None:
        """Llhttp has seen a whole request."""
        self._agreed = True

    # Boundaries

    def _read(self, data: bytes) -> None:
        """Take all that arrived; raises `Refused`."""
        if self._incoming is not None:
            data = self._read_body(self._incoming, data)
        if self._partial and data:
            data = self._partial + data
            self._partial = b""
        while data and not (self._deaf or self._last):
            end = data.find(_END_OF_HEAD) + 4
            if data[0] == 13 and data[:2] == b"\r\n":
                data = data[2:]  # an empty line before a request means nothing
                self._fed = 0
            elif end == 3:
                self._hold(data)
                return
            else:
                relay = self._read_head(data[:end])
                data = data[end:]
                if self._left or relay.length == CHUNKED:
                    data = self._read_body(relay, data)
                else:
                    self._complete(relay)

    def _hold(self, data: bytes) -> None:
        """Keep the beginning of a head, unless it is wrong already."""
        self._partial = data
        if len(data) > self.front.limits.max_head:
            raise Refused(431, f"the head is over {self.front.limits.max_head} bytes")
        self._check(data)
        self._fed = len(data)

    def _read_body(self, relay: Relay, data: bytes) -> bytes:
        """Feed a relay its body; what is left of `data` belongs to the next request."""
        if relay.length == CHUNKED:
            data = self._read_chunks(relay, data)
        elif data:
            piece = data if len(data) <= self._left else data[: self._left]
            data = data[len(piece) :]
            self._left -= len(piece)
            self._check(piece)
            relay.feed(piece)
            if not self._left and self._incoming is not None:
                self._complete(relay)
        return data

    def _read_chunks(self, relay: Relay, data: bytes) -> bytes:
        try:
            pieces, end = self._chunks.feed(data)
        except Malformed as error:
            raise Refused(400, str(error)) from None
        self._check(data[:end])
        for piece in pieces:
            relay.feed(piece)
        if relay.refusal is not None:
            raise Refused(*relay.refusal[:2])
        if end is None:
            return b""
        if self._incoming is not None:
            self._complete(relay)
        return data[end:]

    def _complete(self, relay: Relay) -> None:
        if not self._agreed:
            raise Refused(400, "the request's framing is ambiguous")
        self._agreed = False
        self._incoming = None
        self._last = not relay.keep_alive
        if relay.begun:
            relay.end()
        else:
            relay.request_done = True
            self._arrived(relay)

    def _check(self, data: bytes) -> None:
        """Let llhttp see what it has not seen; raises `Refused`."""
        try:
            self._parser.feed_data(data[self._fed :] if self._fed else data)
        except HttpParserUpgrade:
            raise
        except HttpParserCallbackError:
            _log.exception("reading a request failed")
            raise Refused(500, "this proxy failed") from None
        except HttpParserInvalidMethodError:
            raise Refused(400, "not an HTTP method that is known here") from None
        except HttpParserError as error:
            raise Refused(400, f"malformed request: {error}") from None
        self._fed = 0

    # Heads

    def _read_head(self, head: bytes) -> Relay:
        """A relay for a whole head; raises `Refused`."""
        if len(head) > self.front.limits.max_head:
            raise Refused(431, f"the head is over {self.front.limits.max_head} bytes")
        upgrades = False
        try:
            self._check(head)
        except HttpParserUpgrade:
            upgrades = True
        lines = head[:-4].split(b"\r\n")
        request_line = lines.pop(0).split(b" ")
        if len(request_line) != 3:
            raise Refused(400, "the request line must be a method, a target and a version")
        method, target, version = request_line
        known = self.front.lines
        headers, special = known.take(lines)
        relay = Relay(cast("UserConnection", self), method, target, headers, known.seen)
        self._incoming = relay
        self._settle(relay, version, special)
        if upgrades:
            self._downgrade(relay, special, head)
        self._left = max(0, relay.length)
        return relay

    def _settle(self, relay: Relay, version: bytes, special: dict[bytes, bytes]) -> None:
        """What the special headers say: host, framing, persistence; raises `Refused`."""
        if version != b"HTTP/1.1":
            if version != b"HTTP/1.0":
                raise Refused(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
            relay.http10 = True
            relay.keep_alive = False
        host = special.get(b"host")
        if host is None or host is not self._host:
            self._check_host(relay, host)
        else:
            relay.host = host
        connection = special.get(b"connection")
        if connection is not None and (relay.http10 or connection != b"keep-alive"):
            _persistence(relay, connection.lower())
        target = relay.target
        if target[0] != _SLASH or b"#" in target:
            _check_target(relay)
        if b"content-length" in special:
            self._check_length(relay, special[b"content-length"])
        elif b"transfer-encoding" in special:
            self._check_encoding(relay, special[b"transfer-encoding"])
        if b"expect" in special:
            _check_expectation(relay, special[b"expect"])
        if relay.host is host and special.keys().isdisjoint(FORWARDED):
            relay.forwarded = self._host_line
        else:
            self._name_client(relay, special)

    def _check_host(self, relay: Relay, host: bytes | None) -> None:
        """A connection mostly asks for one host: it is checked once, by the identity of its bytes."""
        if host is None:
            if not relay.http10:
                raise Refused(400, "there must be a Host header")
            return
        if not is_host(host):
            raise Refused(400, "there must be one Host header, naming one host")
        relay.host = self._host = host
        self._host_line = self._forwarded + host + b"\r\n" if self._forwarded else b""

    def _check_length(self, relay: Relay, value: bytes) -> None:
        relay.length = int(value)
        limit = self.front.limits.max_body
        if limit is not None and relay.length > limit:
            raise Refused(413, f"the body is over {limit} bytes")

    def _check_encoding(self, relay: Relay, value: bytes) -> None:
        if relay.http10 or value.lower() != b"chunked":
            raise Refused(400, "the only transfer encoding is chunked, and that in HTTP/1.1")
        relay.length = CHUNKED
        self._chunks = ChunkDecoder()

    def _name_client(self, relay: Relay, special: dict[bytes, bytes]) -> None:
        relay.forwarded_for = seen = special.get(b"x-forwarded-for")
        if self.front.forwarded != "append" or special.keys().isdisjoint(FORWARDED):
            relay.forwarded = self._forwarded + relay.host + b"\r\n" if self._forwarded else b""
            return
        peer = self.peer.encode()
        relay.forwarded = b"".join(
            (
                b"x-forwarded-for: ",
                peer if seen is None else seen + _MERGED + peer,
                b"\r\nx-forwarded-proto: ",
                special.get(b"x-forwarded-proto", self._proto),
                b"\r\nx-forwarded-host: ",
                special.get(b"x-forwarded-host", relay.host),
                b"\r\n",
            )
        )

    def _downgrade(self, relay: Relay, special: dict[bytes, bytes], head: bytes) -> None:
        """An offer of HTTP/2 is ignored, as HTTP allows; other protocols cannot be."""
        if special.get(b"upgrade", b"").lower() != b"h2c" or relay.method == b"CONNECT":
            raise Refused(501, "this proxy switches to no other protocol")
        lines = head.split(b"\r\n")
        self._parser = HttpRequestParser(self)
        self._agreed = False
        self._fed = 0
        self._check(b"\r\n".join(x for x in lines if not x.lower().startswith(b"upgrade:")))


def _persistence(relay: Relay, connection: bytes) -> None:
    """Whether the connection outlives the request, and which headers are the connection's own."""
    if connection == b"keep-alive":
        relay.keep_alive = True
    elif connection == b"close":
        relay.keep_alive = False
    else:
        named = {token.strip() for token in connection.split(b",")}
        relay.headers = without(relay.headers, named.__contains__)
        relay.keep_alive = b"close" not in named and (not relay.http10 or b"keep-alive" in named)


def _check_expectation(relay: Relay, value: bytes) -> None:
    if value.lower() != b"100-continue":
        raise Refused(417, "the only expectation met here is 100-continue")
    relay.expects = not relay.http10


def _check_target(relay: Relay) -> None:
    if relay.method == b"CONNECT":
        raise Refused(501, "this proxy opens no tunnels")
    if relay.target == b"*" and relay.method == b"OPTIONS":
        return
    split = None if b"#" in relay.target else split_absolute(relay.target)
    if split is None or not is_host(split[0]):
        raise Refused(400, "the target must be a path, or an http URL without user or fragment")
    relay.host, relay.target = split
