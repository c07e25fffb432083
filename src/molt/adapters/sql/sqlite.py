"""The dialect seam: everything that is true of SQLite only.

A second database is a second class of this shape. What it must promise: `writing` begins a
transaction that other writers wait for (SQLite takes its one write lock at the start; PostgreSQL
would take an advisory lock), because evidence is merged by reading, adding and writing back.
"""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Insert, Table, event
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from molt.core.errors import StoreUnavailable

READS: Final = "molt_reads"
"""The execution option of connections that only read: they take no lock, and see one moment."""

PAGE: Final = 16_384
"""Bytes in a page. Rows of evidence take 2 KB, and are rewritten in runs: seven fit a page."""

_DEFECTS: Final = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)
_ADVICE: Final = {
    sqlite3.SQLITE_BUSY: "is locked by another process. End that process (`fuser {path}` names "
    "it), or wait: Molt tries again by itself",
    sqlite3.SQLITE_LOCKED: "is locked by another connection. Molt tries again by itself",
    sqlite3.SQLITE_FULL: "cannot grow, its disk is full. Free some space: Molt goes on by itself",
    sqlite3.SQLITE_READONLY: "cannot be written. Make the file and its directory writable for the "
    "user that runs Molt",
    sqlite3.SQLITE_PERM: "cannot be used. Give the user that runs Molt access to the file",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened. Its directory must exist, and the user that runs "
    "Molt must be able to write there",
    sqlite3.SQLITE_CORRUPT: "is damaged. Stop Molt, keep the file, and restore a backup or what "
    "`sqlite3 {path} .recover` saves of it",
    sqlite3.SQLITE_NOTADB: "is not a database of Molt. Name another file, or move this one away",
    sqlite3.SQLITE_IOERR: "cannot be read or written, its disk failed. Look at the disk and the "
    "system's log",
}
_OTHERWISE: Final = "cannot be used. Is it a database of this version of Molt?"


class Sqlite:
    """SQLite in one file: WAL, so that readers never wait for the writer."""

    def __init__(
        self, path: Path, *, busy_timeout: float = 2.0, max_bytes: int | None = None
    ) -> None:
        """`busy_timeout` in seconds is how long a lock of another process is waited for.

        `max_bytes` bounds the file.
        """
        self.path = path
        self._busy_timeout = busy_timeout
        self._max_bytes = max_bytes

    def create(self) -> None:
        """Make the file when it is not there, with what stays with a file. Blocks.

        Raises `StoreUnavailable`. SQLite does not wait for others when it changes the journal, so
        that processes which start together have to try again here.
        """
        give_up = time.monotonic() + self._busy_timeout
        while True:
            try:
                with closing(sqlite3.connect(self.path, timeout=self._busy_timeout)) as connection:
                    connection.execute(f"PRAGMA page_size = {PAGE}")
                    connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.Error as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                    raise StoreUnavailable(self._advice(error)) from error
            time.sleep(0.01)

    def engine(self) -> AsyncEngine:
        """An engine whose transactions take the write lock first, unless they only `READS`."""
        engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(self.path)),
            connect_args={"isolation_level": None, "timeout": self._busy_timeout},
            pool_size=4,
            max_overflow=0,
            pool_timeout=max(30.0, 4 * self._busy_timeout),
        )
        event.listen(engine.sync_engine, "connect", self._prepare)
        event.listen(engine.sync_engine, "begin", _begin)
        return engine

    def _prepare(self, connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        if self._max_bytes is not None:
            cursor.execute(f"PRAGMA max_page_count = {self._max_bytes // PAGE:d}")
        cursor.close()

    @staticmethod
    def upsert(
        table: Table, *, replace: tuple[str, ...] = (), when_higher: str | None = None
    ) -> Insert:
        """An insert that keeps the row which is there, or replaces the columns `replace` of it.

        With `when_higher`, only if that column is higher in the new row.
        """
        return upsert(sqlite_dialect.insert, table, replace=replace, when_higher=when_higher)

    def explain(self, error: DBAPIError) -> str | None:
        """What is wrong with the database and what to do; None for a defect of Molt."""
        cause = error.orig
        if not isinstance(cause, sqlite3.DatabaseError) or isinstance(cause, _DEFECTS):
            return None
        return self._advice(cause)

    def _advice(self, cause: sqlite3.Error) -> str:
        advice = _ADVICE.get(_code(cause), _OTHERWISE)
        return f"The store {self.path} {advice.format(path=self.path)} ({cause})"


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _begin(connection: Connection) -> None:
    """Writers take the lock at once: one that read first could not be sure to get it later."""
    reads = connection.get_execution_options().get(READS)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def upsert(
    insert: Any, table: Table, *, replace: tuple[str, ...] = (), when_higher: str | None = None
) -> Insert:
    """The upsert of a dialect whose own `insert` knows ON CONFLICT."""
    statement = insert(table)
    if not replace:
        return statement.on_conflict_do_nothing()
    where = None
    if when_higher is not None:
        where = statement.excluded[when_higher] > table.c[when_higher]
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={name: statement.excluded[name] for name in replace},
        where=where,
    )
