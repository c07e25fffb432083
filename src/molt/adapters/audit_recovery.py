"""Where an audit chain goes on after a stop or a crash, and what was left half-written."""

import copy
import hashlib
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from molt.adapters.audit_segments import (
    TORN,
    Damaged,
    plain_path,
    read_lines,
    segments,
    sync,
    write_aside,
)
from molt.core.chain import GENESIS, unseal

Note = dict[str, object]
"""What is recorded about a tail that was set aside: `torn` (file name), `bytes`, `sha256`."""


class Span(NamedTuple):
    """The first and last `at` of a segment's records."""

    first: str
    last: str


class State(msgspec.Struct):
    """How far a writer's open segment has come. `before` is the span of the one before it.

    `first_at` and `last_at` are of the records behind the header.
    """

    number: int = 1
    size: int = 0
    records: int = 0
    seq: int = 0
    last: bytes = GENESIS
    first_at: str = ""
    last_at: str = ""
    before: Span | None = None

    def copy(self) -> "State":
        """The same, to be moved on while a write may still fail."""
        return copy.copy(self)

    @property
    def span(self) -> Span:
        """The time of the records so far."""
        return Span(self.first_at, self.last_at)

    def begin(self, number: int, before: Span) -> None:
        """Move to an empty segment; the chain goes on."""
        self.number, self.before = number, before
        self.size = self.records = 0
        self.first_at = self.last_at = ""

    def take(self, line: bytes) -> bool:
        """Move on by a line as it stands; False when it is not a whole record."""
        found = unseal(line)
        if found is None:
            return False
        self.seq, self.last = found.seq, found.hash
        self.size += len(line)
        self.records += 1
        if b'"kind":"segment"' in line:
            return True  # a header is not exported: its time does not count
        at = _stamp(line)
        self.first_at = min(self.first_at or at, at)
        self.last_at = max(self.last_at, at)
        return True


class _At(msgspec.Struct):
    at: str = ""


_DECODE_AT: Final = msgspec.json.Decoder(_At).decode


def _stamp(line: bytes) -> str:
    try:
        return _DECODE_AT(line).at
    except msgspec.DecodeError:
        return ""


def recover(folder: Path) -> tuple[State, list[Note]]:
    """The state to go on from, and notes about tails set aside that the chain has not recorded.

    What follows the last whole record is moved to a `.torn` file. A record that was changed is
    left where it stands: finding it is the work of `verify`, not of the next start.
    """
    for leftover in folder.glob(".*.jsonl.zst"):
        leftover.unlink()
    known = segments(folder)
    if not known:
        return State(), []
    number = max(known)
    if not plain_path(folder, number).exists():
        state = _scan(folder, number)[0]
        state.begin(number + 1, state.span)
        return state, []
    state, mentioned = _scan(folder, number)
    _set_tail_aside(folder, state)
    notes = [_note(path) for path in torn_files(folder, number) if path.name not in mentioned]
    if not state.records:
        previous = [n for n in known if n < number]
        if previous:
            state = _scan(folder, previous[-1])[0]
            state.begin(number, state.span)
    return state, notes


def torn_files(folder: Path, number: int | None = None) -> list[Path]:
    """The tails set aside, of one segment or of all."""
    return sorted(folder.glob(f"{'*' if number is None else f'{number:08d}'}-*{TORN}"))


def _scan(folder: Path, number: int) -> tuple[State, set[str]]:
    """The state behind the last whole record of a segment, and the torn files that it mentions."""
    state, mentioned = State(number=number), set[str]()
    behind = 0
    good = state.copy()
    try:
        for line in read_lines(folder, number):
            if not state.take(line):
                behind += len(line)
                continue
            state.size += behind
            behind = 0
            good = state.copy()
            if b'"kind":"recovered"' in line:
                mentioned.add(str(msgspec.json.decode(line).get("torn")))
    except Damaged:
        return good, mentioned  # verify names it; the chain goes on from what could be read
    return good, mentioned


def _set_tail_aside(folder: Path, state: State) -> None:
    path = plain_path(folder, state.number)
    with path.open("r+b") as file:
        file.seek(state.size)
        tail = file.read()
        if not tail:
            return
        write_aside(folder / f"{state.number:08d}-{state.seq}{TORN}", tail)
        file.truncate(state.size)
        sync(file)


def _note(path: Path) -> Note:
    content = path.read_bytes()
    return {
        "torn": path.name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
