"""One database: opening it, reading it, writing it in transactions, and saying what is wrong."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import wraps
from pathlib import Path
from types import CoroutineType
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection

from molt.adapters.sql.schema import REVISION
from molt.adapters.sql.sqlite import READS, Sqlite
from molt.adapters.sql.statements import Upserts
from molt.core.errors import OperatorError, StoreUnavailable

P = ParamSpec("P")
T = TypeVar("T")

_MIGRATIONS: Final = Path(__file__).parent / "migrations"


def dialect_of(place: str | Path, *, busy_timeout: float, max_bytes: int | None) -> Sqlite:
    """The dialect for a file, or a URL such as `sqlite:////var/lib/molt/molt.db`.

    Raises `OperatorError` for the URL of another database.
    """
    if isinstance(place, str) and "://" in place:
        scheme, _, path = place.partition(":///")
        if scheme != "sqlite" or not path:
            raise OperatorError(
                f"The store {place.partition('://')[0]}://... is not supported; "
                "give a file, or sqlite:///FILE (sqlite:////FILE from the root)"
            )
        place = path
    return Sqlite(Path(place), busy_timeout=busy_timeout, max_bytes=max_bytes)


class Database:
    """Connections to one database, with errors that say what to do."""

    def __init__(self, dialect: Sqlite) -> None:
        self.upserts = Upserts(dialect.upsert)
        self._dialect = dialect
        self._engine = dialect.engine()
        self._reading = self._engine.execution_options(**{READS: True})
        self._writer = asyncio.Lock()
        self._under_way: set[asyncio.Task[Any]] = set()

    async def migrate(self) -> None:
        """Bring the tables up to date; raises `StoreUnavailable` when a newer Molt made them."""
        await asyncio.to_thread(self._dialect.create)
        async with self.read() as connection:
            revision = await connection.run_sync(_revision)
        if revision == REVISION:
            return
        if revision is not None and revision > REVISION:
            raise StoreUnavailable(
                f"The store was written by a newer version of Molt (schema {revision}, this one "
                f"knows {REVISION}). Run that version, or restore a backup from before"
            )
        async with self.write() as connection:
            await connection.run_sync(upgrade)

    async def close(self) -> None:
        """Let what is under way end, then close every connection."""
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._engine.dispose()

    async def settle(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which runs to its end even when who waits for it is cancelled."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[AsyncConnection]:
        """A connection that sees what was committed, and waits for no writer."""
        with self._explained():
            async with self._reading.connect() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[AsyncConnection]:
        """A transaction that no other writer interleaves with; committed at the end, or undone.

        Writers of this process take turns here, in order, rather than at the lock of the file.
        """
        async with self._writer:
            with self._explained():
                async with self._engine.begin() as connection:
                    yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            explanation = self._dialect.explain(error)
            if explanation is None:
                raise
            raise StoreUnavailable(explanation) from error
        except PoolTimeout as error:
            raise StoreUnavailable(
                "The store answers too slowly, all its connections are in use. Look at the load "
                "of the disk"
            ) from error


class _OnDatabase(Protocol):
    _db: Database


S = TypeVar("S", bound=_OnDatabase)


def settled(
    method: "Callable[Concatenate[S, P], CoroutineType[Any, Any, T]]",
) -> "Callable[Concatenate[S, P], CoroutineType[Any, Any, T]]":
    """The method, run to its end even when its caller is cancelled.

    A transaction cut off in the middle would hold the lock until its connection is cleared away,
    and nobody could say whether it was committed. (`CoroutineType` is quoted: Python 3.11 does not
    subscript it.)
    """

    @wraps(method)
    async def run(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._db.settle(method(self, *args, **kwargs))

    return run


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def upgrade(connection: Connection) -> None:
    """Run all migrations that are due, in the transaction of `connection`."""
    from alembic import command  # takes 0.2 s, and is needed once in the life of a store
    from alembic.config import Config

    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
