"""One timer for all connections.

Each connection holds the instant it must not outlive; a scan every tick asks those that are over.
Setting a deadline is one attribute, so the hot path pays nothing for timers.
"""

import asyncio
import time
from email.utils import formatdate
from typing import Final, Protocol

NEVER: Final = float("inf")


class Mortal(Protocol):
    """A connection with a deadline."""

    deadline: float

    def expired(self, now: float) -> None:
        """The deadline has passed; called on each tick until it is moved."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...


class Deadlines:
    """Scans its `members` every `tick` seconds; keeps the `date` of answers current, too."""

    def __init__(self, tick: float = 0.25) -> None:
        self.members: set[Mortal] = set()
        self.date = b""
        self._tick = tick
        self._handle: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to scan, on `loop`."""
        self._loop = loop
        self._scan()

    def stop(self) -> None:
        """Scan no more, and close all that is still open."""
        if self._handle is not None:
            self._handle.cancel()
        for member in list(self.members):
            member.abort()

    def _scan(self) -> None:
        self._handle = self._loop.call_later(self._tick, self._scan)
        self.date = formatdate(usegmt=True).encode()
        now = time.monotonic()
        for member in [m for m in self.members if m.deadline < now]:
            member.expired(now)
