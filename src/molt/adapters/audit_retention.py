"""Retention: old segments of the audit log are removed, and where it begins since is kept apart.

Only what was proven is removed: a damaged chain stays as it is, so that `verify` goes on naming
what happened to it. The new start is kept before a file goes; a crash in between leaves files in
front of it, which the next round removes. The newest segment of a writer always stays.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final, Protocol

import msgspec
import structlog

from molt.adapters.audit_export import span_before
from molt.adapters.audit_recovery import torn_files
from molt.adapters.audit_segments import (
    Damaged,
    first_line,
    packed_path,
    plain_path,
    segments,
    sync_directory,
    writers,
)
from molt.adapters.audit_verify import Follower, Report, verify
from molt.core.errors import MoltError
from molt.core.evidence import Head, Start
from molt.ports import Clock

log = structlog.get_logger(__name__)

ROUND_SECONDS: Final = 600.0
_SETTING: Final = "audit.starts"
_STARTS: Final = msgspec.json.Decoder(dict[str, Start])

Starts = Mapping[str, Start]


class AnchorStore(Protocol):
    """Where heads and starts are kept, apart from the log."""

    async def heads(self) -> Mapping[str, Head]: ...
    async def setting(self, key: str) -> str | None: ...
    async def set_setting(self, key: str, value: str) -> None: ...


async def kept_starts(store: AnchorStore) -> Starts:
    """The kept starts by writer."""
    body = await store.setting(_SETTING)
    return {} if body is None else _STARTS.decode(body)


async def prove(directory: Path, store: AnchorStore) -> Report:
    """`verify` with what `store` keeps, in a thread."""
    heads, starts = await store.heads(), await kept_starts(store)
    return await asyncio.to_thread(verify, directory, heads, starts)


class Retention:
    """Removes what is older than `keep` from the log in `directory`."""

    def __init__(self, directory: Path, keep: timedelta, store: AnchorStore, clock: Clock) -> None:
        self._directory = directory
        self._keep = keep
        self._store = store
        self._clock = clock

    async def run(self, record: Callable[[Mapping[str, object]], None]) -> None:
        """A round now and every ten minutes; what was removed is put on record."""
        while True:
            try:
                for start in await self.once():
                    record(_fact(start))
            except (MoltError, OSError, msgspec.DecodeError) as error:
                log.error("audit_retention_failed", error=str(error))
            await self._clock.sleep(ROUND_SECONDS)

    async def once(self) -> list[Start]:
        """Remove what is due, oldest first; the new starts. Raises `MoltError`, OSError."""
        now, kept = self._clock.now(), await kept_starts(self._store)
        new = await asyncio.to_thread(new_starts, self._directory, kept, now - self._keep, now)
        starts = {**kept, **{start.writer: start for start in new}}
        if new:
            await self._store.set_setting(_SETTING, msgspec.json.encode(starts).decode())
        for start in starts.values():
            await asyncio.to_thread(_remove_before, self._directory / start.writer, start)
        return new


def _fact(start: Start) -> Mapping[str, object]:
    """A start as a record; `seq` and `hash` are the record's own."""
    return {
        "at": None,
        "kind": "retention",
        "of": start.writer,
        "first_kept": {"segment": start.segment, "record": start.seq, "at": start.at},
        "previous": start.previous,
        "removed_at": start.removed_at,
    }


def new_starts(directory: Path, kept: Starts, before: datetime, now: datetime) -> list[Start]:
    """Where the chains begin once all segments that end before `before` are gone."""
    found = (
        _new_start(directory, name, kept.get(name), before, now) for name in writers(directory)
    )
    return [start for start in found if start is not None]


def _new_start(
    directory: Path, writer: str, kept: Start | None, before: datetime, now: datetime
) -> Start | None:
    folder, first = directory / writer, kept.segment if kept else 1
    number = _first_kept(folder, first, before)
    if number == first:
        return None
    follower = Follower(folder, writer, start=kept)
    bad = follower.follow_closed(number - 1)
    previous = follower.chain.last.decode()
    try:
        line = first_line(folder, number)
    except (Damaged, FileNotFoundError):
        line = b""
    problem = bad or follower.chain.extend(line)
    if problem is not None:
        log.warning("audit_retention_stopped", writer=writer, found=str(problem))
        return None
    at: str = msgspec.json.decode(line)["at"]
    removed_at = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    return Start(writer, number, follower.chain.seq, previous, at, removed_at)


def _first_kept(folder: Path, first: int, before: datetime) -> int:
    """The first segment that is not over yet at `before`; each says when the one before it ended."""
    for number, after in pairwise(n for n in segments(folder) if n >= first):
        span = span_before(folder, after)
        if span is None or span[1] >= before:
            return number
        first = after
    return first


def _remove_before(folder: Path, start: Start) -> None:
    gone = [number for number in segments(folder) if number < start.segment]
    for number in gone:
        plain_path(folder, number).unlink(missing_ok=True)
        packed_path(folder, number).unlink(missing_ok=True)
        for torn in torn_files(folder, number):
            torn.unlink()
    if gone:
        sync_directory(folder)
