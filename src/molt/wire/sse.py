"""Server-sent events, read incrementally.

https://html.spec.whatwg.org/multipage/server-sent-events.html, as far as `data` goes: names, ids
and comments are skipped.
"""

from typing import Final

MAX_EVENT: Final = 1024 * 1024
"""An event with more bytes of data than this is skipped."""
_BOM: Final = b"\xef\xbb\xbf"


class EventReader:
    """Turns any split of a stream into the data of its events."""

    __slots__ = ("_after_cr", "_data", "_parts", "_size", "_skip", "_started")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._data: list[bytes] = []
        self._size = 0
        self._skip = self._after_cr = self._started = False

    @property
    def between_events(self) -> bool:
        """True if nothing of an event is held: what comes next begins one."""
        return not self._parts and not self._data and not self._after_cr and not self._skip

    def feed(self, data: bytes) -> list[bytes]:
        """The data of each event that `data` completes; lines of one event joined by `b"\\n"`."""
        if b"\r" in data or self._after_cr:
            data = self._normalised(data)
        lines = data.split(b"\n")
        tail = lines.pop()
        done: list[bytes] = []
        for line in lines:
            if self._parts:
                self._parts.append(line)
                line = b"".join(self._parts)
                self._parts = []
            if (event := self._line(line)) is not None:
                done.append(event)
        if tail:
            self._hold(tail)
        return done

    def _normalised(self, data: bytes) -> bytes:
        """With `b"\\n"` as the only line end; CRLF may be split between two pieces."""
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            if not data:
                self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _hold(self, tail: bytes) -> None:
        self._size += len(tail)
        if self._size > MAX_EVENT:
            self._skip = True
            self._data = []
            self._parts = [b":"]  # what follows on this line is a comment
        else:
            self._parts.append(tail)

    def _line(self, line: bytes) -> bytes | None:
        if not self._started:
            self._started = True
            line = line.removeprefix(_BOM)
        if not line:
            event = b"\n".join(self._data) if self._data and not self._skip else None
            self._data = []
            self._size = 0
            self._skip = False
            return event
        if (line.startswith(b"data:") or line == b"data") and not self._skip:
            value = line[6:] if line.startswith(b"data: ") else line[5:]
            self._data.append(value)
            self._size += len(value)
            if self._size > 2 * MAX_EVENT:  # held while incomplete, and once more as a line
                self._skip = True
                self._data = []
        return None
