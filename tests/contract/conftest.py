"""Every adapter of the stores, behind one fixture: they all pass the same tests."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from molt.adapters.memory.store import MemoryStore
from molt.adapters.sql.store import SqlStore

Store = SqlStore | MemoryStore


class Now:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def pass_by(self, length: timedelta) -> None:
        """Move on."""
        self.at += length


@pytest.fixture
def now() -> Now:
    """The present instant of the store under test."""
    return Now()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, now: Now) -> AsyncIterator[Store]:
    """An empty store of each kind."""
    if request.param == "memory":
        yield MemoryStore(now)
        return
    async with await SqlStore.open(tmp_path / "molt.db", now=now) as sql:
        yield sql
