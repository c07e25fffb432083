"""Bucket sums in their table: one row per key and column."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from msgspec.structs import astuple
from sqlalchemy.ext.asyncio import AsyncConnection

from molt.adapters.sql import statements as q
from molt.adapters.sql.blobs import (
    NO_SUMS,
    SUMS_BYTES,
    Lazily,
    amounts_of,
    checked,
    chunks,
    decode_sums,
    encode_sums,
)
from molt.adapters.sql.database import Database
from molt.core.assignment import STATISTICS_BUCKETS
from molt.core.evidence import BucketSums, SumsKey

KEYS_AT_ONCE: Final = 200

Place = tuple[SumsKey, str]
Group = tuple[SumsKey, dict[str, bytes]]


async def add_sums(db: Database, connection: AsyncConnection, sums: Iterable[BucketSums]) -> None:
    """Add `sums`, which may repeat keys, to what is kept.

    All rows are added at once as one table of numbers: a row at a time would cost ten times more.
    """
    places: dict[Place, int] = {}
    rows: list[int] = []
    sizes: list[int] = []
    buckets: list[int] = []
    amounts: list[float] = []
    for one in sums:
        for name, by_bucket in one.columns.items():
            rows.append(places.setdefault((one.key, name), len(places)))
            sizes.append(len(by_bucket))
            buckets.extend(by_bucket)
            amounts.extend(by_bucket.values())
    if not places:
        return
    totals = decode_sums(b"".join(await _bodies(connection, places)))
    at = np.repeat(np.array(rows) * STATISTICS_BUCKETS, sizes) + checked(buckets)
    np.add.at(totals, at, amounts)
    await connection.execute(db.upserts.keep_sums, list(_rows(places, encode_sums(totals))))


async def _bodies(connection: AsyncConnection, places: dict[Place, int]) -> list[bytes]:
    """What is kept at `places`, in their order."""
    bodies = [NO_SUMS] * len(places)
    for keys in chunks(list({key for key, _ in places}), KEYS_AT_ONCE):
        for *key, name, body in await connection.execute(q.SUMS_AT, _at(keys)):
            row = places.get((SumsKey(*key), name))
            if row is not None:
                bodies[row] = body
    return bodies


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


def _at(keys: Sequence[SumsKey]) -> dict[str, list[Any]]:
    return {
        "rollouts": list({key.rollout for key in keys}),
        "epochs": list({key.epoch for key in keys}),
        "keys": [astuple(key) for key in keys],
    }


def _rows(places: Iterable[Place], bodies: bytes) -> Iterator[dict[str, Any]]:
    """The rows to keep at `places`, cut from `bodies` in their order."""
    body = memoryview(bodies)
    for i, (key, name) in enumerate(places):
        yield {
            "rollout": key.rollout,
            "epoch": key.epoch,
            "tier": key.tier,
            "agent": key.agent,
            "arm": key.arm,
            "mode": key.mode,
            "name": name,
            "body": body[i * SUMS_BYTES : (i + 1) * SUMS_BYTES],
        }
