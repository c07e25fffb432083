"""Parquet holds every record in order of time, however many files DuckDB is given to read."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from molt.adapters import audit_parquet
from molt.adapters.audit_files import AuditWriter
from molt.adapters.clocks import VirtualClock

START = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize("records", [0, 1, 3000])
def test_every_record_is_in_it_and_no_file_that_is_read_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: int
) -> None:
    duckdb = pytest.importorskip("duckdb", reason="Parquet needs the extra `analytics`")
    monkeypatch.setattr(audit_parquet, "FILE_BYTES", 1 << 16)
    sizes: list[int] = []
    split = audit_parquet._files

    def watched(*given):
        files = split(*given)
        sizes.extend(file.stat().st_size for file in files)
        return files

    monkeypatch.setattr(audit_parquet, "_files", watched)
    log = AuditWriter(tmp_path / "audit", "gw", VirtualClock(START))
    for number in range(records):
        at = START + timedelta(seconds=number)
        log.append({"at": at, "kind": "request", "path": f"/{number}", "note": 'a,"b"\r\nc'})
    log.close()
    found = audit_parquet.parquet(tmp_path / "audit", START, START + timedelta(days=1))
    target = tmp_path / "out.parquet"
    target.write_bytes(b"".join(found))
    with duckdb.connect() as db:
        paths = db.execute(f"SELECT path FROM read_parquet('{target}')").fetchall()
    assert paths == [(f"/{number}",) for number in range(records)]
    assert max(sizes) < 3 << 16
    assert len(sizes) > records // 1000
