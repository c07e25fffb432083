"""Retention removes whole old segments, and verify can tell that from a dropped one."""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from molt.adapters.audit_files import AuditWriter, Retention, entries, prove
from molt.adapters.audit_segments import segments
from molt.adapters.clocks import VirtualClock
from molt.adapters.memory.store import MemoryStore

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 10
KEEP = timedelta(days=4)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(FIRST + timedelta(days=DAYS))


def written(directory: Path, clock: VirtualClock) -> AuditWriter:
    """A closed chain, whose segments hold about a day each."""
    log = AuditWriter(directory, "gw", clock, segment_bytes=3000)
    for hour in range(DAYS * 24):
        log.append({"at": FIRST + timedelta(hours=hour), "kind": "request", "path": f"/{hour}"})
    log.close()
    return log


@pytest.fixture
async def directory(tmp_path: Path, clock: VirtualClock, store: MemoryStore) -> Path:
    log = written(tmp_path / "audit", clock)
    await store.save_heads([log.head()])
    return tmp_path / "audit"


def times(directory: Path) -> Iterator[datetime]:
    ever = timedelta(days=1000)
    return (e.at for e in entries(directory, FIRST - ever, FIRST + ever))


async def test_what_is_kept_holds_and_verify_says_where_it_begins(
    directory: Path, store: MemoryStore, clock: VirtualClock
) -> None:
    before = segments(directory / "gw")
    [start] = await Retention(directory, KEEP, store, clock).once()
    after = segments(directory / "gw")
    assert min(after) == start.segment > 3
    assert set(after) < set(before)
    report = await prove(directory, store)
    assert report.ok
    assert report.records == report.writers["gw"] - start.seq + 1
    assert report.as_data()["starts"][0]["text"] == (
        f"writer gw: kept from record {start.seq}, of {start.at}; earlier ones were removed by "
        "retention at 2026-01-11T00:00:00Z"
    )


async def test_nothing_younger_is_removed_and_little_more_than_asked_is_kept(
    directory: Path, store: MemoryStore, clock: VirtualClock
) -> None:
    await Retention(directory, KEEP, store, clock).once()
    left = list(times(directory))
    limit = clock.now() - KEEP
    assert sum(at >= limit for at in left) == KEEP.days * 24
    assert min(left) >= limit - timedelta(days=2)


async def test_rounds_go_on_from_the_last_one(
    directory: Path, store: MemoryStore, clock: VirtualClock
) -> None:
    [first] = await Retention(directory, KEEP, store, clock).once()
    assert await Retention(directory, KEEP, store, clock).once() == []
    [second] = await Retention(directory, timedelta(days=1), store, clock).once()
    assert second.seq > first.seq
    assert (await prove(directory, store)).ok


async def test_a_segment_that_was_dropped_without_a_start_is_still_found(
    directory: Path, store: MemoryStore, clock: VirtualClock
) -> None:
    await Retention(directory, KEEP, store, clock).once()
    oldest, second, *_ = segments(directory / "gw").items()
    oldest[1].unlink()
    bad = (await prove(directory, store)).first_bad
    assert bad is not None
    assert (bad.segment, bad.what) == (oldest[0], "is missing with its whole segment")
    second[1].unlink()
    assert await Retention(directory, timedelta(days=1), store, clock).once() == []


async def test_a_whole_log_that_was_dropped_is_still_found(
    directory: Path, store: MemoryStore, clock: VirtualClock
) -> None:
    await Retention(directory, KEEP, store, clock).once()
    for path in segments(directory / "gw").values():
        path.unlink()
    assert not (await prove(directory, store)).ok


async def test_a_damaged_chain_is_not_removed(
    directory: Path, store: MemoryStore, clock: VirtualClock
) -> None:
    path = segments(directory / "gw")[2]
    path.write_bytes(path.read_bytes()[:-1])
    assert await Retention(directory, KEEP, store, clock).once() == []
    assert path.exists()
    bad = (await prove(directory, store)).first_bad
    assert bad is not None
    assert bad.segment == 2


async def test_a_crash_before_the_files_are_gone_is_made_good_by_the_next_round(
    directory: Path, store: MemoryStore, clock: VirtualClock, tmp_path: Path
) -> None:
    await Retention(directory, KEEP, store, clock).once()
    (start,) = (await prove(directory, store)).starts
    written(tmp_path / "again", clock)
    left = segments(tmp_path / "again" / "gw")[start.segment - 1]
    left.rename(directory / "gw" / left.name)
    assert (await prove(directory, store)).ok
    await Retention(directory, KEEP, store, clock).once()
    assert min(segments(directory / "gw")) == start.segment


async def test_a_tail_set_aside_goes_with_its_segment_and_the_writer_goes_on(
    tmp_path: Path, store: MemoryStore, clock: VirtualClock
) -> None:
    directory = tmp_path / "audit"
    written(directory, clock)
    opened = max(segments(directory / "gw"))
    with (directory / "gw" / f"{opened:08d}.jsonl").open("ab") as file:
        file.write(b'{"at":"2026-')
    written(directory, clock)
    await clock.advance(86400 * 30)
    log = AuditWriter(directory, "gw", clock, segment_bytes=3000)
    for _ in range(60):
        log.append({"kind": "request"})
    log.close()
    await store.save_heads([log.head()])
    assert list((directory / "gw").glob("*.torn"))
    assert await Retention(directory, KEEP, store, clock).once()
    assert not list((directory / "gw").glob("*.torn"))
    log = AuditWriter(directory, "gw", clock)
    log.append({"kind": "request"})
    log.close()
    await store.save_heads([log.head()])
    assert (await prove(directory, store)).ok


async def test_each_removal_is_a_record_whose_own_number_stays_its_own(
    directory: Path, store: MemoryStore, clock: VirtualClock
) -> None:
    records: asyncio.Queue[Mapping[str, object]] = asyncio.Queue()
    rounds = asyncio.create_task(Retention(directory, KEEP, store, clock).run(records.put_nowait))
    record = await asyncio.wait_for(records.get(), 20)
    rounds.cancel()
    (start,) = (await prove(directory, store)).starts
    assert record["first_kept"] == {
        "segment": start.segment,
        "record": start.seq,
        "at": start.at,
    }
    assert not {"seq", "hash"} & set(record)
