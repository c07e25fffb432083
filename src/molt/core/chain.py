"""A hash chain over records: each line carries the hash of itself and the one before.

A line is one JSON object that ends in `,"seq":N,"hash":"H"}` and a newline. H is SHA-256, in hex,
of the previous line's H followed by this line up to and including `"hash":"`. The hash is plain,
not keyed: whoever holds a head (the last number and hash, kept apart) can prove the whole chain
with no secret, and a key on the machine that writes the log would not stop who rules that machine.
SHA-256 because processors compute it in hardware, which makes it the cheapest here, and because
every language and shell has it.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

GENESIS: Final = b"0" * 64
"""What stands for the hash before the first record."""

_CLOSE: Final = b'"}\n'
_TAIL_BYTES: Final = 120
_TAIL: Final = re.compile(rb',"seq":([1-9][0-9]{0,17}),"hash":"([0-9a-f]{64})"\}\n\Z')


class Broken(msgspec.Struct, frozen=True):
    """The first bad record: its index (from 0), the number it should have, what is wrong."""

    index: int
    seq: int
    what: str


class Seal(NamedTuple):
    """What a line says of itself: its number, its hash, and the part that was hashed."""

    seq: int
    hash: bytes
    payload: bytes


def link(previous: bytes, record: bytes) -> bytes:
    """The hash (64 hex digits, ASCII) of `record` standing behind the hash `previous`."""
    return hashlib.sha256(previous + record).hexdigest().encode()


def seal(body: bytes, seq: int, previous: bytes) -> tuple[bytes, bytes]:
    """The line, newline included, and its hash. `body` is a non-empty JSON object in one line."""
    payload = b'%b,"seq":%d,"hash":"' % (body[:-1], seq)
    digest = link(previous, payload)
    return payload + digest + _CLOSE, digest


def unseal(line: bytes) -> Seal | None:
    """What `line` says of itself, not yet checked; None when it is not a whole sealed line."""
    match = _TAIL.search(line, max(0, len(line) - _TAIL_BYTES))
    if match is None or not line.startswith(b"{"):
        return None
    return Seal(int(match[1]), match[2], line[: match.start(2)])


class Chain:
    """How far a chain has been followed; starts in front of the first record.

    A kept head `(seq, hash)` must be met on the way.
    """

    def __init__(
        self, seq: int = 0, last: bytes = GENESIS, head: tuple[int, str] | None = None
    ) -> None:
        self.seq: int = seq
        self.last: bytes = last
        self._head_seq, self._head_hash = head or (0, "")

    def extend(self, line: bytes) -> str | None:
        """Follow one line more; what is wrong with it, or None when it holds."""
        found = unseal(line)
        due = self.seq + 1
        if found is None:
            return "is not a whole record: it was changed, or cut off"
        if found.hash != link(self.last, found.payload):
            return self._diagnosis(found.seq, due)
        if found.seq != due:
            return f"has number {found.seq} where {due} is due"
        if due == self._head_seq and found.hash.decode() != self._head_hash:
            return "is not the record of the kept head: the log was rewritten"
        self.seq, self.last = due, found.hash
        return None

    def end(self) -> str | None:
        """What is wrong with ending here, or None."""
        if self.seq < self._head_seq:
            return f"is missing: the kept head says that record {self._head_seq} was written"
        return None

    def _diagnosis(self, seq: int, due: int) -> str:
        if seq > due:
            return f"is missing: record {seq} stands here, records were dropped or moved"
        if seq < due:
            return f"is due, but record {seq} stands here: it was inserted or moved"
        return "was changed, or stands behind another record than when it was written"


def verify(lines: Iterable[bytes], head: tuple[int, str] | None = None) -> Broken | None:
    """The first bad record of a whole chain, or None when it holds.

    Without `head`, (number, hex hash), a chain that was cut at its end cannot be told from a
    shorter one. The chain may go on behind its head, which is kept a little later than written.
    """
    chain = Chain(head=head)
    for line in lines:
        problem = chain.extend(line)
        if problem is not None:
            return Broken(chain.seq, chain.seq + 1, problem)
    problem = chain.end()
    return Broken(chain.seq, chain.seq + 1, problem) if problem else None
