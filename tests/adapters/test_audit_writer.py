"""The audit log is written cheaply, goes on after a crash, and says so when it cannot be kept."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import zstandard
from structlog.testing import capture_logs

from molt.adapters.audit_files import AuditWriter, SubjectHasher, verify
from molt.adapters.audit_segments import segments
from molt.adapters.audit_writer import MOST_PENDING, RETRY_SECONDS
from molt.adapters.clocks import SystemClock, VirtualClock
from molt.core.chain import GENESIS
from molt.core.evidence import Head
from molt.ports import AuditSink

AT = "2026-01-05T00:00:00.000Z"


def writer(directory: Path, name: str = "gw-1", **options: int) -> AuditWriter:
    return AuditWriter(directory, name, VirtualClock(), **options)


def write(log: AuditWriter, *paths: str) -> Head:
    for path in paths:
        log.append({"at": AT, "kind": "request", "path": path})
    log.flush(None)
    return log.head()


def lines(directory: Path, name: str = "gw-1", number: int = 1) -> list[dict[str, object]]:
    text = (directory / name / f"{number:08d}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_writer_is_an_audit_sink(tmp_path: Path) -> None:
    sink: AuditSink = writer(tmp_path)
    sink.append({"at": AT, "kind": "event"})
    sink.flush()
    assert sink.head().seq == 2


def test_records_are_json_lines_behind_a_header_and_verify(tmp_path: Path) -> None:
    log = writer(tmp_path)
    head = write(log, "/a", "/b")
    log.close()
    header, first, second = lines(tmp_path)
    assert (header["kind"], header["writer"], header["prev"]) == (
        "segment",
        "gw-1",
        GENESIS.decode(),
    )
    assert (first["path"], second["path"], second["seq"]) == ("/a", "/b", 3)
    assert head == Head("gw-1", 3, str(second["hash"]))
    report = verify(tmp_path, {"gw-1": head})
    assert (report.ok, report.records, report.writers) == (True, 3, {"gw-1": 3})


def test_times_become_utc_text_and_a_missing_one_is_now(tmp_path: Path) -> None:
    class Fact(msgspec.Struct):
        at: datetime
        kind: str = "event"

    log = writer(tmp_path)
    log.append({"at": datetime(2026, 1, 2, 3, 4, 5, 678900, UTC), "kind": "event"})
    log.append({"kind": "event"})
    log.append(Fact(datetime(2026, 1, 2, tzinfo=UTC)))
    log.close()
    assert [record["at"] for record in lines(tmp_path)[1:]] == [
        "2026-01-02T03:04:05.678Z",
        "2026-01-05T00:00:00.000Z",
        "2026-01-02T00:00:00.000Z",
    ]


def test_a_record_that_json_cannot_hold_does_not_stop_the_chain(tmp_path: Path) -> None:
    log = writer(tmp_path)
    log.append({"at": AT, "kind": "event", "what": object, "path": Path("/x")})
    log.append({"at": AT, "kind": "event", "path": "\ud800"})
    loop: list[object] = []
    loop.append(loop)
    log.append({"at": AT, "kind": "event", "loop": loop})
    log.close()
    kinds = [record["kind"] for record in lines(tmp_path)]
    assert kinds == ["segment", "event", "unreadable", "unreadable"]
    assert verify(tmp_path, {"gw-1": log.head()}).ok


def test_a_flush_stops_at_its_budget_and_goes_on_later(tmp_path: Path) -> None:
    log = writer(tmp_path)
    for _ in range(20_000):
        log.append({"at": AT, "kind": "request"})
    log.flush(0.0)
    assert 0 < log.pending < 20_000
    while log.pending:
        before = log.pending
        log.flush(1.0)
        assert log.pending < before
    log.close()
    assert verify(tmp_path, {"gw-1": log.head()}).records == 20_001


def test_a_full_segment_is_closed_compressed_and_the_chain_goes_on(tmp_path: Path) -> None:
    log = writer(tmp_path, segment_bytes=1000)
    head = write(log, *(f"/{number}" for number in range(200)))
    log.close()
    names = [path.name for path in segments(tmp_path / "gw-1").values()]
    assert len(names) > 3
    assert [name.endswith(".zst") for name in names] == [True] * (len(names) - 1) + [False]
    assert verify(tmp_path, {"gw-1": head}).ok
    packed = (tmp_path / "gw-1" / names[0]).read_bytes()
    text = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True).read()
    assert json.loads(text.splitlines()[0])["kind"] == "segment"


async def test_an_old_segment_is_closed_too(tmp_path: Path) -> None:
    clock = VirtualClock()
    log = AuditWriter(tmp_path, "gw-1", clock, segment_seconds=60)
    write(log, "/a")
    await clock.advance(61)
    head = write(log, "/b")
    log.close()
    assert sorted(segments(tmp_path / "gw-1")) == [1, 2]
    assert lines(tmp_path, number=2)[0]["before"] == [AT, AT]
    assert verify(tmp_path, {"gw-1": head}).ok


def test_a_new_start_goes_on_behind_the_last_record(tmp_path: Path) -> None:
    log = writer(tmp_path)
    before = write(log, "/a")
    log.close()
    log = writer(tmp_path)
    assert log.head() == before
    after = write(log, "/b")
    log.close()
    assert verify(tmp_path, {"gw-1": after}).ok
    assert verify(tmp_path, {"gw-1": before}).ok


@pytest.mark.parametrize("cut", [1, 20, 80])
def test_a_torn_tail_is_set_aside_on_record_and_the_chain_goes_on(tmp_path: Path, cut: int) -> None:
    log = writer(tmp_path)
    kept = write(log, "/a")
    write(log, "/torn")
    log.close()
    path = tmp_path / "gw-1/00000001.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert not verify(tmp_path, {"gw-1": kept}).ok
    log = writer(tmp_path)
    head = write(log, "/b")
    log.close()
    records = lines(tmp_path)
    assert [record["kind"] for record in records] == ["segment", "request", "recovered", "request"]
    torn = tmp_path / "gw-1" / str(records[2]["torn"])
    assert b"/torn" in torn.read_bytes()
    assert verify(tmp_path, {"gw-1": head}).ok
    torn.write_bytes(b"something else")
    assert "which was changed" in str(verify(tmp_path, {"gw-1": head}).first_bad)
    torn.unlink()
    assert "which is missing" in str(verify(tmp_path, {"gw-1": head}).first_bad)


def test_zeros_that_a_power_cut_left_are_set_aside(tmp_path: Path) -> None:
    log = writer(tmp_path)
    write(log, "/a")
    log.close()
    with (tmp_path / "gw-1/00000001.jsonl").open("ab") as file:
        file.write(bytes(5000))
    log = writer(tmp_path)
    head = write(log, "/b")
    log.close()
    assert verify(tmp_path, {"gw-1": head}).ok
    assert lines(tmp_path)[2]["bytes"] == 5000


@pytest.mark.parametrize("content", [b"", b'{"at":"2026', b"\0" * 10])
def test_a_crash_while_a_segment_begins_is_mended(tmp_path: Path, content: bytes) -> None:
    log = writer(tmp_path)
    write(log, "/a")
    log.close()
    (tmp_path / "gw-1/00000002.jsonl").write_bytes(content)
    (tmp_path / "gw-1/.00000001.jsonl.zst").write_bytes(b"half")
    log = writer(tmp_path)
    head = write(log, "/b")
    log.close()
    report = verify(tmp_path, {"gw-1": head})
    assert report.ok, report
    names = sorted(path.name for path in segments(tmp_path / "gw-1").values())
    assert names == ["00000001.jsonl.zst", "00000002.jsonl"]
    assert lines(tmp_path, number=2)[0]["before"] == [AT, AT]


def test_a_changed_record_is_not_mended_by_a_new_start(tmp_path: Path) -> None:
    log = writer(tmp_path)
    write(log, "/a", "/b")
    log.close()
    path = tmp_path / "gw-1/00000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b"/a", b"/x"))
    log = writer(tmp_path)
    head = write(log, "/c")
    log.close()
    bad = verify(tmp_path, {"gw-1": head}).first_bad
    assert bad is not None
    assert (bad.segment, bad.line, bad.seq) == (1, 2, 2)


def test_two_writers_of_one_chain_keep_out_of_each_others_way(tmp_path: Path) -> None:
    first = writer(tmp_path)
    second = writer(tmp_path)
    assert second.failed is not None
    assert "another process" in second.failed
    second.append({"at": AT, "kind": "request", "path": "/late"})
    with pytest.raises(BlockingIOError):
        second.flush()
    write(first, "/a")
    first.close()
    second.flush()
    assert second.failed is None
    second.close()
    assert [r["kind"] for r in lines(tmp_path)] == ["segment", "request", "request"]
    assert verify(tmp_path, {"gw-1": second.head()}).ok


def test_a_bad_name_of_a_writer_is_refused(tmp_path: Path) -> None:
    for name in ("", "../x", ".hidden", "a/b"):
        with pytest.raises(ValueError, match="expected a writer of letters"):
            writer(tmp_path, name)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The kernel refuses to let files grow over `size`: the nearest thing to a full disk.

    Log lines are kept in memory meanwhile: the file that captures output is limited too.
    """
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
    try:
        with capture_logs():
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)


def test_records_wait_while_the_disk_is_full_and_are_written_later(tmp_path: Path) -> None:
    log = writer(tmp_path)
    write(log, "/a")
    size = (tmp_path / "gw-1/00000001.jsonl").stat().st_size
    with file_size_limit(size + 100):
        for number in range(3):
            log.append({"at": AT, "kind": "request", "path": f"/{number}"})
        with pytest.raises(OSError, match="too large"):
            log.flush()
        assert log.failed
        assert log.pending == 3
        assert (tmp_path / "gw-1/00000001.jsonl").stat().st_size == size
    log.flush()
    assert log.failed is None
    log.close()
    assert [r.get("path") for r in lines(tmp_path)] == [None, "/a", "/0", "/1", "/2"]
    assert verify(tmp_path, {"gw-1": log.head()}).ok


def test_a_disk_that_is_full_when_a_segment_begins_loses_nothing(tmp_path: Path) -> None:
    log = writer(tmp_path, segment_bytes=400)
    write(log, "/a", "/b")
    with file_size_limit(100):
        log.append({"at": AT, "kind": "request", "path": "/c"})
        with pytest.raises(OSError, match="too large"):
            log.flush()
        for thread in log._threads:
            thread.join()
    head = write(log, "/d")
    log.close()
    assert verify(tmp_path, {"gw-1": head}).ok
    assert [r.get("path") for r in lines(tmp_path, number=max(segments(tmp_path / "gw-1")))][
        -2:
    ] == [
        "/c",
        "/d",
    ]


def test_a_failure_is_known_even_where_the_log_of_events_fails_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = writer(tmp_path)
    size = (tmp_path / "gw-1/00000001.jsonl").stat().st_size

    def full(*_: object, **__: object) -> None:
        raise OSError("no space for log lines")

    monkeypatch.setattr("molt.adapters.audit_writer.log.error", full)
    with file_size_limit(size):
        log.append({"at": AT, "kind": "request"})
        with pytest.raises(OSError, match="no space for log lines"):
            log.flush()
    assert log.failed
    assert "too large" in log.failed
    log.close()


def test_a_log_that_cannot_be_opened_says_so_and_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("a file where the directory should be")
    log = writer(tmp_path / "audit")
    assert log.failed
    assert log.head() == Head("gw-1", 0, GENESIS.decode())
    log.append({"at": AT, "kind": "request", "path": "/a"})
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        log.flush()
    (tmp_path / "audit").unlink()
    log.flush()
    assert log.failed is None
    log.close()
    assert lines(tmp_path / "audit")[1]["path"] == "/a"


async def test_a_disk_that_stays_broken_is_not_read_on_every_flush(tmp_path: Path) -> None:
    log = writer(tmp_path)
    write(log, "/a")
    log.close()
    path = tmp_path / "gw-1/00000001.jsonl"
    path.write_bytes(path.read_bytes() + b"torn")
    clock = VirtualClock()
    with file_size_limit(2):  # the tail cannot be set aside
        log = AuditWriter(tmp_path, "gw-1", clock)
        assert log.failed
        assert "too large" in log.failed
    with pytest.raises(OSError, match="too large"):
        log.flush()
    await clock.advance(RETRY_SECONDS)
    log.flush()
    assert log.failed is None
    log.close()
    assert [r["kind"] for r in lines(tmp_path)] == ["segment", "request", "recovered"]
    assert verify(tmp_path, {"gw-1": log.head()}).ok


def test_what_exceeds_the_bounds_is_counted_and_on_record(tmp_path: Path) -> None:
    log = writer(tmp_path)
    record = {"at": AT, "kind": "request"}
    for _ in range(MOST_PENDING + 5):
        log.append(record)
    assert (log.pending, log.lost) == (MOST_PENDING, 5)
    log.close()
    last = lines(tmp_path)[-1]
    assert (last["kind"], last["records"]) == ("lost", 5)


@pytest.mark.parametrize("damage", ["removed", "cut"])
def test_a_segment_that_somebody_damages_under_the_writer_is_left_and_noted(
    tmp_path: Path, damage: str
) -> None:
    log = writer(tmp_path)
    write(log, "/a", "/b")
    path = tmp_path / "gw-1/00000001.jsonl"
    if damage == "removed":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size - 10)
    head = write(log, "/c")
    log.close()
    assert [r["kind"] for r in lines(tmp_path, number=2)] == ["segment", "damaged", "request"]
    bad = verify(tmp_path, {"gw-1": head}).first_bad
    assert bad is not None
    assert bad.segment == 1


CHILD = """
import sys
from pathlib import Path
from molt.adapters.audit_files import AuditWriter
from molt.adapters.clocks import SystemClock
log = AuditWriter(Path(sys.argv[1]), "gw-1", SystemClock(), segment_bytes=20_000)
number = 0
while True:
    for _ in range(50):
        number += 1
        log.append({"kind": "request", "path": f"/{number}"})
    log.flush(None)
    if number % 1000 == 0:
        print(log.head().seq, log.head().hash, flush=True)
"""


def test_a_writer_that_is_killed_leaves_a_log_that_goes_on_and_holds(tmp_path: Path) -> None:
    """Every head that was told before the kill is still met."""
    head = Head("gw-1", 0, "")
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        for _ in range(3):
            seq, digest = child.stdout.readline().decode().split()
            head = Head("gw-1", int(seq), digest)
        child.kill()
        child.wait()
        child.stdout.close()
        log = AuditWriter(tmp_path, "gw-1", SystemClock())
        assert log.failed is None
        log.close()
        report = verify(tmp_path, {"gw-1": head})
        assert report.ok, report
        head = log.head()


def test_a_living_writers_log_can_be_verified_at_any_moment(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        deadline = time.monotonic() + 60
        for _ in range(6):
            seq, digest = child.stdout.readline().decode().split()
            report = verify(tmp_path, {"gw-1": Head("gw-1", int(seq), digest)})
            assert report.ok, report
            assert report.records >= int(seq)
            assert time.monotonic() < deadline
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_subjects_are_hashed_with_a_key() -> None:
    one, other = SubjectHasher(b"k" * 32), SubjectHasher(b"q" * 32)
    assert one("guest-1") == one("guest-1")
    assert len(one("guest-1")) == 32
    assert len({one("guest-1"), one("guest-2"), other("guest-1"), one(""), one("\ud800")}) == 5
    with pytest.raises(ValueError, match="expected 16 to 64 bytes"):
        SubjectHasher(b"short")


# --- on the disk


async def test_what_was_written_is_put_on_the_disk_now_and_then_and_not_without_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    clock = VirtualClock()
    log = AuditWriter(tmp_path, "gw-1", clock, sync_seconds=5)
    write(log, "/a")
    assert not synced
    await clock.advance(5)
    write(log, "/b")
    await clock.advance(5)
    log.flush()
    for thread in log._threads:
        thread.join()
    assert len(synced) == 1
    log.close()


async def test_a_disk_that_refuses_to_keep_is_told_until_it_does_and_the_chain_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError("input/output error")

    clock = VirtualClock()
    log = AuditWriter(tmp_path, "gw-1", clock, sync_seconds=5)
    await clock.advance(5)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", refuse)
        write(log, "/a")
        for thread in log._threads:
            thread.join()
    with pytest.raises(OSError, match="input/output"):
        log.flush()
    await clock.advance(RETRY_SECONDS)
    with pytest.raises(OSError, match="input/output"):
        log.flush()
    assert log.failed is not None
    for thread in log._threads:
        thread.join()
    head = write(log, "/b")
    assert log.failed is None
    log.close()
    assert verify(tmp_path, {"gw-1": head}).ok
