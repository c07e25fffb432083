"""A dict that forgets: bounded in size and in age, with no work that grows with its size."""

from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

SWEEP: Final = 500
"""Forgotten entries freed per call of `sweep`: some 0.1 ms of work."""


class Generations(Generic[K, V]):
    """Keeps what was touched within `span` seconds, and at most `2 x limit` entries.

    Entries live in a young and an old generation. Whatever is touched moves to the young one. When
    something new comes and the young one is `span` seconds old, or full, the old one is forgotten
    and the young one grows old. So under steady use an entry is kept for one to three spans after
    its last touch; under a flood of new keys those untouched for longest go first; and when nothing
    new comes, nothing is forgotten: whoever must know how old an entry is keeps that in it.
    """

    __slots__ = ("_born", "_forgotten", "_limit", "_old", "_young", "span")

    def __init__(self, span: float, limit: int) -> None:
        self.span = span
        self._limit = limit
        self._born = 0.0
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._forgotten: list[dict[K, V]] = []

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: K, now: float) -> V | None:
        """The value of `key`, touched; None when it is not known, or forgotten."""
        value = self._young.get(key)
        if value is None and self._old:
            value = self._old.pop(key, None)
            if value is not None:
                self.put(key, value, now)
        return value

    def put(self, key: K, value: V, now: float) -> None:
        """Keep `value`, which must not be None, under `key`. `now` is monotonic seconds."""
        if now - self._born >= self.span or len(self._young) >= self._limit:
            self._turn(now)
        self._young[key] = value

    def clear(self) -> None:
        """Forget everything."""
        self._forgotten += [self._young, self._old]
        self._young, self._old = {}, {}

    def sweep(self) -> None:
        """Free some of what was forgotten; called by a timer, so that no request pays for it."""
        if not self._forgotten:
            return
        last = self._forgotten[-1]
        for _ in range(min(SWEEP, len(last))):
            last.popitem()
        if not last:
            self._forgotten.pop()

    def _turn(self, now: float) -> None:
        if self._old:
            self._forgotten.append(self._old)
        self._old, self._young = self._young, {}
        self._born = now
