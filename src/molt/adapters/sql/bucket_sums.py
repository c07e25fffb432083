"""Bucket sums in their table: one row per key and column."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec.structs import astuple
from sqlalchemy.ext.asyncio import AsyncConnection

from molt.adapters.sql import statements as q
from molt.adapters.sql.blobs import (
    Lazily,
    Sums,
    add_amounts,
    amounts_of,
    chunks,
    decode_sums,
    encode_sums,
    no_sums,
)
from molt.adapters.sql.database import Database
from molt.core.evidence import BucketSums, SumsKey

KEYS_AT_ONCE: Final = 200

Group = tuple[SumsKey, dict[str, bytes]]


async def add_sums(db: Database, connection: AsyncConnection, sums: Iterable[BucketSums]) -> None:
    """Add `sums`, which may repeat keys, to what is kept."""
    new = list(sums)
    kept: dict[tuple[SumsKey, str], Sums] = {}
    for keys in chunks([astuple(key) for key in {one.key for one in new}], KEYS_AT_ONCE):
        for *key, name, body in await connection.execute(q.SUMS_AT, {"keys": keys}):
            kept[SumsKey(*key), name] = decode_sums(body)
    touched: dict[tuple[SumsKey, str], Sums] = {}
    for one in new:
        for name, amounts in one.columns.items():
            place = (one.key, name)
            if place not in touched:
                touched[place] = kept.get(place, no_sums())
            add_amounts(touched[place], amounts)
    if touched:
        rows = [_row(key, name, total) for (key, name), total in touched.items()]
        await connection.execute(db.upserts.keep_sums, rows)


async def load_sums(connection: AsyncConnection, rollout: str) -> Sequence[BucketSums]:
    """All bucket sums of one rollout, in order of key; buckets without any are left out."""
    groups: list[Group] = []
    for *parts, name, body in await connection.execute(q.SUMS, {"rollout": rollout}):
        key = SumsKey(*parts)
        if not groups or groups[-1][0] != key:
            groups.append((key, {}))
        groups[-1][1][name] = body
    return Lazily(groups, _sums_of)


def _sums_of(group: Group) -> BucketSums:
    key, bodies = group
    return BucketSums(key, {name: amounts_of(decode_sums(body)) for name, body in bodies.items()})


def _row(key: SumsKey, name: str, total: Sums) -> dict[str, Any]:
    return {
        "rollout": key.rollout,
        "epoch": key.epoch,
        "tier": key.tier,
        "agent": key.agent,
        "arm": key.arm,
        "mode": key.mode,
        "name": name,
        "body": encode_sums(total),
    }
