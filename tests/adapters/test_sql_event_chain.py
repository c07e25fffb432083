"""A log that was changed behind Molt's back is found out, and its first bad record is named."""

import sqlite3
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from molt.adapters.sql.database import Database, dialect_of
from molt.adapters.sql.store import SqlStore
from molt.adapters.sql.values import utc_now
from molt.core.errors import StoreUnavailable
from molt.core.events import Noted

AT = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store with two logs of five and three records."""
    file = tmp_path / "molt.db"
    async with await SqlStore.open(file) as store:
        for rollout, records in (("r1", 5), ("r2", 3)):
            notes = [Noted(at=AT, note=f"{rollout} {i}") for i in range(records)]
            await store.append(rollout, notes, expected_version=0)
    return file


def tamper(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


CHANGE = "UPDATE events SET body = replace(body, 'r1 2', 'r1 9') WHERE rollout = 'r1'"
SWAP = (
    "UPDATE events SET seq = -2 WHERE rollout = 'r1' AND seq = 2",
    "UPDATE events SET seq = 2 WHERE rollout = 'r1' AND seq = 3",
    "UPDATE events SET seq = 3 WHERE rollout = 'r1' AND seq = -2",
)
INSERT = (
    "UPDATE events SET seq = -seq - 1 WHERE rollout = 'r1' AND seq >= 3",
    "UPDATE events SET seq = -seq WHERE rollout = 'r1' AND seq < 0",
    "INSERT INTO events SELECT 'r1', 3, body, hash FROM events WHERE rollout = 'r2' AND seq = 1",
)


@pytest.mark.parametrize(
    ("statements", "broken"),
    [
        ((CHANGE,), ("r1", 3)),
        (("UPDATE events SET hash = '00' || substr(hash, 3) WHERE seq = 4",), ("r1", 4)),
        (("DELETE FROM events WHERE rollout = 'r2' AND seq = 1",), ("r2", 1)),
        (("DELETE FROM events WHERE rollout = 'r1' AND seq = 3",), ("r1", 3)),
        (("DELETE FROM events WHERE rollout = 'r1' AND seq >= 4",), ("r1", 4)),
        (("DELETE FROM events WHERE rollout = 'r2'",), ("r2", 1)),
        (("PRAGMA foreign_keys = OFF", "DELETE FROM logs WHERE rollout = 'r2'"), ("r2", 1)),
        (("UPDATE logs SET version = 4 WHERE rollout = 'r1'",), ("r1", 5)),
        (("UPDATE logs SET hash = '00' || substr(hash, 3) WHERE rollout = 'r1'",), ("r1", 5)),
        (("UPDATE events SET seq = 9 WHERE rollout = 'r1' AND seq = 5",), ("r1", 5)),
        (SWAP, ("r1", 2)),
        (INSERT, ("r1", 3)),
    ],
    ids=[
        "changed body", "changed hash", "dropped first", "dropped", "cut-off tail", "emptied",
        "dropped log", "head moved back", "changed head", "renumbered", "swapped", "inserted",
    ],
)  # fmt: skip
async def test_a_change_behind_molts_back_is_found_and_the_first_bad_record_named(
    path, statements, broken
):
    tamper(path, *statements)

    async with await SqlStore.open(path) as store:
        found = await store.verify_events()

    assert found is not None
    assert (found.rollout, found.seq) == broken
    assert found.what


async def test_a_record_that_cannot_be_read_says_so_when_its_log_is_loaded(path):
    tamper(path, 'UPDATE events SET body = \'{"type": "Nonsense"}\' WHERE seq = 2')

    async with await SqlStore.open(path) as store:
        with pytest.raises(StoreUnavailable, match="Record 2 of the log of rollout r1"):
            await store.load("r1")


class GrowingMeanwhile:
    """A connection that reads, while another store appends after each of its reads."""

    def __init__(self, connection: AsyncConnection, other: SqlStore) -> None:
        self._connection = connection
        self._other = other

    async def execute(self, *args):
        found = await self._connection.execute(*args)
        version = len(await self._other.load("r1"))
        await self._other.append("r1", [Noted(at=AT, note="more")], expected_version=version)
        return found


async def test_a_log_that_grows_while_it_is_verified_is_not_taken_for_a_broken_one(path):
    async with await SqlStore.open(path) as other:

        class GrowingDatabase(Database):
            @asynccontextmanager
            async def read(self):
                async with super().read() as connection:
                    yield GrowingMeanwhile(connection, other)

        db = GrowingDatabase(dialect_of(path, busy_timeout=2.0, max_bytes=None))
        assert await SqlStore(db, utc_now).verify_events() is None
        await db.close()
        assert len(await other.load("r1")) > 5
