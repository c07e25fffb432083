"""Slots, bucket sums, outcomes and seen subjects.

Merging is: read, add, write back, in one transaction that no other writer interleaves with.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from msgspec.structs import asdict
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection

from molt.adapters.sql import statements as q
from molt.adapters.sql.blobs import Lazily, chunks, decode_slot
from molt.adapters.sql.bucket_sums import add_sums, load_sums
from molt.adapters.sql.calls import add_calls
from molt.adapters.sql.database import Database, settled
from molt.adapters.sql.slots import add_slots, widen
from molt.adapters.sql.values import (
    CALLS_KEPT,
    FORGET_EVERY,
    RUNS_KEPT,
    SILENT_GATEWAYS_KEPT,
    folding,
)
from molt.core.errors import VersionConflict
from molt.core.evidence import Batch, BucketSums, Outcome, Seen, Slot

IDS_AT_ONCE: Final = 500
FOLDED_AT_ONCE: Final = 250
"""Slots widened in one transaction: others wait for it no longer than some 10 ms."""
FOLD_ROUNDS: Final = 40
"""Transactions in one call of `fold`."""


class Evidence:
    """Slots, bucket sums, outcomes and seen subjects; merging is addition."""

    _db: Database
    _now: Callable[[], datetime]

    @settled
    async def ingest(self, batch: Batch) -> Sequence[Seen] | None:
        """Fold `batch` in, in one transaction; None when this (gateway, sequence) was known.

        Returns those of `batch.seen` that no gateway had reported before. A sequence number more
        than `BATCHES_KEPT` below the gateway's newest counts as known.
        """
        async with self._db.write() as connection:
            if not await self._number(connection, batch.gateway, batch.sequence):
                return None
            await add_slots(self._db, connection, batch.slots)
            await add_sums(self._db, connection, batch.sums)
            await add_calls(self._db, connection, batch.calls)
            return await _add_seen(connection, batch.seen)

    async def _number(self, connection: AsyncConnection, gateway: str, sequence: int) -> bool:
        """Note the number of a batch; False when it was known."""
        place: dict[str, Any] = {"gateway": gateway, "sequence": sequence}
        added = await connection.execute(
            self._db.upserts.add_batch, {**place, "received_at": self._now()}
        )
        if sequence % FORGET_EVERY == 0:
            await connection.execute(q.FORGET_BATCHES, {"gateway": gateway})
        return added.rowcount == 1

    @settled
    async def add_outcomes(
        self, rollout: str, outcomes: Sequence[Outcome], sums: Sequence[BucketSums]
    ) -> None:
        """Keep `outcomes` and fold the `sums` made from them, in one transaction.

        Does nothing when all `outcomes` are kept already. When some are, raises `VersionConflict`
        and adds none: their sums would count twice.
        """
        rows = {o.id: {"rollout": rollout, **asdict(o)} for o in outcomes}
        async with self._db.write() as connection:
            known = await _known(connection, q.KNOWN_OUTCOMES, rollout, "ids", list(rows))
            if rows and len(known) == len(rows):
                return
            if known:
                raise VersionConflict(
                    f"{len(known)} of {len(rows)} outcomes of rollout {rollout} were kept in the "
                    "meantime. Look again which are known, then report the others"
                )
            if rows:
                await connection.execute(q.ADD_OUTCOME, list(rows.values()))
            await add_sums(self._db, connection, sums)

    @settled
    async def known_outcomes(self, rollout: str, ids: Sequence[str]) -> set[str]:
        """Which of `ids` have been kept already."""
        async with self._db.read() as connection:
            return await _known(connection, q.KNOWN_OUTCOMES, rollout, "ids", ids)

    @settled
    async def known_subjects(self, rollout: str, subjects: Sequence[str]) -> set[str]:
        """Which of these subject hashes have been seen."""
        async with self._db.read() as connection:
            return await _known(connection, q.KNOWN_SUBJECTS, rollout, "subjects", subjects)

    @settled
    async def slots(self, rollout: str, since: int = 0, until: int | None = None) -> Sequence[Slot]:
        """Slots of one rollout with `since <= start < until` (unix seconds), in order of start."""
        async with self._db.read() as connection:
            bounds = {
                "rollout": rollout,
                "since": since,
                "until": q.FOR_EVER if until is None else until,
            }
            rows = await connection.scalars(q.SLOTS, bounds)
            return Lazily(rows.all(), decode_slot)

    @settled
    async def sums(self, rollout: str) -> Sequence[BucketSums]:
        """All bucket sums of one rollout; buckets whose sum is zero are left out."""
        async with self._db.read() as connection:
            return await load_sums(connection, rollout)

    @settled
    async def new_subjects(self, rollout: str) -> Mapping[int, tuple[int, int]]:
        """Per epoch, how many subjects were first seen on (candidate, control)."""
        async with self._db.read() as connection:
            rows = await connection.execute(q.NEW_SUBJECTS, {"rollout": rollout})
            return {epoch: (candidate, control) for epoch, candidate, control in rows}

    @settled
    async def outcomes(
        self, rollout: str, since: datetime, kinds: Sequence[str] | None = None
    ) -> Sequence[Outcome]:
        """Outcomes of one rollout that happened at `since` or later, in order of time."""
        bounds: dict[str, Any] = {"rollout": rollout, "since": since}
        statement = q.OUTCOMES
        if kinds is not None:
            statement, bounds["kinds"] = q.OUTCOMES_OF_KINDS, list(kinds)
        async with self._db.read() as connection:
            rows = await connection.execute(statement, bounds)
            return [Outcome(*row[1:]) for row in rows]

    @settled
    async def fold(self, now: datetime) -> None:
        """Merge slots older than a day to minutes, older than two weeks to hours.

        Also forgets runs and silent gateways. One call does a bounded amount of work in short
        transactions; what is left over is for the next.
        """
        rounds = FOLD_ROUNDS
        for span, before in folding(now):
            found = FOLDED_AT_ONCE
            while rounds and found == FOLDED_AT_ONCE:
                found = await widen(self._db, span=span, before=before, at_most=FOLDED_AT_ONCE)
                rounds -= 1
        async with self._db.write() as connection:
            await connection.execute(
                q.FORGET_SILENT_GATEWAYS, {"before": now - SILENT_GATEWAYS_KEPT}
            )
            await connection.execute(q.FORGET_RUNS, {"before": now - RUNS_KEPT})
            await connection.execute(q.FORGET_CALLS, {"before": now - CALLS_KEPT})


async def _add_seen(connection: AsyncConnection, seen: Sequence[Seen]) -> list[Seen]:
    """Keep subjects, the first report of each; returns those that are new."""
    first: dict[tuple[str, str], Seen] = {}
    for one in seen:
        first.setdefault((one.rollout, one.subject), one)
    for rollout in {one.rollout for one in seen}:
        subjects = [subject for r, subject in first if r == rollout]
        for known in await _known(connection, q.KNOWN_SUBJECTS, rollout, "subjects", subjects):
            del first[rollout, known]
    if first:
        await connection.execute(q.ADD_SEEN, [asdict(one) for one in first.values()])
    return list(first.values())


async def _known(
    connection: AsyncConnection,
    statement: Select[str],
    rollout: str,
    name: str,
    ids: Sequence[str],
) -> set[str]:
    known: set[str] = set()
    for some in chunks(ids, IDS_AT_ONCE):
        known.update(await connection.scalars(statement, {"rollout": rollout, name: some}))
    return known
