"""Whatever single thing is done to an audit log, verify finds it with the kept heads."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import zstandard
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from molt.adapters import audit_segments
from molt.adapters.audit_files import AuditWriter, HeadsFile, Report, verify
from molt.adapters.clocks import VirtualClock
from molt.adapters.problems import ConfigError
from molt.core.evidence import Head

AT = "2026-01-05T00:00:00.000Z"


def build(directory: Path) -> dict[str, Head]:
    """Two writers with compressed and open segments, one with a tail set aside."""
    heads = {}
    for name in ("control", "gw-1"):
        log = AuditWriter(directory, name, VirtualClock(), segment_bytes=3000)
        for number in range(60):
            log.append({"at": AT, "kind": "request", "path": f"/{number % 7}", "status": 200})
        log.close()
    with (directory / "gw-1" / "00000003.jsonl").open("ab") as file:
        file.write(b'{"at":"2026-')
    for name in ("control", "gw-1"):
        log = AuditWriter(directory, name, VirtualClock(), segment_bytes=3000)
        for number in range(3):
            log.append({"at": AT, "kind": "request", "path": f"/more/{number}"})
        log.close()
        heads[name] = log.head()
    return heads


@pytest.fixture(scope="module")
def original() -> Iterator[tuple[Path, dict[str, Head]]]:
    with TemporaryDirectory() as folder:
        directory = Path(folder) / "audit"
        yield directory, build(directory)


@contextmanager
def copied(original: tuple[Path, dict[str, Head]]) -> Iterator[tuple[Path, dict[str, Head]]]:
    directory, heads = original
    with TemporaryDirectory() as folder:
        shutil.copytree(directory, Path(folder) / "audit")
        yield Path(folder) / "audit", heads


def files(directory: Path) -> list[Path]:
    return sorted(p for p in directory.rglob("*") if p.is_file() and p.name != ".lock")


def rewrite(path: Path, lines: list[bytes]) -> None:
    """Put lines into a segment as somebody would who knows its form."""
    folder, number = path.parent, int(path.name[:8])
    path.unlink()
    audit_segments.plain_path(folder, number).write_bytes(b"".join(lines))
    if path.suffix == ".zst":
        audit_segments.pack(folder, number)


def segment_lines(path: Path) -> list[bytes]:
    return list(audit_segments.read_lines(path.parent, int(path.name[:8])))


def test_the_untouched_log_holds(original: tuple[Path, dict[str, Head]]) -> None:
    directory, heads = original
    report = verify(directory, heads)
    assert report == Report(True, sum(h.seq for h in heads.values()), report.writers)
    assert report.writers == {name: head.seq for name, head in heads.items()}
    names = {path.name for path in files(directory)}
    assert {"00000001.jsonl.zst", "00000003.jsonl"} < names
    assert any(name.endswith(".torn") for name in names)


@given(st.data())
@settings(max_examples=150)
def test_a_changed_byte_of_any_file_is_found(
    original: tuple[Path, dict[str, Head]], data: st.DataObject
) -> None:
    with copied(original) as (directory, heads):
        path = data.draw(st.sampled_from(files(directory)))
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        bad = verify(directory, heads).first_bad
        assert bad is not None
        assert bad.writer == path.parent.name


@given(st.data())
@settings(max_examples=60)
def test_any_file_that_is_cut_or_grows_is_found(
    original: tuple[Path, dict[str, Head]], data: st.DataObject
) -> None:
    with copied(original) as (directory, heads):
        path = data.draw(st.sampled_from(files(directory)))
        content = path.read_bytes()
        keep = data.draw(st.integers(0, len(content)))
        more = data.draw(st.binary(max_size=3))
        assume(content[:keep] + more != content)
        path.write_bytes(content[:keep] + more)
        assert not verify(directory, heads).ok


@given(st.data())
@settings(max_examples=20)
def test_any_file_that_is_deleted_is_found(
    original: tuple[Path, dict[str, Head]], data: st.DataObject
) -> None:
    with copied(original) as (directory, heads):
        path = data.draw(st.sampled_from(files(directory)))
        path.unlink()
        bad = verify(directory, heads).first_bad
        assert bad is not None
        assert "missing" in bad.what


@given(st.data())
@settings(max_examples=150)
def test_a_dropped_inserted_or_moved_record_is_found_where_it_was(
    original: tuple[Path, dict[str, Head]], data: st.DataObject
) -> None:
    with copied(original) as (directory, heads):
        segments = [p for p in files(directory) if ".jsonl" in p.name]
        path = data.draw(st.sampled_from(segments))
        lines = segment_lines(path)
        index = data.draw(st.integers(0, len(lines) - 1))
        change = data.draw(st.sampled_from(["drop", "repeat", "foreign", "swap", "edit"]))
        if change == "drop":
            changed = lines[:index] + lines[index + 1 :]
        elif change == "repeat":
            changed = [*lines[: index + 1], *lines[index:]]
        elif change == "foreign":
            other = segment_lines(data.draw(st.sampled_from(segments)))
            changed = [*lines[:index], data.draw(st.sampled_from(other)), *lines[index:]]
        elif change == "swap":
            second = data.draw(st.integers(0, len(lines) - 1))
            changed = list(lines)
            changed[index], changed[second] = lines[second], lines[index]
        else:
            changed = [*lines[:index], lines[index].replace(b"20", b"21", 1), *lines[index + 1 :]]
        assume(changed != lines)
        rewrite(path, changed)
        bad = verify(directory, heads).first_bad
        assert bad is not None
        assert bad.writer == path.parent.name
        if changed and not (change == "drop" and index == len(lines) - 1):
            assert bad.segment == int(path.name[:8])
            differs = next(
                i for i, line in enumerate(changed) if i >= len(lines) or line != lines[i]
            )
            assert bad.line == differs + 1
            assert f"line {differs + 1}: record {bad.seq} " in str(bad)


def test_a_whole_writer_that_is_missing_is_found(original: tuple[Path, dict[str, Head]]) -> None:
    with copied(original) as (directory, heads):
        shutil.rmtree(directory / "gw-1")
        report = verify(directory, heads)
        assert str(report.first_bad) == (
            "writer gw-1, segment 00000001, line 1: record 1 is missing: the kept head says that "
            f"record {heads['gw-1'].seq} was written"
        )
        shutil.rmtree(directory)
        assert len(verify(directory, heads).bad) == 2


def test_writers_that_changed_places_are_found(original: tuple[Path, dict[str, Head]]) -> None:
    with copied(original) as (directory, heads):
        (directory / "gw-1").rename(directory / "x")
        (directory / "control").rename(directory / "gw-1")
        (directory / "x").rename(directory / "control")
        assert len(verify(directory, heads).bad) == 2
        assert len(verify(directory, {}).bad) == 2


def test_a_chain_may_be_longer_than_its_head_but_not_shorter(
    original: tuple[Path, dict[str, Head]],
) -> None:
    directory, heads = original
    line = audit_segments.first_line(directory / "gw-1", 1)
    digest = line.decode().rpartition('"hash":"')[2][:64]
    assert verify(directory, {**heads, "gw-1": Head("gw-1", 1, digest)}).ok
    assert not verify(directory, {**heads, "gw-1": Head("gw-1", 1, "0" * 64)}).ok
    longer = Head("gw-1", heads["gw-1"].seq + 1, "0" * 64)
    assert not verify(directory, {**heads, "gw-1": longer}).ok


def test_without_a_head_a_writer_is_named_as_unanchored(
    original: tuple[Path, dict[str, Head]],
) -> None:
    directory, heads = original
    report = verify(directory, {"gw-1": heads["gw-1"]})
    assert (report.ok, report.unanchored) == (True, ("control",))


def test_the_report_as_data_names_the_first_bad_record(
    original: tuple[Path, dict[str, Head]],
) -> None:
    with copied(original) as (directory, heads):
        assert verify(directory, heads).as_data()["first_bad"] is None
        (directory / "control" / "00000002.jsonl.zst").unlink()
        first = verify(directory, heads).as_data()["first_bad"]
        assert (first["writer"], first["segment"]) == ("control", 2)
        assert first["text"].endswith("is missing with its whole segment")


def test_a_compressed_form_that_says_the_same_in_other_bytes_is_found(
    original: tuple[Path, dict[str, Head]],
) -> None:
    with copied(original) as (directory, heads):
        path = directory / "gw-1" / "00000001.jsonl.zst"
        text = b"".join(segment_lines(path))
        path.write_bytes(zstandard.ZstdCompressor(level=19).compress(text))
        bad = verify(directory, heads).first_bad
        assert bad is not None
        assert "was changed, or cut off" in bad.what


def test_heads_are_kept_in_one_file_and_never_go_back(tmp_path: Path) -> None:
    kept = HeadsFile(tmp_path / "kept" / "heads.json")
    assert kept.read() == {}
    kept.save([Head("a", 5, "5" * 64), Head("b", 0, "0" * 64)])
    kept.save([Head("a", 3, "3" * 64), Head("c", 1, "1" * 64)])
    assert kept.read() == {"a": Head("a", 5, "5" * 64), "c": Head("c", 1, "1" * 64)}
    assert [path.name for path in kept.path.parent.iterdir()] == ["heads.json"]


def test_a_file_of_heads_with_a_key_cannot_be_changed_by_others(tmp_path: Path) -> None:
    kept = HeadsFile(tmp_path / "heads.json", key=b"k" * 32)
    kept.save([Head("a", 5, "5" * 64)])
    assert kept.read()["a"].seq == 5
    text = kept.path.read_text()
    kept.path.write_text(text.replace('"seq":5', '"seq":4'))
    with pytest.raises(ConfigError, match="somebody else changed it"):
        kept.read()
    kept.path.write_text("{}")
    with pytest.raises(ConfigError, match="somebody else changed it"):
        kept.read()
    kept.path.write_text("no json")
    with pytest.raises(ConfigError, match=r"heads\.json: not a file of heads"):
        kept.read()
