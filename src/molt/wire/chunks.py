"""The chunked transfer coding, decoded strictly (RFC 9112, section 7.1).

llhttp sees the same bytes and must agree; this says what it cannot: where the message ends.
"""

import re
from enum import Enum, auto
from typing import Final

MAX_LINE: Final = 4096
"""Bytes of a chunk's size line with its extension, and of all trailers together."""
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
_TRAILER: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n")


class Malformed(Exception):
    """Not the chunked coding."""


class _At(Enum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILERS = auto()


class ChunkDecoder:
    """Decodes one body."""

    __slots__ = ("_at", "_left", "_line", "_trailers")

    def __init__(self) -> None:
        self._at = _At.SIZE
        self._left = 0
        self._line = b""
        self._trailers = 0

    def feed(self, data: bytes) -> tuple[list[bytes], int | None]:
        """Pieces of the body in `data`, and the offset at which the body ends, if it does there.

        Raises `Malformed`.
        """
        pieces: list[bytes] = []
        at = 0
        while at < len(data):
            if self._at is _At.DATA:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._at = _At.DATA_END
                continue
            end = data.find(b"\n", at) + 1
            self._line += data[at:end] if end else data[at:]
            if len(self._line) + self._trailers > MAX_LINE:
                raise Malformed("a chunk's extension or the trailers are too long")
            if not end:
                break
            at = end
            if self._take_line():
                return pieces, at
        return pieces, None

    def _take_line(self) -> bool:
        """Act on a whole line; True if it is the last."""
        line, self._line = self._line, b""
        if self._at is _At.SIZE:
            if (found := _SIZE.fullmatch(line)) is None:
                raise Malformed("a chunk must begin with its size in hexadecimal")
            self._left = int(found[1], 16)
            self._at = _At.DATA if self._left else _At.TRAILERS
        elif line == b"\r\n":
            if self._at is _At.TRAILERS:
                return True
            self._at = _At.SIZE
        elif self._at is _At.DATA_END or _TRAILER.fullmatch(line) is None:
            raise Malformed("a chunk must end after its size, and trailers must be headers")
        else:
            self._trailers += len(line)
        return False
