"""Server-sent events as the bytes they came in, so that each can be passed on or held back whole."""

import re
from typing import Final

MAX_HELD: Final = 8 * 1024 * 1024
"""Bytes of one event, or of the events that tell of one call, that are held until it is whole."""
_BOM: Final = b"\xef\xbb\xbf"
_END: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")


class TooLarge(ValueError):
    """More than `MAX_HELD` bytes would have to be held."""


class Blocks:
    """Cuts a stream, split anywhere, into events: their bytes with the empty line that ends each."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The events that `data` completes. Raises `TooLarge`."""
        if self._rest:
            data = self._rest + data
        if b"\r" in data:
            blocks, start = [], 0
            for end in _END.finditer(data):
                blocks.append(data[start : end.end()])
                start = end.end()
            self._rest = data[start:]
        else:
            *whole, self._rest = data.split(b"\n\n")
            blocks = [block + b"\n\n" for block in whole]
        if len(self._rest) > MAX_HELD:
            raise TooLarge(f"an event has more than {MAX_HELD} bytes")
        return blocks

    def finish(self) -> bytes:
        """What came after the last whole event."""
        rest, self._rest = self._rest, b""
        return rest


def data_of(block: bytes) -> bytes:
    """The data of an event, empty for a comment; lines are joined by `b"\\n"`."""
    if block.startswith(b"data: ") and b"\n" not in (line := block[6:].rstrip(b"\r\n")):
        return line
    whole = block.removeprefix(_BOM)
    lines = [line for line in whole.splitlines() if line.startswith(b"data")]
    values = [line[5:].removeprefix(b" ") for line in lines if line[4:5] == b":"]
    return b"\n".join(values)


def event(data: bytes, name: bytes | None = None) -> bytes:
    """The bytes of one event."""
    head = b"event: %b\n" % name if name is not None else b""
    return b"%bdata: %b\n\n" % (head, data)
