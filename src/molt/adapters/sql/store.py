"""The whole store on one database."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType

from molt.adapters.sql.alerts import Alerts
from molt.adapters.sql.calls import Calls
from molt.adapters.sql.database import Database, dialect_of
from molt.adapters.sql.event_log import EventLog
from molt.adapters.sql.evidence import Evidence
from molt.adapters.sql.pairs import Pairs
from molt.adapters.sql.people import Sessions, Tokens
from molt.adapters.sql.runs import Runs
from molt.adapters.sql.snapshots import Snapshots
from molt.adapters.sql.values import utc_now


class SqlStore(EventLog, Evidence, Snapshots, Runs, Calls, Pairs, Alerts):
    """Events, evidence, flags, heads, runs, calls, pairs and settings; `tokens` and `sessions`
    beside them.

    Every method raises `StoreUnavailable`, with what to do, when the database cannot do its part;
    then nothing was changed. Any number of stores and processes may share a database.
    """

    def __init__(self, db: Database, now: Callable[[], datetime]) -> None:
        self._db = db
        self._now = now
        self.tokens = Tokens(db, now)
        self.sessions = Sessions(db, now)

    @classmethod
    async def open(
        cls,
        place: str | Path,
        *,
        now: Callable[[], datetime] = utc_now,
        busy_timeout: float = 2.0,
        max_bytes: int | None = None,
    ) -> "SqlStore":
        """The store in a file or at a URL, made if it is not there, its tables up to date.

        `busy_timeout` in seconds bounds the wait for a lock of another process; `max_bytes` bounds
        the file. Raises `StoreUnavailable`, or `OperatorError` for a URL
        that is not supported.
        """
        db = Database(dialect_of(place, busy_timeout=busy_timeout, max_bytes=max_bytes))
        try:
            await db.migrate()
        except BaseException:
            await db.close()
            raise
        return cls(db, now)

    async def close(self) -> None:
        """Close every connection."""
        await self._db.close()

    async def __aenter__(self) -> "SqlStore":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
