"""What on-call was told."""

from collections.abc import Sequence

import msgspec

from molt.adapters.sql import statements as q
from molt.adapters.sql.database import Database, settled
from molt.ports import Alert


class Alerts:
    """Alerts, each replaced as a whole when it changes."""

    _db: Database

    @settled
    async def save_alert(self, alert: Alert) -> None:
        """Keep `alert`, replacing the one with its id."""
        row = {"id": alert.id, "at": alert.last_at, "body": msgspec.json.encode(alert).decode()}
        async with self._db.write() as connection:
            await connection.execute(self._db.upserts.keep_alert, row)

    @settled
    async def alerts(self, limit: int) -> Sequence[Alert]:
        """The latest, newest first."""
        async with self._db.read() as connection:
            rows = await connection.execute(q.ALERTS, {"at_most": limit})
            return [msgspec.json.decode(row.body, type=Alert) for row in rows]
