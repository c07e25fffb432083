"""Slots in their table: adding, and widening the old ones."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from molt.adapters.sql import statements as q
from molt.adapters.sql.blobs import chunks, decode_slot, encode_slot
from molt.adapters.sql.database import Database
from molt.adapters.sql.values import widened
from molt.core.evidence import Slot, SlotKey

KEYS_AT_ONCE: Final = 200


async def add_slots(
    db: Database, connection: AsyncConnection, slots: Iterable[Slot], span: int = 0
) -> None:
    """Add `slots`, which may repeat keys, to what is kept; all are marked as `span` wide.

    A straggler that joins a wide slot marks it as narrow: the next folding widens it again.
    """
    new = list(slots)
    totals: dict[SlotKey, Slot] = {}
    for keys in chunks(list({slot.key for slot in new}), KEYS_AT_ONCE):
        for body in await connection.scalars(q.SLOTS_AT, _at(keys)):
            kept = decode_slot(body)
            totals[kept.key] = kept
    for slot in new:
        totals.setdefault(slot.key, Slot(slot.key)).merge(slot)
    if totals:
        rows = [_row(slot, span) for slot in totals.values()]
        await connection.execute(db.upserts.keep_slot, rows)


async def widen(db: Database, *, span: int, before: int, at_most: int) -> int:
    """Merge slots narrower than `span` seconds that start before `before`; how many there were."""
    async with db.write() as connection:
        bounds = {"span": span, "before": before, "at_most": at_most}
        bodies = (await connection.scalars(q.NARROW_SLOTS, bounds)).all()
        narrow = [decode_slot(body) for body in bodies]
        for keys in chunks([slot.key for slot in narrow], KEYS_AT_ONCE):
            await connection.execute(q.FORGET_SLOTS, _at(keys))
        await add_slots(db, connection, (widened(slot, span) for slot in narrow), span)
    return len(narrow)


def _at(keys: Sequence[SlotKey]) -> dict[str, list[Any]]:
    return {
        "rollouts": list({key.rollout for key in keys}),
        "starts": list({key.start for key in keys}),
        "keys": [(k.rollout, k.start, k.epoch, k.agent, k.arm, k.mode) for k in keys],
    }


def _row(slot: Slot, span: int) -> dict[str, Any]:
    key = slot.key
    return {
        "rollout": key.rollout,
        "start": key.start,
        "epoch": key.epoch,
        "agent": key.agent,
        "arm": key.arm,
        "mode": key.mode,
        "span": span,
        "body": encode_slot(slot),
    }
