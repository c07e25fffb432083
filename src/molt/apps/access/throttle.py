"""Failed sign-ins slow down: a few tries for each client in five minutes, some more for all."""

from collections import OrderedDict, deque
from typing import Final

SPAN_SECONDS: Final = 300.0
TRIES_OF_ONE: Final = 5
TRIES_OF_ALL: Final = 100
CLIENTS: Final = 10_000

_ALL: Final = ""


class Throttle:
    """Counts failures by client address. `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, client: str, now: float) -> float:
        """Seconds until this client may try again; 0 when it may now."""
        return max(self._wait(client, TRIES_OF_ONE, now), self._wait(_ALL, TRIES_OF_ALL, now))

    def failed(self, client: str, now: float) -> None:
        """Count a failure."""
        for key, tries in ((client, TRIES_OF_ONE), (_ALL, TRIES_OF_ALL)):
            times = self._failures.pop(key, deque(maxlen=tries))
            times.append(now)
            self._failures[key] = times
        while len(self._failures) > CLIENTS:
            self._failures.popitem(last=False)

    def succeeded(self, client: str) -> None:
        """Forget this client's failures."""
        self._failures.pop(client, None)

    def _wait(self, key: str, tries: int, now: float) -> float:
        times = self._failures.get(key)
        if times is None or len(times) < tries:
            return 0.0
        return max(0.0, times[0] + SPAN_SECONDS - now)
