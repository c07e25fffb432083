"""Where a stream of events ends for its reader, which is before it ends for HTTP.

OpenAI's clients stop at `[DONE]` and close the connection, often before the last empty chunk has
reached them. That is a whole answer, not a user who gave up.
"""

from typing import Final

from molt.gateway.routes import Decided
from molt.wire.usage import UNKNOWN, Reader, Usage

_DONE: Final = b"[DONE]"
_TAIL: Final = 16


class StreamReader:
    """Reads usage with `inner`, and notes in `decided` when the stream has said all."""

    def __init__(self, inner: Reader | None, decided: Decided) -> None:
        self._inner = inner
        self._decided = decided
        self._tail = b""

    def feed(self, data: bytes) -> None:
        """A piece of the answer's body."""
        self._tail = data[-_TAIL:] if len(data) >= _TAIL else (self._tail + data)[-_TAIL:]
        if self._inner is not None:
            self._inner.feed(data)

    def finish(self) -> Usage:
        """The usage. A stream whose counts have come, or its last event, has said all."""
        usage = UNKNOWN if self._inner is None else self._inner.finish()
        self._decided.said_all = _DONE in self._tail or usage.source == "measured"
        return usage
