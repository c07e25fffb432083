"""The proof that nothing in an audit log was changed, dropped, inserted, reordered or cut off."""

import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from molt.adapters.audit_recovery import torn_files
from molt.adapters.audit_segments import (
    Damaged,
    is_live,
    read_lines,
    segments,
    write_aside,
    writers,
)
from molt.adapters.problems import ConfigError, Problem
from molt.core.chain import GENESIS, Chain
from molt.core.evidence import Head, Start

_RECOVERED: Final = b'"kind":"recovered"'


class Bad(msgspec.Struct, frozen=True):
    """The first bad record of a writer: its segment, its line there (from 1), its number, what."""

    writer: str
    segment: int
    line: int
    seq: int
    what: str

    def __str__(self) -> str:
        place = f"segment {self.segment:08d}, line {self.line}"
        return f"writer {self.writer}, {place}: record {self.seq} {self.what}"


class Report(msgspec.Struct, frozen=True):
    """What `verify` found. `writers` has each writer's last good record; `bad` one per writer.

    `unanchored` names writers without a kept head: nobody can tell whether their tail was cut.
    `starts` are those of writers whose earlier records were removed by retention.
    """

    ok: bool
    records: int
    writers: dict[str, int]
    bad: tuple[Bad, ...] = ()
    unanchored: tuple[str, ...] = ()
    starts: tuple[Start, ...] = ()

    @property
    def first_bad(self) -> Bad | None:
        """The first bad record of the first bad writer."""
        return self.bad[0] if self.bad else None

    def as_data(self) -> dict[str, Any]:
        """The same as plain JSON data, with `first_bad`, and a `text` for it and for each start."""
        first = self.first_bad
        data: dict[str, Any] = msgspec.to_builtins(self)
        data["starts"] = [{**msgspec.to_builtins(s), "text": str(s)} for s in self.starts]
        data["first_bad"] = first and {**msgspec.to_builtins(first), "text": str(first)}
        return data


def verify(
    directory: Path, heads: Mapping[str, Head], starts: Mapping[str, Start] | None = None
) -> Report:
    """Follow every chain in `directory` to its end; it must meet its kept head on the way.

    A chain begins with its first record, or with the one that `starts`, kept by retention, names.

    A chain may be longer than its head, which lags. Without `heads`, cut tails and missing writers
    cannot be seen. A half-written last line is no fault while its writer is alive.
    """
    records, reached, bad = 0, dict[str, int](), list[Bad]()
    starts = starts or {}
    present = writers(directory)
    named = (name for name, head in heads.items() if head.seq)
    for writer in sorted({*present, *named, *starts}):
        start = starts.get(writer)
        follower = Follower(directory / writer, writer, heads.get(writer), start)
        found = follower.follow()
        if found is not None:
            bad.append(found)
        reached[writer] = follower.chain.seq
        records += follower.chain.seq - (start.seq - 1 if start else 0)
    unanchored = tuple(name for name in present if name not in heads)
    kept = tuple(starts[name] for name in sorted(starts))
    return Report(not bad, records, reached, tuple(bad), unanchored, kept)


class Follower:
    """Goes along one writer's chain until its end or the first bad record."""

    def __init__(
        self, folder: Path, writer: str, head: Head | None = None, start: Start | None = None
    ) -> None:
        self.chain = Chain(
            start.seq - 1 if start else 0,
            start.previous.encode() if start else GENESIS,
            (head.seq, head.hash) if head else None,
        )
        self._first = start.segment if start else 1
        self._least = start.segment if start else 0
        self._folder = folder
        self._writer = writer
        self._line = 0
        self._segment = self._first
        self._torn: dict[str, tuple[int, int, int, str]] = {}

    def follow(self) -> Bad | None:
        """The first bad record of the whole chain; None when it holds."""
        last = max(max(segments(self._folder), default=0), self._least)
        bad = self._follow_to(last, last)
        if bad is not None:
            return bad
        problem = self.chain.end()
        if problem is not None:
            self._line += 1
            return self._bad(problem)
        return self._torn_problem()

    def follow_closed(self, last: int) -> Bad | None:
        """The first bad record of its segments up to and with the closed one `last`."""
        return self._follow_to(last, None)

    def _follow_to(self, until: int, opened: int | None) -> Bad | None:
        live = is_live(self._folder)
        for number in range(self._first, until + 1):
            self._segment, self._line = number, 0
            try:
                problem = self._segment_problem(number, number == opened, live)
            except FileNotFoundError:
                problem = "is missing with its whole segment"
            except (Damaged, OSError) as error:
                problem = f"cannot be read: {error}"
            if problem is not None:
                return self._bad(problem)
        return None

    def _bad(self, what: str) -> Bad:
        return Bad(self._writer, self._segment, max(self._line, 1), self.chain.seq + 1, what)

    def _segment_problem(self, number: int, last: bool, live: bool) -> str | None:
        for line in read_lines(self._folder, number):
            self._line += 1
            if last and live and not line.endswith(b"\n"):
                self._line -= 1
                return None  # being written at this moment
            problem = self.chain.extend(line)
            if problem is None and self._line == 1:
                problem = self._header_problem(line, number)
            if problem is not None:
                return problem
            if _RECOVERED in line:
                self._note_torn(line)
        return None if self._line or last else "is missing: its segment is empty"

    def _header_problem(self, line: bytes, number: int) -> str | None:
        header = _decoded(line)
        if (header.get("kind"), header.get("writer")) != ("segment", self._writer):
            return f"does not begin a segment of {self._writer}: the file belongs elsewhere"
        if header.get("segment") != number:
            return f"begins segment {header.get('segment')}: the file was renamed"
        return None

    def _note_torn(self, line: bytes) -> None:
        record = _decoded(line)
        if record.get("kind") == "recovered":
            place = (self._segment, self._line, self.chain.seq, str(record.get("sha256")))
            self._torn[str(record.get("torn"))] = place

    def _torn_problem(self) -> Bad | None:
        """Tails that were set aside are held to what the chain says of them."""
        begins = f"{self._first:08d}"
        found = {p.name: p for p in torn_files(self._folder) if p.name >= begins}
        for name, (segment, line, seq, digest) in self._torn.items():
            if name < begins:
                continue  # removed with its segment
            path = found.pop(name, None)
            if path is None:
                what = f"set a tail aside in {name}, which is missing"
            elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                what = f"set a tail aside in {name}, which was changed"
            else:
                continue
            return Bad(self._writer, segment, line, seq, what)
        if found and not is_live(self._folder):
            what = f"says nothing of {min(found)}: the file belongs elsewhere"
            return Bad(self._writer, self._segment, self._line, self.chain.seq, what)
        return None


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        record = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return {}
    return record if isinstance(record, dict) else {}


class _Kept(msgspec.Struct):
    heads: dict[str, Head] = {}
    mac: str | None = None


class HeadsFile:
    """Heads in one JSON file, kept outside the log so that it can be verified offline.

    With `key`, the file carries a MAC, and one that was changed by somebody else is refused.
    """

    def __init__(self, path: Path, key: bytes | None = None) -> None:
        self.path = path
        self._key = key

    def read(self) -> dict[str, Head]:
        """The kept heads by writer; empty when none were kept. Raises `ConfigError`."""
        try:
            kept = msgspec.json.decode(self.path.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError as error:
            raise self._unusable(f"not a file of heads: {error}") from None
        if self._key is not None and not hmac.compare_digest(kept.mac or "", self._mac(kept.heads)):
            raise self._unusable("its MAC does not fit: somebody else changed it")
        return kept.heads

    def save(self, heads: Iterable[Head]) -> None:
        """Keep each head that is further than the kept one, in one step. Raises OSError."""
        kept = self.read()
        further = {h.writer: h for h in heads if h.seq > getattr(kept.get(h.writer), "seq", 0)}
        if not further:
            return
        new = {**kept, **further}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        mac = None if self._key is None else self._mac(new)
        write_aside(self.path, msgspec.json.encode(_Kept(new, mac)))

    def _mac(self, heads: Mapping[str, Head]) -> str:
        content = msgspec.json.encode(heads, order="deterministic")
        return hashlib.blake2b(content, key=self._key or b"", digest_size=32).hexdigest()

    def _unusable(self, text: str) -> ConfigError:
        return ConfigError([Problem(os.fspath(self.path), "", text)])
