"""The event logs, in two tables: one row per log, one row per record."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from molt.adapters.sql import statements as q
from molt.adapters.sql.database import Database, settled
from molt.adapters.sql.records import (
    BrokenRecord,
    Log,
    Row,
    chained,
    conflict,
    first_broken,
    recorded,
)
from molt.core.errors import VersionConflict
from molt.core.events import AnyEvent, Recorded


class EventLog:
    """One append-only, hash-chained log per rollout."""

    _db: Database

    @settled
    async def rollouts(self) -> Sequence[str]:
        """The ids of all rollouts, oldest first."""
        async with self._db.read() as connection:
            return (await connection.scalars(q.ROLLOUTS)).all()

    @settled
    async def load(self, rollout: str, after: int = 0) -> Sequence[Recorded]:
        """The records of one log with `seq > after`, in order; empty when there is none."""
        async with self._db.read() as connection:
            rows = await connection.execute(q.EVENTS, {"rollout": rollout, "after": after})
            return [recorded(rollout, Row(*row)) for row in rows]

    @settled
    async def append(
        self, rollout: str, events: Sequence[AnyEvent], *, expected_version: int
    ) -> Sequence[Recorded]:
        """Add all `events` behind record `expected_version`, or raise `VersionConflict`, adding none.

        Raises `StoreUnavailable` when the store cannot be written.
        """
        async with self._db.write() as connection:
            found = (await connection.execute(q.LOG, {"rollout": rollout})).one_or_none()
            log = Log(*found) if found else Log()
            if log.version != expected_version:
                raise await _conflict(connection, rollout, log.version, expected_version)
            rows = chained(log, events)
            if rows:
                end = {"rollout": rollout, "version": rows[-1].seq, "hash": rows[-1].hash}
                await connection.execute(
                    self._db.upserts.keep_log, {**end, "opened_at": events[0].at}
                )
                await connection.execute(
                    q.ADD_EVENT, [{"rollout": rollout, **row._asdict()} for row in rows]
                )
        return [Recorded(row.seq, event, row.hash) for row, event in zip(rows, events, strict=True)]

    @settled
    async def verify_events(self) -> BrokenRecord | None:
        """The first record that was changed behind Molt's back; None when every log is whole.

        Whoever also recomputes all later hashes and the kept head cannot be found out from this
        database alone; the audit log holds the same decisions in another chain.
        """
        async with self._db.read() as connection:
            for rollout, seq in (await connection.execute(q.ORPHANED_EVENTS)).all():
                return BrokenRecord(rollout, seq, "belongs to no log: the log's own row is missing")
            for rollout, version, last in (await connection.execute(q.LOGS)).all():
                rows = await connection.execute(q.EVENTS, {"rollout": rollout, "after": 0})
                found = first_broken(rollout, (Row(*row) for row in rows), Log(version, last))
                if found:
                    return found
        return None


async def _conflict(
    connection: AsyncConnection, rollout: str, version: int, expected: int
) -> VersionConflict:
    rows = await connection.execute(q.EVENTS, {"rollout": rollout, "after": expected})
    return conflict(rollout, version, expected, [Row(*row) for row in rows])
