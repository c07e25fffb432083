"""A process that writes to a store until it is killed, and says what it was promised.

Prints one line per acknowledged write: `event N` for the log's version, `batch N` for a sequence.
"""

import asyncio
import sys
from datetime import UTC, datetime

from molt.adapters.sql.store import SqlStore
from molt.core.events import Noted
from molt.core.evidence import Batch, BucketSums, Seen, Slot, SlotKey, SumsKey

AT = datetime(2026, 3, 2, tzinfo=UTC)
EVENTS_AT_ONCE = 3


def numbered_batch(sequence: int) -> Batch:
    """One request in a slot, one in the sums of each of 20 keys, one subject."""
    key = SlotKey("r1", 1, "guest", "candidate", "live", 10 * (sequence // 7))
    sums = [
        BucketSums(SumsKey("r1", 1, tier, "guest", "candidate", "live"), {"requests": {tier: 1.0}})
        for tier in range(20)
    ]
    seen = [Seen("r1", 1, "control", f"s{sequence}")]
    return Batch("g1", sequence, AT, 1, slots=[Slot(key, requests=1)], sums=sums, seen=seen)


async def main(path: str) -> None:
    async with await SqlStore.open(path) as store:
        version, sequence = len(await store.load("r1")), 0
        while True:
            notes = [Noted(at=AT, note=str(i)) for i in range(EVENTS_AT_ONCE)]
            await store.append("r1", notes, expected_version=version)
            version += EVENTS_AT_ONCE
            print("event", version, flush=True)
            sequence += 1
            await store.ingest(numbered_batch(sequence))
            print("batch", sequence, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
