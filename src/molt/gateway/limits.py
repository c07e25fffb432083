"""How many requests a subject may make: at most `limit` in any 60 seconds, exactly."""

from array import array
from collections.abc import MutableSequence
from typing import Final

from molt.gateway.generations import Generations

WINDOW: Final = 60.0


class Limiter:
    """The times of each key's last requests; refused requests do not count against it.

    Memory is bounded by `keys` (under a flood of made-up keys the idle ones are forgotten first)
    and by the limit. A changed limit holds at once, on the history that is there.
    """

    def __init__(self, keys: int = 100_000) -> None:
        self._times: Generations[str, MutableSequence[float]] = Generations(WINDOW, keys)
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._times)

    def admit(self, key: str, limit: int, now: float) -> float:
        """Count one request of `key` and return 0; or, when it is over `limit`, the seconds to wait.

        `now` is monotonic seconds. A limit of 0 admits nothing.
        """
        if limit <= 0:
            return WINDOW
        times = self._times.get(key, now)
        if times is None:
            self._times.put(key, array("d", (now,)), now)
            return 0.0
        if len(times) >= limit:
            wait = WINDOW - (now - times[-limit])
            if wait > 0:
                return wait
            if len(times) >= 2 * limit:
                del times[:-limit]
        times.append(now)
        return 0.0

    def clear_at(self, epoch: int) -> None:
        """Forget everything when `epoch` has grown since the last time."""
        if epoch > self._epoch:
            self._epoch = epoch
            self._times.clear()

    def sweep(self) -> None:
        """Free forgotten memory, a little at a time."""
        self._times.sweep()
