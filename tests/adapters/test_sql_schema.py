"""The tables and the migrations say the same; a store is opened whatever its age."""

import asyncio
import sqlite3
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Executable, create_engine, event, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.schema import CreateTable

from molt.adapters.sql import database, schema, sqlite, statements
from molt.adapters.sql.store import SqlStore
from molt.core.errors import OperatorError, StoreUnavailable
from molt.core.events import Noted

NOTE = Noted(at=datetime(2026, 3, 2, tzinfo=UTC), note="x")


@contextmanager
def migrated(path: Path):
    """A database made by the migrations alone."""
    engine = create_engine(f"sqlite:///{path}")
    try:
        with engine.begin() as connection:
            database.upgrade(connection)
        yield engine
    finally:
        engine.dispose()


def shape_of(connection) -> dict[str, object]:
    """Every column and index of every table, as SQLite sees them."""
    tables = connection.execute(
        text("SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'alembic_version'")
    )
    shape: dict[str, object] = {}
    for (table,) in tables.all():
        columns = connection.execute(text(f"PRAGMA table_xinfo({table})")).all()
        shape[table] = [tuple(c)[1:6] for c in columns]
        for _, index, unique, origin, _ in connection.execute(text(f"PRAGMA index_list({table})")):
            keys = connection.execute(text(f"PRAGMA index_xinfo({index})")).all()
            shape[f"{table}.{index}"] = (unique, origin, [tuple(k)[2:] for k in keys])
        foreign = connection.execute(text(f"PRAGMA foreign_key_list({table})")).all()
        shape[f"{table}.foreign"] = [tuple(f) for f in foreign]
    return shape


def test_all_migrations_together_make_the_tables_of_the_schema(tmp_path):
    declared = create_engine("sqlite://")
    schema.metadata.create_all(declared)

    with (
        migrated(tmp_path / "m.db") as engine,
        engine.connect() as made,
        declared.connect() as wanted,
    ):
        assert compare_metadata(MigrationContext.configure(made), schema.metadata) == []
        assert shape_of(made) == shape_of(wanted)
    declared.dispose()


def test_the_newest_migration_is_the_revision_that_the_schema_names():
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [schema.REVISION]


def test_every_statement_and_table_is_also_understood_by_the_dialect_of_postgresql():
    def upsert(table, **options):
        return sqlite.upsert(postgresql.insert, table, **options)

    upserts = statements.Upserts(upsert)
    all_statements = [*vars(statements).values(), *vars(upserts).values()]
    found = [s for s in all_statements if isinstance(s, Executable)]

    assert len(found) > 30
    for statement in found:
        assert str(statement.compile(dialect=asyncpg.dialect()))
    for table in schema.metadata.sorted_tables:
        assert str(CreateTable(table).compile(dialect=asyncpg.dialect()))


SLOT_KEY = ("r1", 0, 1, "guest", "control", "live")
SUMS_KEY = ("r1", 1, 0, "guest", "control", "live")


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (statements.SLOTS_AT, {"rollouts": ["r1"], "starts": [0], "keys": [SLOT_KEY] * 2}),
        (statements.FORGET_SLOTS, {"rollouts": ["r1"], "starts": [0], "keys": [SLOT_KEY] * 2}),
        (statements.SUMS_AT, {"rollouts": ["r1"], "epochs": [1], "keys": [SUMS_KEY] * 2}),
        (statements.KNOWN_SUBJECTS, {"rollout": "r1", "subjects": ["a", "b"]}),
        (statements.KNOWN_OUTCOMES, {"rollout": "r1", "ids": ["a", "b"]}),
        (statements.NARROW_SLOTS, {"span": 60, "before": 0, "at_most": 10}),
        (statements.FORGET_BATCHES, {"gateway": "g1"}),
        (statements.SLOTS, {"rollout": "r1", "since": 0, "until": 1}),
        (statements.EVENTS, {"rollout": "r1", "after": 0}),
    ],
    ids=lambda value: "" if isinstance(value, dict) else None,
)
def test_what_is_asked_often_is_found_by_an_index(tmp_path, statement, values):
    steps: list[str] = []

    def explain(_connection, cursor, asked, parameters, *_) -> None:
        cursor.execute(f"EXPLAIN QUERY PLAN {asked}", parameters)
        steps.extend(row[3] for row in cursor.fetchall())

    with migrated(tmp_path / "m.db") as engine:
        event.listen(engine, "before_cursor_execute", explain)
        with engine.connect() as connection:
            connection.execute(statement, values)
    assert any(step.startswith("SEARCH") for step in steps), steps
    scans = [s for s in steps if s.startswith("SCAN") and not ("CONSTANT" in s or "VALUES" in s)]
    assert not scans, steps
    assert not any("TEMP B-TREE" in step for step in steps), steps


async def test_a_store_is_made_once_and_found_again(tmp_path):
    async with await SqlStore.open(tmp_path / "m.db") as store:
        await store.append("r1", [NOTE], expected_version=0)
    async with await SqlStore.open(tmp_path / "m.db") as store:
        assert [r.event for r in await store.load("r1")] == [NOTE]


async def test_a_store_can_be_named_by_a_url(tmp_path):
    async with await SqlStore.open(f"sqlite:///{tmp_path}/m.db") as store:
        await store.append("r1", [NOTE], expected_version=0)
    assert (tmp_path / "m.db").exists()


@pytest.mark.parametrize(
    "place", ["postgresql://u:secret@host/db", "sqlite://", "sqlite:///", "mysql:///x"]
)
async def test_a_url_of_another_kind_is_refused_without_repeating_its_password(place):
    with pytest.raises(OperatorError, match="not supported") as refusal:
        await SqlStore.open(place)
    assert "secret" not in str(refusal.value)


async def test_stores_that_start_together_on_a_new_file_all_start(tmp_path):
    for round_ in range(5):
        path = tmp_path / f"{round_}.db"
        stores = await asyncio.gather(*(SqlStore.open(path, busy_timeout=20) for _ in range(4)))
        for store in stores:
            await store.close()


async def test_the_journal_lets_readers_and_a_writer_work_side_by_side(tmp_path):
    async with await SqlStore.open(tmp_path / "m.db"):
        pass
    with closing(sqlite3.connect(tmp_path / "m.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_every_connection_checks_references_and_syncs_at_checkpoints_only(tmp_path):
    db = database.Database(
        database.dialect_of(tmp_path / "m.db", busy_timeout=0.25, max_bytes=None)
    )
    await db.migrate()
    for use in (db.read, db.write):
        async with use() as connection:
            found = [
                (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar()
                for name in ("foreign_keys", "synchronous", "busy_timeout")
            ]
        assert found == [1, 1, 250]
    await db.close()


async def test_a_store_of_a_newer_molt_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "m.db"
    async with await SqlStore.open(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()

    with pytest.raises(StoreUnavailable, match="newer version of Molt"):
        await SqlStore.open(path)


async def test_a_migration_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def half(connection) -> None:
        database_upgrade(connection)
        raise RuntimeError("stopped in the middle")

    database_upgrade = database.upgrade
    monkeypatch.setattr(database, "upgrade", half)
    with pytest.raises(RuntimeError):
        await SqlStore.open(tmp_path / "m.db")

    with closing(sqlite3.connect(tmp_path / "m.db")) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
