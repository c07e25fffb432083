"""What was made of columns of bucket sums, kept until one of them changes.

Epochs that are over hardly ever change, so that looking again costs what is new.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class _Kept:
    """What was made of columns: of which epochs, and how many sums had been taken in by then."""

    __slots__ = ("epochs", "taken", "value")

    def __init__(self, epochs: Sequence[int], value: Any, taken: int) -> None:
        self.epochs, self.value, self.taken = epochs, value, taken


class Derived:
    """Keeps what was made; whoever adds to a column says so to `_note`."""

    def __init__(self) -> None:
        self._taken = 0
        self._changed: dict[str, dict[int, int]] = defaultdict(dict)
        """Column -> epoch -> how many sums had been taken in when it last changed, latest last."""
        self._answers: dict[tuple[int | str, ...], set[int]] = {}
        """What `_since` has said since the last sums were taken in."""
        self._derived: dict[Hashable, _Kept] = {}
        self._each: dict[Hashable, _Kept] = {}
        self._of: dict[Hashable, tuple[object, Any]] = {}

    def _note(self, column: str, epoch: int) -> None:
        """The column has changed in that epoch."""
        self._taken += 1
        self._answers.clear()
        changed = self._changed[column]
        changed.pop(epoch, None)
        changed[epoch] = self._taken

    def derived(
        self,
        key: Hashable,
        epochs: Sequence[int],
        columns: Sequence[str],
        make: Callable[[], T],
    ) -> T:
        """What `make` gives, kept under `key` until one of `columns` changes in one of `epochs`."""
        kept = self._derived.get(key)
        if kept is None or not self._fresh(kept, epochs, columns):
            kept = self._derived[key] = _Kept(epochs, make(), self._taken)
        return kept.value

    def derived_all(
        self,
        wanted: Sequence[tuple[Hashable, Sequence[int], Sequence[str]]],
        make: Callable[[list[int]], Sequence[T]],
    ) -> list[T]:
        """`derived` of several (key, epochs, columns); `make` is told the places of those that are
        missing or have changed, and makes them together."""
        missing: list[int] = []
        found: list[Any] = []
        for i, (key, epochs, columns) in enumerate(wanted):
            kept = self._derived.get(key)
            found.append(kept and kept.value)
            if kept is None or not self._fresh(kept, epochs, columns):
                missing.append(i)
        for i, value in zip(missing, make(missing) if missing else (), strict=True):
            key, epochs, _ = wanted[i]
            self._derived[key] = _Kept(epochs, value, self._taken)
            found[i] = value
        return found

    def _fresh(self, kept: _Kept, epochs: Sequence[int], columns: Sequence[str]) -> bool:
        """Whether it is of these epochs, and none of the columns has changed there since."""
        if kept.epochs != epochs:
            return False
        if kept.taken != self._taken and epochs:
            if not self._since(kept.taken, columns).isdisjoint(epochs):
                return False
            kept.taken = self._taken
        return True

    def _since(self, taken: int, columns: Sequence[str]) -> set[int]:
        """The epochs in which one of `columns` has changed since so many sums were taken in."""
        key = (taken, *columns)
        found = self._answers.get(key)
        if found is None:
            found = self._answers[key] = set()
            for column in columns:
                for epoch, last in reversed(self._changed.get(column, {}).items()):
                    if last <= taken:
                        break
                    found.add(epoch)
        return found

    def derived_each(
        self,
        key: Hashable,
        epochs: Sequence[int],
        columns: Sequence[str],
        make: Callable[[int], T],
    ) -> list[T]:
        """The same of each epoch by itself: the same values until its columns change."""
        kept = self._each.get(key)
        if kept is None:
            kept = self._each[key] = _Kept((), {}, self._taken)
        values: dict[int, T] = kept.value
        if kept.taken != self._taken:
            for epoch in self._since(kept.taken, columns):
                values.pop(epoch, None)
            kept.taken = self._taken
        for epoch in [e for e in epochs if e not in values]:
            values[epoch] = make(epoch)
        return [values[epoch] for epoch in epochs]

    def derived_of(self, key: Hashable, source: object, make: Callable[[], T]) -> T:
        """What `make` gives of something that never changes, kept while it is the same object."""
        kept = self._of.get(key)
        if kept is None or kept[0] is not source:
            kept = self._of[key] = (source, make())
        return kept[1]
