"""`molt audit`, over the API and offline on a data directory."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.apps.cli.conftest import Molt, Server

from molt.adapters.audit_files import AuditWriter
from molt.adapters.clocks import SystemClock
from molt.adapters.sql.store import SqlStore

NOW = datetime.now(UTC)


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A data directory with five requests on record, one of them of last week."""
    folder = tmp_path / "molt-data"
    writer = AuditWriter(folder / "audit", "gateway-1", SystemClock())
    for n in range(5):
        at = NOW - (timedelta(days=7) if n == 0 else timedelta(minutes=9 - n))
        writer.append({"at": at, "kind": "request", "rollout": "tiny", "status": 200 + n})
    writer.flush()
    head = writer.head()
    writer.close()
    async with await SqlStore.open(folder / "molt.db") as store:
        await store.save_heads([head])
    return folder


def segment(data: Path) -> Path:
    [path] = (data / "audit" / "gateway-1").glob("*.jsonl")
    return path


class TestOffline:
    def test_verify_holds_for_an_untouched_log(self, offline: Molt, data: Path):
        ran = offline("audit", "verify", "--dir", data)
        assert (ran.code, ran.err) == (0, "")
        assert "the whole chain holds" in ran.out
        assert offline.json("audit", "verify", "--dir", data)["ok"] is True

    def test_verify_names_the_record_that_was_changed(self, offline: Molt, data: Path):
        path = segment(data)
        path.write_text(path.read_text().replace('"status":203', '"status":500'))
        ran = offline("audit", "verify", "--dir", data)
        assert ran.code == 1
        assert "gateway-1" in ran.err
        line = next(
            n for n, t in enumerate(path.read_text().splitlines(), 1) if '"status":500' in t
        )
        assert f"line {line}" in ran.err
        report = json.loads(offline("audit", "verify", "--dir", data, "--json").out)
        assert (report["ok"], report["first_bad"]["line"]) == (False, line)

    def test_verify_finds_a_tail_that_was_cut_off(self, offline: Molt, data: Path):
        path = segment(data)
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
        assert offline("audit", "verify", "--dir", data).code == 1

    def test_verify_finds_a_writer_that_was_removed(self, offline: Molt, data: Path):
        segment(data).unlink()
        assert offline("audit", "verify", "--dir", data).code == 1

    def test_verify_without_kept_heads_is_refused(self, offline: Molt, data: Path):
        (data / "molt.db").unlink()
        ran = offline("audit", "verify", "--dir", data)
        assert ran.code == 2
        assert "molt.db" in ran.err

    def test_export_gives_the_last_day_in_order(self, offline: Molt, data: Path):
        ran = offline("audit", "export", "--dir", data)
        assert ran.code == 0
        records = [json.loads(line) for line in ran.out.splitlines()]
        assert [r["status"] for r in records] == [201, 202, 203, 204]

    def test_export_gives_a_time_range_as_csv_in_a_file(self, offline: Molt, data: Path):
        start, end = NOW - timedelta(days=8), NOW - timedelta(days=6)
        span = ("--start", start.isoformat(), "--end", end.isoformat())
        target = data / "week.csv"
        ran = offline("audit", "export", "--dir", data, *span, "--format", "csv", "-o", target)
        assert (ran.code, ran.out) == (0, "")
        with target.open(newline="") as file:
            assert [row["status"] for row in csv.DictReader(file)] == ["200"]
        assert list(data.glob("*.part")) == []


class TestOverTheApi:
    def test_verify_holds_for_an_untouched_log(self, molt: Molt, server: Server):
        server.record(kind="request", status=200)
        assert molt("audit", "verify").code == 0

    def test_verify_names_what_was_changed(self, molt: Molt, server: Server):
        server.record(kind="request", status=200)
        [path] = (server.folder / "audit" / "control").glob("*.jsonl")
        path.write_text(path.read_text().replace('"status":200', '"status":500'))
        ran = molt("audit", "verify")
        assert ran.code == 1
        assert "control" in ran.err

    def test_export_is_the_same_as_offline(self, molt: Molt, server: Server):
        for n in range(3):
            server.record(kind="request", status=200 + n)
        for form in ("jsonl", "csv"):
            span = ("--start", (NOW - timedelta(hours=1)).isoformat(), "--format", form)
            online = molt("audit", "export", *span)
            offline = molt("audit", "export", *span, "--dir", server.folder)
            assert online.code == 0
            assert online.out == offline.out
            assert online.out.count("\n") == 3 + (form == "csv")

    def test_a_refused_export_leaves_no_file(self, molt: Molt, tmp_path: Path):
        target = tmp_path / "audit.jsonl"
        assert molt("audit", "export", "-o", target, MOLT_TOKEN="molt_unknown").code == 3
        assert not target.exists()


@pytest.mark.parametrize(
    "wrong", [("--start", "yesterday"), ("--format", "xml"), ("--dir", "nowhere")], ids=" ".join
)
def test_an_export_that_cannot_be_meant_is_a_usage_error(offline: Molt, wrong: tuple[str, ...]):
    ran = offline("audit", "export", *wrong)
    assert (ran.code, ran.out) == (2, "")
