"""An audit log of any size leaves a running installation as a stream: its memory does not grow with it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from molt.adapters.audit_files import AuditWriter
from molt.adapters.clocks import VirtualClock

from .conftest import Molt

START = datetime(2026, 1, 5, tzinfo=UTC)
RECORDS = 60_000
EXTRA = "x" * 430
"""Makes records of some 600 bytes: the log is 36 MB long, several times what may be held."""

HELD = 12 << 20
"""Bytes that control's memory may grow by, whatever is exported as text."""
HELD_BY_DUCKDB = 220 << 20
"""The same for Parquet: DuckDB is loaded, and may take 160 MB."""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Molt]:
    """An installation whose gateway has written a large log, long ago."""
    folder = tmp_path_factory.mktemp("large")
    log = AuditWriter(folder / "data" / "audit", "gw-old", VirtualClock(START))
    for i in range(RECORDS):
        at = START + timedelta(milliseconds=20 * i)
        log.append({"at": at, "kind": "request", "path": f"/{i}", "agent": "guest", "x": EXTRA})
        if not i % 1000:
            log.flush()
    log.close()
    molt = Molt(folder, "http://127.0.0.1:9", "http://127.0.0.1:9")
    yield molt
    molt.stop()


def peak(pid: int) -> int:
    """The most memory that a process has held since `forget_peak`, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(row for row in status.splitlines() if row.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def forget_peak(pid: int) -> None:
    """Begin anew with what it holds now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@pytest.mark.parametrize(
    ("form", "at_least", "held"),
    [
        ("jsonl", 30 << 20, HELD),
        ("csv", 25 << 20, HELD),
        ("parquet", 1 << 16, HELD_BY_DUCKDB),
    ],
)
def test_an_export_of_any_size_is_streamed(
    installation: Molt, tmp_path: Path, form: str, at_least: int, held: int
) -> None:
    if form == "parquet":
        pytest.importorskip("duckdb", reason="Parquet needs the extra `analytics`")
    pid = installation.control_pid()
    query = {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z", "format": form}
    forget_peak(pid)
    before = peak(pid)
    target, size = tmp_path / f"audit.{form}", 0
    with (
        target.open("wb") as out,
        installation.client.stream("GET", "/audit/export", params=query, timeout=120) as answer,
    ):
        assert answer.status_code == 200
        for piece in answer.iter_bytes():
            size += out.write(piece)

    assert size > at_least
    assert peak(pid) - before < held
    assert rows(target, form) == RECORDS


def rows(path: Path, form: str) -> int:
    """How many records an export holds."""
    if form == "parquet":
        import duckdb

        with duckdb.connect() as db:
            found = db.execute(f"SELECT count(*) FROM read_parquet('{path}')").fetchone()
        assert found is not None
        return found[0]
    with path.open("rb") as file:
        return sum(1 for _ in file) - (form == "csv")
