"""What the store does when the file, the disk, another process or its own process fails it."""

import asyncio
import itertools
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from molt.adapters.sql.store import SqlStore
from molt.core.errors import StoreUnavailable, VersionConflict
from molt.core.events import Noted
from molt.core.evidence import Batch, BucketSums, Seen, Slot, SlotKey, SumsKey

from .sql_writer import EVENTS_AT_ONCE

AT = datetime(2026, 3, 2, tzinfo=UTC)
WRITER = Path(__file__).parent / "sql_writer.py"
NOBODY = 65534


def note(text: str = "x") -> Noted:
    return Noted(at=AT, note=text)


def batch(sequence: int, keys: int = 1) -> Batch:
    sums = [
        BucketSums(SumsKey("r1", sequence, t, "a", "control", "live"), {"n": {0: 1.0}})
        for t in range(keys)
    ]
    slot = Slot(SlotKey("r1", sequence, "a", "control", "live", 0), requests=1)
    seen = [Seen("r1", 1, "control", f"s{sequence}")]
    return Batch("g1", sequence, AT, 1, slots=[slot], sums=sums, seen=seen)


# --- locked


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another connection holds the write lock."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def test_a_locked_store_says_so_keeps_nothing_and_works_again_afterwards(tmp_path):
    path = tmp_path / "molt.db"
    async with await SqlStore.open(path, busy_timeout=0.05) as store:
        await store.append("r1", [note()], expected_version=0)
        with locked(path):
            for write in (
                store.append("r1", [note()], expected_version=1),
                store.ingest(batch(1)),
                store.set_setting("k", "v"),
                store.report_call("run", "tool", "{}", AT),
                store.fold(AT),
            ):
                with pytest.raises(StoreUnavailable, match=r"locked by another process.*fuser"):
                    await write
            assert len(await store.load("r1")) == 1

        assert await store.ingest(batch(1)) is not None
        await store.append("r1", [note()], expected_version=1)
        assert await store.setting("k") is None


async def test_a_new_file_that_another_process_is_making_is_waited_for(tmp_path):
    path = tmp_path / "molt.db"
    with locked(path):
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match="locked by another process"):
            await SqlStore.open(path, busy_timeout=0.3)
        assert time.monotonic() - begun >= 0.3


async def test_a_lock_that_is_released_in_time_is_waited_for(tmp_path):
    path = tmp_path / "molt.db"
    async with await SqlStore.open(path, busy_timeout=20) as store:
        with locked(path):
            waiting = asyncio.create_task(store.append("r1", [note()], expected_version=0))
            assert list(await store.load("r1")) == []
            assert not waiting.done()
        await waiting


async def test_two_stores_on_one_file_race_for_every_version_and_one_of_them_wins(tmp_path):
    path = tmp_path / "molt.db"
    async with (
        await SqlStore.open(path, busy_timeout=20) as one,
        await SqlStore.open(path, busy_timeout=20) as two,
    ):
        await one.append("r1", [note("one")], expected_version=0)
        with pytest.raises(VersionConflict, match=r"at version 1, not 0: Noted by molt"):
            await two.append("r1", [note("two")], expected_version=0)

        async def add(store: SqlStore, name: str) -> int:
            won = 0
            for version in range(1, 21):
                try:
                    await store.append("r1", [note(name)] * 2, expected_version=2 * version - 1)
                    won += 1
                except VersionConflict:
                    continue
            return won

        wins = await asyncio.gather(add(one, "one"), add(two, "two"))

        assert sum(wins) == 20
        assert [r.seq for r in await two.load("r1")] == list(range(1, 42))
        assert await one.verify_events() is None


async def test_two_stores_on_one_file_fold_each_batch_in_once(tmp_path):
    path = tmp_path / "molt.db"
    async with (
        await SqlStore.open(path, busy_timeout=20) as one,
        await SqlStore.open(path, busy_timeout=20) as two,
    ):
        numbers = [n for i in range(1, 21) for n in (i, i)]
        answers = await asyncio.gather(
            *((one, two)[i % 2].ingest(batch(n)) for i, n in enumerate(numbers))
        )

        assert sum(answer is not None for answer in answers) == 20
        assert [s.requests for s in await one.slots("r1")] == [1] * 20
        assert len(await two.sums("r1")) == 20


# --- read-only


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Nothing is read-only to root: become somebody else while it lasts."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def shared_dir() -> Iterator[Path]:
    """A directory that every user can enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


async def test_a_file_that_cannot_be_written_says_so(shared_dir):
    path = shared_dir / "molt.db"
    async with await SqlStore.open(path) as store:
        await store.append("r1", [note()], expected_version=0)
    path.chmod(0o444)
    shared_dir.chmod(0o777)

    with ordinary_user():
        async with await SqlStore.open(path) as store:
            assert len(await store.load("r1")) == 1
            with pytest.raises(StoreUnavailable, match=r"cannot be written.*writable"):
                await store.append("r1", [note()], expected_version=1)

    async with await SqlStore.open(path) as store:
        assert len(await store.load("r1")) == 1


async def test_a_directory_that_cannot_be_written_says_so(shared_dir):
    shared_dir.chmod(0o555)
    with ordinary_user(), pytest.raises(StoreUnavailable, match="directory must exist"):
        await SqlStore.open(shared_dir / "molt.db")


async def test_a_directory_that_is_not_there_says_so(tmp_path):
    with pytest.raises(StoreUnavailable, match="directory must exist"):
        await SqlStore.open(tmp_path / "missing" / "molt.db")


# --- full


async def ingest_for_ever(store: SqlStore) -> None:
    for sequence in itertools.count(1):
        await store.ingest(batch(sequence, keys=20))


async def test_a_full_disk_keeps_what_was_there_and_nothing_half(tmp_path):
    path = tmp_path / "molt.db"
    async with await SqlStore.open(path, max_bytes=1_200_000) as store:
        with pytest.raises(StoreUnavailable, match=r"disk is full.*Free some space"):
            await ingest_for_ever(store)
        kept = len(await store.slots("r1"))
        assert kept > 1
        assert len(await store.sums("r1")) == 20 * kept
        assert await store.known_subjects("r1", [f"s{kept + 1}"]) == set()

    async with await SqlStore.open(path) as store:
        assert await store.ingest(batch(kept + 1, keys=20)) is not None
        assert len(await store.sums("r1")) == 20 * (kept + 1)


# --- damaged


async def test_a_file_that_is_no_database_says_so_and_stays_as_it_is(tmp_path):
    path = tmp_path / "molt.db"
    path.write_text("this is not a database, " * 2000)
    before = path.read_bytes()

    with pytest.raises(StoreUnavailable, match="not a database of Molt"):
        await SqlStore.open(path)

    assert path.read_bytes() == before


async def test_a_damaged_file_says_so(tmp_path):
    path = tmp_path / "molt.db"
    async with await SqlStore.open(path) as store:
        for version in range(0, 2000, 100):
            await store.append("r1", [note("y" * 200)] * 100, expected_version=version)
    with path.open("r+b") as file:
        file.seek(16_384)
        file.write(b"\xff" * (path.stat().st_size - 16_384))

    with pytest.raises(StoreUnavailable, match=r"is damaged.*restore a backup"):
        async with await SqlStore.open(path) as store:
            await store.load("r1")


async def test_a_database_of_somebody_else_says_so(tmp_path):
    path = tmp_path / "molt.db"
    async with await SqlStore.open(path) as store:
        with closing(sqlite3.connect(path)) as other:
            other.execute("DROP TABLE settings")
        with pytest.raises(StoreUnavailable, match="no such table"):
            await store.setting("k")


async def test_evidence_that_cannot_be_read_says_so(tmp_path):
    path = tmp_path / "molt.db"
    async with await SqlStore.open(path) as store:
        await store.ingest(batch(1))
        with closing(sqlite3.connect(path)) as other:
            other.execute("UPDATE slots SET body = x'00'")
            other.execute("UPDATE sums SET body = x'00'")
            other.commit()
        with pytest.raises(StoreUnavailable, match="A slot cannot be read"):
            list(await store.slots("r1"))
        with pytest.raises(StoreUnavailable, match="bucket sums cannot be read"):
            list(await store.sums("r1"))


# --- killed, cancelled


def written_by_a_writer_that_is_killed(path: Path, after: int) -> dict[str, int]:
    """The last event and batch that were acknowledged to a process before it was killed."""
    command = [sys.executable, str(WRITER), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        promised = [process.stdout.readline().split() for _ in range(after)]
        process.kill()
        promised += [line.split() for line in process.stdout.read().splitlines()]
    return {kind: int(number) for kind, number in (line for line in promised if len(line) == 2)}


async def test_a_writer_killed_in_mid_stream_loses_nothing_it_was_promised_and_leaves_no_half(
    tmp_path,
):
    for round_, after in enumerate((3, 20, 61)):
        path = tmp_path / f"{round_}.db"
        promised = await asyncio.to_thread(written_by_a_writer_that_is_killed, path, after)

        async with await SqlStore.open(path) as store:
            events = len(await store.load("r1"))
            assert promised["event"] <= events <= promised["event"] + EVENTS_AT_ONCE
            assert events % EVENTS_AT_ONCE == 0
            assert await store.verify_events() is None

            batches = sum(slot.requests for slot in await store.slots("r1"))
            assert promised["batch"] <= batches <= promised["batch"] + 1
            sums = [s.columns["requests"] for s in await store.sums("r1")]
            assert sums == [{tier: float(batches)} for tier in range(20)]
            assert await store.new_subjects("r1") == {1: (0, batches)}
            assert await store.append("r1", [note()], expected_version=events)


async def test_a_write_whose_caller_is_cancelled_is_whole_and_holds_up_nobody(tmp_path):
    path = tmp_path / "molt.db"
    async with await SqlStore.open(path, busy_timeout=0.0) as store:
        for turns in range(1, 60):
            task = asyncio.create_task(store.ingest(batch(turns, keys=3)))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await store.report_call("run", "tool", "{}", AT)

    async with await SqlStore.open(path) as store:
        whole = len(await store.slots("r1"))
        assert whole > 30
        assert len(await store.sums("r1")) == 3 * whole
        assert await store.new_subjects("r1") == {1: (0, whole)}


async def test_a_read_whose_caller_is_cancelled_gives_its_connection_back(tmp_path):
    async with await SqlStore.open(tmp_path / "molt.db") as store:
        for turns in range(30):
            task = asyncio.create_task(store.load("r1"))
            for _ in range(turns % 10 + 1):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert list(await store.load("r1")) == []


async def test_closing_waits_for_a_write_that_is_under_way(tmp_path):
    store = await SqlStore.open(tmp_path / "molt.db")
    writes = [asyncio.create_task(store.ingest(batch(n, keys=20))) for n in range(1, 6)]
    await asyncio.sleep(0)
    for write in writes:
        write.cancel()
    await asyncio.gather(*writes, return_exceptions=True)
    await store.close()

    async with await SqlStore.open(tmp_path / "molt.db") as again:
        assert len(await again.slots("r1")) == 5
