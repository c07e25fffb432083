"""How facts are written down: one JSON text a record, each hash chained over the one before.

Hashes are those of `core.chain`. Verifying needs no secret and no knowledge of event classes: it
reads the texts as they stand.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from molt.core import chain
from molt.core.errors import StoreUnavailable, VersionConflict
from molt.core.events import AnyEvent, Recorded

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(AnyEvent)


class Row(NamedTuple):
    """A record as it is kept."""

    seq: int
    body: str
    hash: str


class Log(NamedTuple):
    """How far a log has come: the number and hash of its last record."""

    version: int = 0
    hash: str = chain.GENESIS.decode()


class BrokenRecord(NamedTuple):
    """The first record of a log that is not as Molt wrote it, and what is wrong with it."""

    rollout: str
    seq: int
    what: str


class _Summary(msgspec.Struct):
    type: str
    by: str = "molt"


_summaries: Final = msgspec.json.Decoder(_Summary)


def chained(log: Log, events: Sequence[AnyEvent]) -> list[Row]:
    """The rows of `events` behind the end of `log`."""
    rows: list[Row] = []
    last = log.hash
    for seq, event in enumerate(events, log.version + 1):
        body = _encoder.encode(event).decode()
        last = _link(last, body)
        rows.append(Row(seq, body, last))
    return rows


def _link(previous: str, body: str) -> str:
    return chain.link(previous.encode(), body.encode()).decode()


def recorded(rollout: str, row: Row) -> Recorded:
    """The fact in a row. Raises `StoreUnavailable` when the row cannot be read."""
    try:
        return Recorded(row.seq, _decoder.decode(row.body), row.hash)
    except msgspec.DecodeError as error:
        raise StoreUnavailable(
            f"Record {row.seq} of the log of rollout {rollout} cannot be read ({error}). It was "
            "changed behind Molt's back or written by a newer version: restore a backup, or run "
            "the version that wrote it"
        ) from error


def conflict(rollout: str, version: int, expected: int, since: Sequence[Row]) -> VersionConflict:
    """The error for a lost race, naming what happened since the version that was expected."""
    happened = f": {', '.join(_summary(row.body) for row in since)}" if since else ""
    return VersionConflict(
        f"Rollout {rollout} is at version {version}, not {expected}{happened}. Look again, "
        "then decide again"
    )


def _summary(body: str) -> str:
    fact = _summaries.decode(body)
    return f"{fact.type} by {fact.by}"


def first_broken(rollout: str, rows: Iterable[Row], log: Log) -> BrokenRecord | None:
    """The first record that was changed, dropped, inserted or moved; `log` shows a cut-off tail."""
    seq, last = Log()
    for seq, row in enumerate(rows, 1):
        if row.seq != seq:
            return BrokenRecord(rollout, seq, f"is missing: record {row.seq} stands in its place")
        if row.hash != _link(last, row.body):
            return BrokenRecord(
                rollout, seq, "does not follow from the record before it: it or its hash changed"
            )
        last = row.hash
    if seq < log.version:
        return BrokenRecord(rollout, seq + 1, f"is missing: the log once had {log.version} records")
    if (seq, last) != log:
        return BrokenRecord(rollout, seq, "was not written by Molt: the kept head is another one")
    return None
