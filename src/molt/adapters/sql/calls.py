"""What runs did through the egress, call by call."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from molt.adapters.sql import statements as q
from molt.adapters.sql.database import Database, settled
from molt.core.evidence import Call

_call = msgspec.json.Decoder(Call)


class Calls:
    """Calls come in with batches, each once by its id."""

    _db: Database

    @settled
    async def calls_of(self, run: str) -> Sequence[Call]:
        """What `run` did, in order of time."""
        async with self._db.read() as connection:
            rows = await connection.scalars(q.CALLS_OF_RUN, {"run": run})
            return [_call.decode(body) for body in rows]

    @settled
    async def calls(
        self, rollout: str, since: datetime, until: datetime, at_most: int = 1000
    ) -> Sequence[Call]:
        """The calls of one rollout with `since <= at < until`, in order of time, the last `at_most`."""
        bounds = {"rollout": rollout, "since": since, "until": until, "at_most": at_most}
        async with self._db.read() as connection:
            rows = await connection.scalars(q.CALLS, bounds)
            return [_call.decode(body) for body in rows][::-1]


async def add_calls(db: Database, connection: AsyncConnection, calls: Sequence[Call]) -> None:
    """Keep `calls`; those that are there already stay as they are."""
    if calls:
        rows = [
            {
                "id": call.id,
                "rollout": call.rollout,
                "run": call.run,
                "at": call.at,
                "body": msgspec.json.encode(call).decode(),
            }
            for call in calls
        ]
        await connection.execute(db.upserts.add_call, rows)
