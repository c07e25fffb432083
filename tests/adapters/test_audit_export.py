"""A time range of the audit log leaves it complete, in order of time, in either form."""

import csv
import io
import json
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from molt.adapters.audit_files import (
    COLUMNS,
    AuditArchive,
    AuditWriter,
    export,
    export_lines,
    preserve,
    segments_between,
)
from molt.adapters.clocks import VirtualClock

START = datetime(2026, 1, 5, tzinfo=UTC)
EVER = (START - timedelta(days=9), START + timedelta(days=9))


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def fill(directory: Path, name: str, seconds: list[float], **fields: object) -> None:
    log = AuditWriter(directory, name, VirtualClock(START), segment_bytes=2000)
    for second in seconds:
        log.append({"at": at(second), "kind": "request", "path": f"/{second}", **fields})
    log.close()


def exported(directory: Path, start: datetime, end: datetime) -> list[dict[str, object]]:
    text = b"".join(export_lines(directory, start, end))
    return [json.loads(line) for line in text.splitlines()]


def test_writers_are_merged_in_order_of_time(tmp_path: Path) -> None:
    fill(tmp_path, "gw-1", [0, 2, 4, 6])
    fill(tmp_path, "gw-2", [1, 3, 5, 7])
    records = exported(tmp_path, at(1), at(6))
    assert [record["path"] for record in records] == ["/1", "/2", "/3", "/4", "/5"]
    assert [record["writer"] for record in records] == ["gw-2", "gw-1", "gw-2", "gw-1", "gw-2"]
    assert len(str(records[0]["hash"])) == 64


@given(
    chains=st.lists(st.lists(st.integers(0, 500).map(float), max_size=80), max_size=3),
    start=st.integers(0, 500),
    length=st.integers(0, 500),
)
@settings(max_examples=40)
def test_a_range_holds_every_record_of_that_time_once(
    tmp_path_factory: pytest.TempPathFactory, chains: list[list[float]], start: int, length: int
) -> None:
    directory = tmp_path_factory.mktemp("audit")
    for number, seconds in enumerate(chains):
        fill(directory, f"gw-{number}", seconds)
    records = exported(directory, at(start), at(start + length))
    expected = sorted(s for chain in chains for s in chain if start <= s < start + length)
    assert [record["path"] for record in records] == [f"/{s}" for s in expected]


def test_a_range_is_read_from_the_segments_of_that_time_only(tmp_path: Path) -> None:
    fill(tmp_path, "gw-1", [float(second) for second in range(400)])
    some = segments_between(tmp_path, at(100), at(110))
    assert 1 <= len(some) <= 3
    assert len(segments_between(tmp_path, *EVER)) > 5
    assert segments_between(tmp_path, at(900), at(910)) == [
        tmp_path / "gw-1" / max(path.name for path in (tmp_path / "gw-1").glob("*.jsonl"))
    ]
    assert exported(tmp_path, at(900), at(910)) == []
    for second in range(0, 400, 7):
        records = exported(tmp_path, at(second), at(second + 3))
        assert len(records) == min(3, 400 - second)


def test_a_filter_chooses_records(tmp_path: Path) -> None:
    fill(tmp_path, "gw-1", [1, 2], status=200)
    fill(tmp_path, "gw-2", [3], status=500)
    out = io.BytesIO()
    count = export(tmp_path, *EVER, "jsonl", out, where=lambda record: record["status"] == 500)
    assert count == 1
    assert json.loads(out.getvalue())["path"] == "/3"


def test_csv_has_fixed_columns_and_loses_no_field(tmp_path: Path) -> None:
    fill(tmp_path, "gw-1", [1], status=200, tools=["a", "b"], cost=0.00012, rare={"x": 1})
    fill(tmp_path, "gw-2", [2], reason='=HYPERLINK("x")', method='say, "hi"\nthere', rare=None)
    text = b"".join(export_lines(tmp_path, *EVER, "csv")).decode()
    header, first, second = csv.reader(io.StringIO(text, newline=""))
    assert header == [*COLUMNS, "more"]
    row = dict(zip(header, first, strict=True))
    assert (row["writer"], row["at"], row["status"], row["cost"], row["tools"]) == (
        "gw-1",
        "2026-01-05T00:00:01.000Z",
        "200",
        "0.00012",
        '["a","b"]',
    )
    assert json.loads(row["more"]) == {"rare": {"x": 1}}
    row = dict(zip(header, second, strict=True))
    assert row["reason"] == '\'=HYPERLINK("x")'
    assert row["method"] == 'say, "hi"\nthere'


def test_an_empty_log_exports_nothing_but_the_columns(tmp_path: Path) -> None:
    assert list(export_lines(tmp_path / "none", *EVER)) == []
    assert b"".join(export_lines(tmp_path / "none", *EVER, "csv")).count(b"\n") == 1


def test_a_record_whose_time_cannot_be_read_is_not_hidden(tmp_path: Path) -> None:
    log = AuditWriter(tmp_path, "gw-1", VirtualClock(START))
    log.append({"at": at(1), "kind": "request", "path": "/1"})
    log.append({"at": "yesterday", "kind": "request", "path": "/odd"})
    log.append({"at": at(2), "kind": "request", "path": "/2"})
    log.close()
    with (tmp_path / "gw-1/00000001.jsonl").open("ab") as file:
        file.write(b"no json\n")
    records = exported(tmp_path, at(0), at(10))
    assert [r.get("path") for r in records] == ["/1", "/odd", "/2", None]
    assert records[3]["unreadable"] == "no json"


def test_memory_does_not_grow_with_the_range(tmp_path: Path) -> None:
    log = AuditWriter(tmp_path, "gw-1", VirtualClock(START), segment_bytes=1 << 20)
    for number in range(30_000):
        log.append({"at": at(number / 1000), "kind": "request", "path": "/" + "x" * 200})
    log.close()
    tracemalloc.start()
    try:
        size = sum(map(len, export_lines(tmp_path, *EVER)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 8_000_000
    assert peak < 7_000_000


def test_preserved_segments_are_copies_and_may_be_made_again(tmp_path: Path) -> None:
    audit, target = tmp_path / "audit", tmp_path / "incident"
    log = AuditWriter(audit, "gw-1", VirtualClock(START), segment_bytes=2000)
    for second in range(40):
        log.append({"at": at(second), "kind": "request", "path": f"/{second}"})
    log.flush(None)
    first = preserve(audit, *EVER, target)
    open_copy = next(path for path in first if path.suffix == ".jsonl" and path == max(first))
    before = open_copy.read_bytes()
    for second in range(40, 45):
        log.append({"at": at(second), "kind": "request", "path": f"/{second}"})
    log.flush(None)
    stamps = {path: path.stat().st_mtime_ns for path in first if path != open_copy}
    again = AuditArchive(audit).preserve(*EVER, target)
    assert {path.name[:8] for path in first} <= {path.name[:8] for path in again}
    assert open_copy.read_bytes().startswith(before)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items() if path.exists())
    log.close()
    final = preserve(audit, *EVER, target)
    assert [r["path"] for r in exported(target, *EVER)] == [f"/{s}" for s in range(45)]
    assert sorted(final) == sorted(target.rglob("*.jsonl*"))
