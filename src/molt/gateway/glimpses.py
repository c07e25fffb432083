"""A bounded sample of requests for people who watch them go by. It is no evidence: nothing decides on it.

What went wrong and what the candidate did come first; the rest fills what room is left, spread over
the second.
"""

from collections.abc import Mapping
from typing import Any, Final

from molt.core.assignment import CANDIDATE
from molt.gateway.observations import Observation
from molt.wire.exchange import Exchange

NOTABLE_A_SECOND: Final = 30.0
ORDINARY_A_SECOND: Final = 20.0
BURST: Final = 8.0
MOST: Final = 100
"""Kept until they are taken; later ones are dropped."""


class _Room:
    """How many more may be taken just now."""

    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, rate: float) -> None:
        self._rate, self._left, self._at = rate, BURST, 0.0

    def take(self, now: float) -> bool:
        self._left = min(BURST, self._left + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Glimpses:
    """The sample since the last `take`, and how many requests it was taken from."""

    def __init__(self) -> None:
        self._notable = _Room(NOTABLE_A_SECOND)
        self._ordinary = _Room(ORDINARY_A_SECOND)
        self._kept: list[dict[str, Any]] = []
        self._offered = 0

    def offer(
        self,
        record: Mapping[str, Any],
        exchange: Exchange,
        seen: Observation | None,
        now: float,
    ) -> None:
        """Take the record of a finished exchange into the sample, if there is room at `now`."""
        self._offered += 1
        verdict = verdict_of(exchange, seen)
        notable = verdict != "ok" or record.get("arm") == CANDIDATE
        room = self._notable if notable else self._ordinary
        if len(self._kept) >= MOST or not room.take(now):
            return
        shown = {**record, "verdict": verdict}
        if exchange.usage is not None and exchange.usage.model:
            shown["model"] = exchange.usage.model
        self._kept.append(shown)

    def take(self) -> tuple[list[dict[str, Any]], int]:
        """The sample and the number of requests; begins anew."""
        taken = self._kept, self._offered
        self._kept, self._offered = [], 0
        return taken


def verdict_of(exchange: Exchange, seen: Observation | None) -> str:
    """One word for what became of it: ok, error, violation, fell_back, limited, aborted, dropped."""
    if seen is None:
        return "ok" if exchange.status and exchange.status < 400 else "error"
    if seen.forbidden:
        return "violation"
    if seen.kind != "request":
        return "dropped" if seen.kind == "mirror_dropped" else seen.kind
    if seen.fell_back:
        return "fell_back"
    return "error" if seen.error else "ok"
