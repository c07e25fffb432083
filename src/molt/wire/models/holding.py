"""Events that are held back until a call has been told whole, and its arguments put together."""

from collections.abc import Callable
from typing import Generic, TypeVar

from molt.wire import events
from molt.wire.models.base import Made

T = TypeVar("T")


class Line(Generic[T]):
    """Events in their order: some may go on, others wait.

    `said` is what was read in an event and is to be noted once it has gone on.
    """

    __slots__ = ("_ready", "_size", "_waiting")

    def __init__(self) -> None:
        self._ready: list[tuple[bytes, T | None]] = []
        self._waiting: list[tuple[bytes, T | None]] = []
        self._size = 0

    def go(self, block: bytes, said: T | None = None) -> None:
        """Let this event go on, past those that wait."""
        self._ready.append((block, said))

    def wait(self, block: bytes, said: T | None = None) -> None:
        """Keep this event. Raises `TooLarge`."""
        self._size += len(block)
        if self._size > events.MAX_HELD:
            raise events.TooLarge(f"a call of a tool has more than {events.MAX_HELD} bytes")
        self._waiting.append((block, said))

    def follow(self, block: bytes, said: T | None = None) -> None:
        """Let this event go on, behind all that waits."""
        if self._waiting:
            self._ready = [*self._waiting, *self._ready]
            self.drop()
        self._ready.append((block, said))

    def drop(self) -> None:
        """Let nothing of what waits ever go on."""
        self._waiting = []
        self._size = 0

    def release(self, went: Callable[[T], None]) -> bytes:
        """The bytes of all that goes on now; `went` is told what was read in it."""
        ready, self._ready = self._ready, []
        for _, said in ready:
            if said is not None:
                went(said)
        return ready[0][0] if len(ready) == 1 else b"".join([block for block, _ in ready])


class Gathering:
    """The arguments of one call of `name`, as `pieces` and as `whole` texts: an API may tell both."""

    __slots__ = ("name", "pieces", "whole")

    def __init__(self, name: str) -> None:
        self.name = name
        self.pieces: list[str] = []
        self.whole: list[str] = []

    def made(self) -> list[Made]:
        """The call with each text that a client could take for its arguments."""
        texts = [text for text in ("".join(self.pieces), *self.whole) if text]
        return [Made(self.name, text) for text in dict.fromkeys(texts or [""])]
