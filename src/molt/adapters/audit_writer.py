"""The writer of one audit chain: `append` is a list append, `flush` writes in slices off the hot path.

Nothing is raised on the hot path. When records cannot be kept, `flush` raises and `failed` says
why; they stay queued, in bounds, and are written once the disk works again.
"""

import os
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import msgspec
import structlog
import zstandard

from molt.adapters import audit_recovery, audit_segments
from molt.core.chain import seal
from molt.core.evidence import Head
from molt.ports import Clock

log = structlog.get_logger(__name__)

Record = Mapping[str, object] | msgspec.Struct

SEGMENT_BYTES: Final = 64 << 20
SEGMENT_SECONDS: Final = 3600.0
RETRY_SECONDS: Final = 1.0
SYNC_SECONDS: Final = 5.0
"""What was written is on the disk at most about this much later."""
MOST_PENDING: Final = 200_000
_MOST_AT_ONCE: Final = 1 << 20
_SLICE: Final = 32
"""Records between two looks at the time: some 50 microseconds."""


class AuditWriter:
    """One chain in `directory`/`writer`, on one thread; a second writer of it is kept out.

    Opening continues the chain, and sets a torn tail aside. That it cannot be opened or written
    now is never raised by the constructor: `failed` says so, and each `flush` tries again.
    `append` keeps the record itself: do not change it afterwards; `seq` and `hash` are reserved.
    """

    def __init__(
        self,
        directory: Path,
        writer: str,
        clock: Clock,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        segment_seconds: float = SEGMENT_SECONDS,
        sync_seconds: float = SYNC_SECONDS,
    ) -> None:
        self.writer = audit_segments.check_writer(writer)
        self.failed: str | None = None
        self.lost = 0
        self._folder = directory / writer
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._segment_seconds = segment_seconds
        self._pending: deque[Record] = deque()
        self._state = audit_recovery.State()
        self._file = -1
        self._lock = -1
        self._opened_at = 0.0
        self._recover_after = float("-inf")
        self._torn = False
        self._sync_seconds = sync_seconds
        self._synced_at = clock.monotonic()
        self._synced = 0
        self._sync_error: str | None = None
        self._threads: list[threading.Thread] = []
        try:
            self._open()
        except OSError as error:
            self.failed = str(error)

    @property
    def pending(self) -> int:
        """How many records wait to be written."""
        return len(self._pending)

    def append(self, record: Record) -> None:
        """Queue one record; O(1). With `MOST_PENDING` waiting it is counted as `lost` instead."""
        if len(self._pending) < MOST_PENDING:
            self._pending.append(record)
        else:
            self.lost += 1

    def head(self) -> Head:
        """The last record written."""
        return Head(self.writer, self._state.seq, self._state.last.decode())

    def flush(self, budget_ms: float | None = 1.0) -> None:
        """Write what is queued, for about `budget_ms` (None: all); `pending` says what is left.

        Raises OSError when it cannot be kept; nothing is lost then but what exceeds the bounds.
        """
        until = float("inf") if budget_ms is None else perf_counter() + budget_ms / 1000
        try:
            if self._file < 0:
                self._open()
            if self.lost and self.failed is None:
                self._pending.append({"at": None, "kind": "lost", "records": self.lost})
                self.lost = 0
            if self._pending or not self._state.records:
                self._check_file()
                self._write_pending(until)
            self._sync_if_due()
        except OSError as error:
            first, self.failed = self.failed is None, str(error)
            if first:  # said last: on a full disk the log may not be writable either
                log.error("audit_log_failed", writer=self.writer, error=str(error))
            raise
        self.failed = None

    def close(self) -> None:
        """Write everything, put it on the disk, finish compressing, let the next writer in.

        Raises OSError when records could not be kept.
        """
        self._recover_after = float("-inf")
        try:
            self.flush(None)
            os.fsync(self._file)
        finally:
            for thread in self._threads:
                thread.join()
            for handle in (self._file, self._lock):
                if handle >= 0:
                    os.close(handle)
            self._file = self._lock = -1

    # --- segments

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        if self._lock < 0:
            self._lock = audit_segments.lock(self._folder)
        now = self._clock.monotonic()
        if now < self._recover_after:  # it reads a segment: not on every tick of a broken disk
            raise OSError(self.failed)
        self._recover_after = now + RETRY_SECONDS
        self._opened_at = now
        state, notes = audit_recovery.recover(self._folder)
        self._file, self._state = self._handle(state.number), state
        for note in notes:
            self._pending.appendleft({"at": None, "kind": "recovered", **note})
            log.warning("audit_tail_set_aside", writer=self.writer, **note)
        for number in audit_segments.segments(self._folder):
            if number < state.number and audit_segments.plain_path(self._folder, number).exists():
                self._pack(number)
        self._write_pending(float("inf"))

    def _handle(self, number: int) -> int:
        path = audit_segments.plain_path(self._folder, number)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(path, flags, 0o640)

    def _write_header(self) -> None:
        """The first record of a segment: where it belongs, and which time the one before spans."""
        before = self._state.before
        header = {
            "at": None,
            "kind": "segment",
            "writer": self.writer,
            "segment": self._state.number,
            "prev": self._state.last.decode(),
            "before": None if before is None else list(before),
        }
        state = self._state.copy()
        sealed = self._seal([header], state)
        state.first_at = state.last_at = ""
        self._put(sealed, state)

    def _is_full(self) -> bool:
        aged = self._clock.monotonic() - self._opened_at > self._segment_seconds
        return self._state.size >= self._segment_bytes or (aged and self._state.records > 1)

    def _rotate(self) -> None:
        """Begin the next segment behind the present one, which is then compressed in a thread."""
        closed, number = self._file, self._state.number
        self._file = self._handle(number + 1)
        self._state.begin(number + 1, self._state.span)
        self._opened_at = self._clock.monotonic()
        os.close(closed)
        self._pack(number)

    def _pack(self, number: int) -> None:
        self._start(threading.Thread(target=self._packed, args=(number,), name="audit-pack"))

    def _start(self, thread: threading.Thread) -> None:
        self._threads = [other for other in self._threads if other.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _packed(self, number: int) -> None:
        try:
            audit_segments.pack(self._folder, number)
        except (
            OSError,
            zstandard.ZstdError,
        ) as error:  # it stays plain, which is as good; the next start tries again
            log.warning("audit_segment_left_plain", segment=number, error=str(error))

    def _sync_if_due(self) -> None:
        """Put what was written on the disk, in a thread, for that may take long.

        Raises OSError from a time that it failed until one that it did not.
        """
        failed, now = self._sync_error, self._clock.monotonic()
        wait = self._sync_seconds if failed is None else RETRY_SECONDS
        news = failed is not None or self._synced != self._state.seq
        if news and now - self._synced_at >= wait:
            self._synced_at, self._synced = now, self._state.seq
            handle = os.dup(self._file)
            self._start(threading.Thread(target=self._sync, args=(handle,), name="audit-sync"))
        if failed is not None:
            raise OSError(failed)

    def _sync(self, handle: int) -> None:
        try:
            os.fsync(handle)
        except OSError as error:
            self._sync_error = str(error)
        else:
            self._sync_error = None
        finally:
            os.close(handle)

    def _check_file(self) -> None:
        """Go on in a new segment when somebody else removed or changed the open one."""
        if self._torn:
            os.ftruncate(self._file, self._state.size)
            self._torn = False
        found = os.fstat(self._file)
        if found.st_nlink and found.st_size == self._state.size:
            return
        seen = "removed" if not found.st_nlink else f"{found.st_size} bytes long"
        damage = {"at": None, "kind": "damaged", "segment": self._state.number, "found": seen}
        log.error("audit_segment_damaged", writer=self.writer, **damage)
        self._rotate()
        self._pending.appendleft(damage)

    # --- records

    def _write_pending(self, until: float) -> None:
        """Write queued records until then, each segment behind its header."""
        while self._pending or not self._state.records:
            if self._is_full():
                self._rotate()
            if not self._state.records:
                self._write_header()
            self._write_slice(until)
            if perf_counter() >= until:
                return

    def _write_slice(self, until: float) -> None:
        pending = self._pending
        batch: list[Record] = []
        sealed: list[bytes] = []
        state = self._state.copy()
        most = min(self._segment_bytes, state.size + _MOST_AT_ONCE)
        try:
            while pending and state.size < most:
                records = [pending.popleft() for _ in range(min(_SLICE, len(pending)))]
                batch += records
                sealed += self._seal(records, state)
                if perf_counter() >= until:
                    break
            self._put(sealed, state)
        except OSError:
            pending.extendleft(reversed(batch))
            raise

    def _seal(self, records: Sequence[Record], state: audit_recovery.State) -> list[bytes]:
        """The records' lines behind `state`, which moves on by them."""
        lines: list[bytes] = []
        seq, last, first_at, last_at = state.seq, state.last, state.first_at, state.last_at
        for record in records:
            if type(record) is not dict or type(record.get("at")) is not str:
                record = self._dated(record)
            at: Any = record["at"]
            try:
                body = _ENCODE(record)
            except (TypeError, ValueError, RecursionError):
                body = _ENCODE({"at": at, "kind": "unreadable", "text": ascii(record)[:4000]})
            seq += 1
            line, last = seal(body, seq, last)
            lines.append(line)
            if at < first_at or not first_at:
                first_at = at
            if at > last_at:
                last_at = at
        state.seq, state.last, state.first_at, state.last_at = seq, last, first_at, last_at
        state.size += sum(map(len, lines))
        state.records += len(lines)
        return lines

    def _dated(self, record: Record) -> dict[str, object]:
        """The record as a dict whose `at` is text: RFC 3339, UTC, milliseconds."""
        plain: dict[str, object] = (
            msgspec.to_builtins(record, builtin_types=(datetime,))
            if isinstance(record, msgspec.Struct)
            else dict(record)
        )
        at = plain.get("at")
        if type(at) is str:
            return plain
        when = at.astimezone(UTC) if isinstance(at, datetime) else self._clock.now()
        text = when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {**plain, "at": text}

    def _put(self, sealed: list[bytes], state: audit_recovery.State) -> None:
        """Write whole lines and move to `state`, or leave file and chain as they were."""
        content = b"".join(sealed)
        try:
            written = 0
            while written < len(content):
                written += os.write(self._file, content[written:] if written else content)
        except OSError:
            self._torn = True
            os.ftruncate(self._file, self._state.size)
            self._torn = False
            raise
        self._state = state


def _plain(value: object) -> object:
    """What JSON has no form for, as something it has."""
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


_ENCODE: Final = msgspec.json.Encoder(enc_hook=_plain).encode
