"""When effects and faults hold: from the start, or from when a share was first reached."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from molt.apps.simulate.scenario import Timed
from molt.apps.simulate.stream import Floats


class Timeline:
    """The hours of everything that begins and ends, in unix seconds."""

    def __init__(self, start: float, timed: Sequence[Timed]) -> None:
        self._timed = timed
        self._origins: dict[int, float] = {
            i: start for i, one in enumerate(timed) if one.step is None
        }

    def reached(self, share: float, at: float) -> None:
        """Note that this share (percent) was in force at `at`."""
        for i, one in enumerate(self._timed):
            if one.step is not None and share >= one.step and i not in self._origins:
                self._origins[i] = at

    def active(self, one: Timed, times: Floats) -> NDArray[np.bool_]:
        """Whether it holds, at each of these times."""
        begins = self.begins(one)
        if begins is None:
            return np.zeros(len(times), dtype=np.bool_)
        since = times - begins
        if one.every is not None and one.lasts is not None:
            inside = np.mod(since, one.every.total_seconds()) < one.lasts.total_seconds()
            return (since >= 0) & inside
        if one.lasts is not None:
            return (since >= 0) & (since < one.lasts.total_seconds())
        return since >= 0

    def now(self, one: Timed, at: float) -> bool:
        """Whether it holds at this instant."""
        return bool(self.active(one, np.array([at]))[0])

    def begins(self, one: Timed) -> float | None:
        """When it first holds; None while its share has not been reached."""
        index = next(i for i, known in enumerate(self._timed) if known is one)
        origin = self._origins.get(index)
        return None if origin is None else origin + one.onset.total_seconds()

    def first(self) -> float | None:
        """When the first of all begins, as far as is known."""
        known = [b for one in self._timed if (b := self.begins(one)) is not None]
        return min(known, default=None)

    def next_change(self, after: float) -> float | None:
        """The next instant after `after` at which something begins or ends."""
        found = [t for one in self._timed for t in self._changes(one, after)]
        return min(found, default=None)

    def _changes(self, one: Timed, after: float) -> list[float]:
        begins = self.begins(one)
        if begins is None:
            return []
        if begins > after:
            return [begins]
        if one.lasts is None:
            return []
        lasts = one.lasts.total_seconds()
        if one.every is None:
            return [begins + lasts] if begins + lasts > after else []
        every = one.every.total_seconds()
        cycle = begins + (after - begins) // every * every
        return [cycle + lasts if cycle + lasts > after else cycle + every]
