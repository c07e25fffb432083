"""Heads of requests and answers as bytes, made from parsed form."""

import re
from http import HTTPStatus
from typing import Final

import msgspec

from molt.wire.exchange import Exchange
from molt.wire.upstream import Upstream

NO_BODY: Final = -3
"""Length of a request that declares no body."""
STATUS_LINES: Final = {
    s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus if s.value >= 200
}
_TAKES_BODY: Final = frozenset({b"POST", b"PUT", b"PATCH"})
_HOST: Final = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+;=:\[\]]*")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#@]+)([/?].*)?", re.IGNORECASE)


def is_host(value: bytes) -> bool:
    """True for one host, with a port or not; a list, a space or a path is none."""
    return _HOST.fullmatch(value) is not None


def split_absolute(target: bytes) -> tuple[bytes, bytes] | None:
    """Authority and origin form of an absolute target, as a client sends it to a proxy."""
    if (found := _ABSOLUTE.fullmatch(target)) is None:
        return None
    path = found[2] or b"/"
    return found[1], path if path.startswith(b"/") else b"/" + path


def status_line(status: int) -> bytes:
    """The first line of an answer."""
    line = STATUS_LINES.get(status)
    return b"HTTP/1.1 %d \r\n" % status if line is None else line


def request_head(exchange: Exchange, upstream: Upstream) -> list[bytes]:
    """The parts of the first two lines of a request to `upstream`."""
    host = upstream.authority if upstream.own_host or not exchange.host else exchange.host
    target = exchange.target
    if upstream.prefix and target != b"*":
        target = upstream.prefix + target
    return [exchange.method, b" ", target, b" HTTP/1.1\r\nhost: ", host, b"\r\n"]


def whole_body(exchange: Exchange, length: int) -> bytes:
    """The framing line and the end of head of a request whose body is all here."""
    if length == NO_BODY and exchange.method not in _TAKES_BODY:
        return b"\r\n"
    return b"content-length: %d\r\n\r\n" % exchange.bytes_in


def chunk(data: bytes) -> bytes:
    """`data` as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def error_body(kind: str, message: str) -> bytes:
    """The JSON body of an error made here, in the form that OpenAI's clients read."""
    return msgspec.json.encode({"error": {"type": kind, "message": message}})
