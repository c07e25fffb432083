"""What agents reported of their runs, and which runs are closed to them."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from molt.adapters.sql import statements as q
from molt.adapters.sql.blobs import chunks
from molt.adapters.sql.database import Database, settled
from molt.core.evidence import Call

Calls = list[tuple[str, str]]

RUNS_AT_ONCE = 500


class Runs:
    """A fence per run: a call is reported before it is made, or the run is closed before that."""

    _db: Database

    @settled
    async def report_call(self, run: str, tool: str, arguments: str, at: datetime) -> bool:
        """Note that `run` is about to call `tool`; False when the run is closed: it must not act.

        `arguments` is JSON text.
        """
        async with self._db.write() as connection:
            closed, calls = await _find(connection, run)
            if closed:
                return False
            await self._keep(connection, run, [*calls, (tool, arguments)], at)
            return True

    @settled
    async def told_of(self, runs: Sequence[str]) -> dict[str, Calls]:
        """The tool calls known of those of `runs`, in order, with their arguments as JSON text: as
        the egress recorded them, else as the agent reported them."""
        found: dict[str, Calls] = {}
        recorded: dict[str, Calls] = {}
        async with self._db.read() as connection:
            for some in chunks(runs, RUNS_AT_ONCE):
                for run, calls in await connection.execute(q.REPORTS_OF, {"runs": some}):
                    found[run] = msgspec.json.decode(calls, type=Calls)
                for body in await connection.scalars(q.CALLS_OF_RUNS, {"runs": some}):
                    call = msgspec.json.decode(body, type=Call)
                    if call.kind == "tool" and call.run is not None:
                        made = recorded.setdefault(call.run, [])
                        made.append((call.name, call.arguments or "{}"))
        return found | recorded

    @settled
    async def close_run(self, run: str, at: datetime) -> list[str]:
        """Close `run` to further calls; the tools it reported so far, in order."""
        async with self._db.write() as connection:
            _, calls = await _find(connection, run)
            await self._keep(connection, run, calls, at, closed=True)
            return [tool for tool, _ in calls]

    async def _keep(
        self,
        connection: AsyncConnection,
        run: str,
        calls: Calls,
        at: datetime,
        closed: bool = False,
    ) -> None:
        row = {"run": run, "closed": closed, "calls": msgspec.json.encode(calls).decode(), "at": at}
        await connection.execute(self._db.upserts.keep_run, row)


async def _find(connection: AsyncConnection, run: str) -> tuple[bool, Calls]:
    row = (await connection.execute(q.RUN, {"run": run})).one_or_none()
    if row is None:
        return False, []
    closed, calls = row
    return closed, msgspec.json.decode(calls, type=Calls)
