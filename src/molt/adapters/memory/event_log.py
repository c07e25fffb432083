"""Event logs in memory."""

from collections.abc import Sequence

from molt.adapters.sql.records import (
    BrokenRecord,
    Log,
    Row,
    chained,
    conflict,
    first_broken,
)
from molt.core.events import AnyEvent, Recorded


class MemoryEvents:
    """One append-only, hash-chained log per rollout."""

    def __init__(self) -> None:
        self._records: dict[str, list[Recorded]] = {}
        self._rows: dict[str, list[Row]] = {}

    async def rollouts(self) -> Sequence[str]:
        """The ids of all rollouts, oldest first."""
        return sorted(self._records, key=lambda r: (self._records[r][0].event.at, r))

    async def load(self, rollout: str, after: int = 0) -> Sequence[Recorded]:
        """The records of one log with `seq > after`, in order; empty when there is none."""
        return self._records.get(rollout, [])[after:]

    async def append(
        self, rollout: str, events: Sequence[AnyEvent], *, expected_version: int
    ) -> Sequence[Recorded]:
        """Add all `events` behind record `expected_version`, or raise `VersionConflict`."""
        log, rows = self._log(rollout), self._rows.get(rollout, [])
        if log.version != expected_version:
            raise conflict(rollout, log.version, expected_version, rows[expected_version:])
        new = chained(log, events)
        records = [Recorded(row.seq, e, row.hash) for row, e in zip(new, events, strict=True)]
        if records:
            self._rows.setdefault(rollout, []).extend(new)
            self._records.setdefault(rollout, []).extend(records)
        return records

    async def verify_events(self) -> BrokenRecord | None:
        """The first record that was changed behind Molt's back; None when every log is whole."""
        broken = (first_broken(r, rows, self._log(r)) for r, rows in self._rows.items())
        return next((found for found in broken if found), None)

    def _log(self, rollout: str) -> Log:
        rows = self._rows.get(rollout)
        return Log(rows[-1].seq, rows[-1].hash) if rows else Log()
