"""The newest records first, and every record of the range exactly once on the way back."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from molt.adapters.audit_files import AuditWriter, Entry, entries
from molt.adapters.audit_newest import Cursor, newest
from molt.adapters.clocks import VirtualClock

START = datetime(2026, 1, 5, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def fill(directory: Path, name: str, seconds: list[int]) -> None:
    log = AuditWriter(directory, name, VirtualClock(START), segment_bytes=1500)
    for number, second in enumerate(seconds):
        log.append({"at": at(second), "kind": "request", "agent": f"a{number % 3}"})
    log.close()


def pages(directory: Path, start: datetime, end: datetime, **options: Any) -> list[list[Entry]]:
    """All pages from the newest back to the beginning."""
    found: list[list[Entry]] = []
    cursor: Cursor | None = Cursor(end - timedelta(microseconds=1))
    while cursor is not None:
        page = newest(directory, start, cursor, **options)
        found.append(page.entries)
        cursor = page.older
        assert len(found) < 500, "it never ends"
    return found


def first_agent(record: Any) -> bool:
    return record.get("agent") == "a0"


@given(
    chains=st.lists(st.lists(st.integers(0, 60), max_size=60), max_size=3),
    span=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    limit=st.integers(1, 9),
    most=st.sampled_from([0, 5, 1000]),
    filtered=st.booleans(),
)
@settings(max_examples=40)
def test_every_record_of_the_range_is_on_one_page_the_newest_first(
    chains: list[list[int]], span: tuple[int, int], limit: int, most: int, filtered: bool
) -> None:
    where = first_agent if filtered else None
    with TemporaryDirectory() as folder:
        for number, seconds in enumerate(chains):
            fill(Path(folder), f"gw-{number}", sorted(seconds))
        start, end = at(min(span)), at(max(span))
        found = pages(Path(folder), start, end, where=where, limit=limit, most=most)
        expected = sorted(entries(Path(folder), start, end, where), reverse=True)
    assert [entry for page in found for entry in page] == expected
    assert all(len(page) <= limit for page in found)


def test_a_page_of_a_long_log_reads_its_last_segments_only(tmp_path: Path) -> None:
    fill(tmp_path, "gw", list(range(600)))
    read: list[str] = []
    page = newest(tmp_path, at(0), Cursor(at(1000)), lambda r: not read.append(r["at"]), limit=10)
    assert [entry.at for entry in page.entries] == [at(599 - n) for n in range(10)]
    assert page.older == Cursor(at(590), 1)
    assert len(read) < 60


def test_a_search_that_finds_nothing_says_how_far_it_looked(tmp_path: Path) -> None:
    fill(tmp_path, "gw", list(range(600)))
    page = newest(tmp_path, at(0), Cursor(at(1000)), lambda _: False, limit=10, most=20)
    assert page.entries == []
    assert page.older is not None
    assert at(100) < page.older.at < at(599)
