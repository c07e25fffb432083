"""The newest records of a time range of the audit log, page by page back to its beginning."""

import heapq
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from molt.adapters.audit_export import (
    Entry,
    Where,
    numbers_between,
    segment_entries,
    span_before,
)
from molt.adapters.audit_segments import segments, writers

_SLACK: Final = timedelta(seconds=1)
_NEXT: Final = timedelta(microseconds=1)
_OPEN: Final = datetime.max.replace(tzinfo=UTC) - _SLACK
_READ: Final = 100_000
"""Records that a search reads for one page, about two seconds' work; then it shows how far it came."""


class Cursor(NamedTuple):
    """Where a page begins: at this moment, without the newest `skip` records of the moment."""

    at: datetime
    skip: int = 0


class Page(NamedTuple):
    """Records, newest first, and where older ones begin: None when the range is through.

    With less than a page of records and an `older`, the search had read enough: between this page
    and that moment is no other record of it.
    """

    entries: list[Entry]
    older: Cursor | None


class _Segment(NamedTuple):
    until: datetime
    writer: str
    number: int


def newest(
    directory: Path,
    start: datetime,
    cursor: Cursor,
    where: Where | None = None,
    *,
    limit: int,
    most: int = _READ,
) -> Page:
    """At most `limit` records with `start <= at <= cursor.at`, newest first.

    Segments are read from the newest back, no further than is needed: memory holds one page, and a
    page of a long range costs what one of a short range does.
    """
    end, need, read = cursor.at + _NEXT, limit + cursor.skip + 1, 0

    def wanted(record: Mapping[str, Any]) -> bool:
        nonlocal read
        read += 1
        return where is None or where(record)

    found: list[Entry] = []
    for one in _segments(directory, start, end):
        if len(found) == need and one.until < found[0].at:
            break
        if read > most and one.until < cursor.at:
            known = sorted((e for e in found if e.at > one.until), reverse=True)
            return _page(known, cursor, limit, Cursor(one.until))
        asked = wanted if where else None
        for entry in segment_entries(
            directory / one.writer, one.writer, one.number, start, end, asked
        ):
            if len(found) < need:
                heapq.heappush(found, entry)
            else:
                heapq.heappushpop(found, entry)
    return _page(sorted(found, reverse=True), cursor, limit, None)


def _page(found: list[Entry], cursor: Cursor, limit: int, beyond: Cursor | None) -> Page:
    """The records behind the cursor; `beyond` is where to go on when they are not even a page."""
    rest = found[cursor.skip :]
    shown = rest[:limit]
    if len(rest) <= limit:
        return Page(shown, beyond)
    last = shown[-1].at
    return Page(shown, Cursor(last, sum(e.at == last for e in found[: cursor.skip + limit])))


def _segments(directory: Path, start: datetime, end: datetime) -> list[_Segment]:
    """What may hold records of this time, the newest first; `until` is no earlier than the last."""
    found: list[_Segment] = []
    for writer in writers(directory):
        folder = directory / writer
        known = segments(folder)
        for number in numbers_between(folder, start, end):
            span = span_before(folder, number + 1) if number + 1 in known else None
            found.append(_Segment((span[1] if span else _OPEN) + _SLACK, writer, number))
    return sorted(found, reverse=True)
