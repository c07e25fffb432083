"""Time ranges of the audit log: exported as JSON Lines or CSV, or preserved as whole segments."""

import csv
import heapq
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import IO, Annotated, Any, Final, Literal, NamedTuple

import msgspec

from molt.adapters.audit_segments import (
    first_line,
    packed_path,
    plain_path,
    read_lines,
    segments,
    sync_directory,
    write_aside,
    writers,
)

Format = Literal["jsonl", "csv"]
Where = Callable[[Mapping[str, Any]], bool]

COLUMNS: Final = (
    "writer",
    "seq",
    "at",
    "kind",
    "run",
    "rollout",
    "epoch",
    "agent",
    "arm",
    "mode",
    "reason",
    "subject",
    "session",
    "method",
    "path",
    "status",
    "outcome",
    "latency_ms",
    "tokens_in",
    "tokens_out",
    "cost",
    "tools",
    "fallback",
    "trace",
)
"""The columns of a CSV export, in their fixed order; all other fields follow as JSON in `more`."""

_SLACK: Final = timedelta(seconds=1)
_WINDOW: Final = 4096
"""Within one chain, records are put in order of time over this many lines."""
_CHUNK_BYTES: Final = 1 << 16
_MOST_LINES: Final = 100_000_000
"""More than a segment can have; with it a line has a place in its writer's whole chain."""
_DANGEROUS: Final = ("=", "+", "-", "@", "\t", "\r")


class Entry(NamedTuple):
    """A record in an export; ordered by time, then by writer and number of line."""

    at: datetime
    writer: str
    order: int
    line: bytes


_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class _Stamp(msgspec.Struct):
    at: _Instant | None = None
    kind: str = ""


class _Header(msgspec.Struct):
    before: tuple[_Instant, _Instant] | None = None


_STAMP: Final = msgspec.json.Decoder(_Stamp).decode
_HEADER: Final = msgspec.json.Decoder(_Header).decode


def entries(
    directory: Path, start: datetime, end: datetime, where: Where | None = None
) -> Iterator[Entry]:
    """All records with `start <= at < end`, of all writers, in order of time.

    A record whose time cannot be read is never hidden: it comes in place of its neighbours'.
    """
    chains = (
        _chain(directory / writer, writer, start, end, where) for writer in writers(directory)
    )
    return heapq.merge(*(_ordered(chain) for chain in chains))


def _chain(
    folder: Path, writer: str, start: datetime, end: datetime, where: Where | None
) -> Iterator[Entry]:
    for number in numbers_between(folder, start, end):
        yield from segment_entries(folder, writer, number, start, end, where)


def segment_entries(
    folder: Path, writer: str, number: int, start: datetime, end: datetime, where: Where | None
) -> Iterator[Entry]:
    """The records of one segment with `start <= at < end`, as they stand in it.

    One whose time cannot be read has that of the record before it.
    """
    at = start
    for order, line in enumerate(_lines(folder, number), number * _MOST_LINES):
        if not line.endswith(b"\n"):
            continue  # being written now, or torn: no record
        kind = ""
        with suppress(msgspec.DecodeError):
            stamp = _STAMP(line)
            at, kind = stamp.at or at, stamp.kind
        if start <= at < end and kind != "segment" and (where is None or where(_record(line))):
            yield Entry(at, writer, order, line)


def _lines(folder: Path, number: int) -> Iterator[bytes]:
    """Its lines; none when retention has removed it since it was listed."""
    with suppress(FileNotFoundError):
        yield from read_lines(folder, number)


def _ordered(chain: Iterable[Entry]) -> Iterator[Entry]:
    """The same in order of time, as far as records stand within `_WINDOW` of their place."""
    heap: list[Entry] = []
    for entry in chain:
        if len(heap) < _WINDOW:
            heapq.heappush(heap, entry)
        else:
            yield heapq.heappushpop(heap, entry)
    while heap:
        yield heapq.heappop(heap)


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return {"unreadable": line.decode("utf-8", "backslashreplace").rstrip("\n")}
    return record if isinstance(record, dict) else {"unreadable": str(record)}


def export_lines(
    directory: Path,
    start: datetime,
    end: datetime,
    format: Format = "jsonl",  # noqa: A002 - the word that users know
    *,
    where: Where | None = None,
) -> Iterator[bytes]:
    """A time range as chunks of whole lines, some 64 KB each; memory does not grow with its size."""
    rows = entries(directory, start, end, where)
    return _joined(_csv(rows) if format == "csv" else _jsonl(rows))


def export(
    directory: Path,
    start: datetime,
    end: datetime,
    format: Format,  # noqa: A002 - the word that users know
    out: IO[bytes],
    *,
    where: Where | None = None,
) -> int:
    """Write a time range to `out`; how many records there were."""
    records = 0

    def counted(rows: Iterator[Entry]) -> Iterator[Entry]:
        nonlocal records
        for row in rows:
            records += 1
            yield row

    rows = counted(entries(directory, start, end, where))
    for chunk in _joined(_csv(rows) if format == "csv" else _jsonl(rows)):
        out.write(chunk)
    return records


def _jsonl(rows: Iterable[Entry]) -> Iterator[bytes]:
    """Each record as it stands in the log, with its writer in front."""
    for row in rows:
        if row.line.startswith(b"{"):
            yield b'{"writer":"%b",%b' % (row.writer.encode(), row.line[1:])
        else:
            yield msgspec.json.encode({"writer": row.writer, **_record(row.line)}) + b"\n"


def _csv(rows: Iterable[Entry]) -> Iterator[bytes]:
    buffer = io.StringIO()
    write = csv.writer(buffer, lineterminator="\r\n").writerow
    write((*COLUMNS, "more"))
    for row in rows:
        record = _record(row.line)
        record["writer"] = row.writer
        cells = [_cell(record.pop(column, None)) for column in COLUMNS]
        record.pop("hash", None)
        write((*cells, _cell(record or None)))
        yield _drained(buffer)
    yield _drained(buffer)


def _drained(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode("utf-8", "backslashreplace")


def _cell(value: object) -> object:
    """A value as a cell; text that a spreadsheet would take for a formula gets a quote in front."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_DANGEROUS) else value
    if isinstance(value, list | dict):
        return msgspec.json.encode(value).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def _joined(lines: Iterable[bytes]) -> Iterator[bytes]:
    parts: list[bytes] = []
    size = 0
    for line in lines:
        parts.append(line)
        size += len(line)
        if size >= _CHUNK_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


# --- whole segments


def segments_between(directory: Path, start: datetime, end: datetime) -> list[Path]:
    """The segments that hold records with `start <= at < end`, of all writers."""
    found: list[Path] = []
    for writer in writers(directory):
        known = segments(directory / writer)
        found += [known[number] for number in numbers_between(directory / writer, start, end)]
    return found


def numbers_between(folder: Path, start: datetime, end: datetime) -> list[int]:
    """Segments that may hold records of this time: each says which time the one before it spans."""
    numbers = list(segments(folder))
    spans = {n: span_before(folder, after) for n, after in pairwise(numbers) if after == n + 1}
    return [
        n
        for n in numbers
        if (span := spans.get(n)) is None or (span[0] - _SLACK < end and span[1] + _SLACK >= start)
    ]


def span_before(folder: Path, number: int) -> tuple[datetime, datetime] | None:
    """What a segment's first record says of the segment before; None when it cannot be read."""
    try:
        return _HEADER(first_line(folder, number)).before
    except msgspec.DecodeError:
        return None


def preserve(directory: Path, start: datetime, end: datetime, target: Path) -> list[Path]:
    """Copy the segments that hold records of that time to `target`/writer; the copies.

    May be repeated: what is there and unchanged stays, an open segment that grew is copied again.
    A copy ends with a whole record.
    """
    return [
        _copy(directory / writer, number, target / writer)
        for writer in writers(directory)
        for number in numbers_between(directory / writer, start, end)
    ]


def _copy(folder: Path, number: int, into: Path) -> Path:
    into.mkdir(parents=True, exist_ok=True)
    packed = packed_path(into, number)
    if packed.exists():
        return packed
    plain = plain_path(into, number)
    try:
        content = plain_path(folder, number).read_bytes()
    except FileNotFoundError:
        write_aside(packed, packed_path(folder, number).read_bytes())
        plain.unlink(missing_ok=True)
        sync_directory(into)
        return packed
    content = content[: content.rfind(b"\n") + 1]
    if not plain.exists() or plain.read_bytes() != content:
        write_aside(plain, content)
    return plain


class AuditArchive:
    """The audit log as what an incident's segments are copied from."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def preserve(self, start: datetime, end: datetime, target: Path) -> list[Path]:
        """See the function `preserve`."""
        return preserve(self._directory, start, end, target)
