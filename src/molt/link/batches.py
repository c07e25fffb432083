"""Evidence on its way to control: added up until it is sent, then repeated until it is kept."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import structlog

from molt.core.evidence import Batch, BucketSums, Call, Seen, Slot, SlotKey, SumsKey, Violation
from molt.link.control_client import ControlClient, ControlUnreachable

log = structlog.get_logger(__name__)

MOST_SLOTS: Final = 20_000
MOST_SEEN: Final = 200_000
MOST_VIOLATIONS: Final = 10_000
MOST_CALLS: Final = 20_000
SLOTS_A_BATCH: Final = 2_000
CALLS_A_BATCH: Final = 1_000
MOST_REQUESTS: Final = 100
"""Of the sample; when control is away, only the latest are worth showing."""
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
_SEQUENCE_JUMP: Final = 1_000_000
_NEVER: Final = frozenset({400, 413, 422})
"""Answers that no repetition changes."""


class Evidence(NamedTuple):
    """What was folded since the last batch. `versions` are per rollout; `lost` is how many
    exchanges could not be folded; `requests` is a sample of the `offered` ones, to be looked at."""

    slots: list[Slot]
    sums: list[BucketSums]
    seen: list[Seen]
    violations: list[Violation]
    versions: dict[str, str]
    lost: int = 0
    requests: Sequence[dict[str, Any]] = ()
    offered: int = 0


class Draft:
    """Evidence that waits to be sent, merged as it comes; `lost` counts requests dropped from it.

    Its size grows with the time that control is away, not with requests, and has hard bounds.
    """

    def __init__(self) -> None:
        self.lost = 0
        self.versions: dict[str, str] = {}
        self._slots: dict[SlotKey, Slot] = {}
        self._sums: dict[SumsKey, BucketSums] = {}
        self._seen: list[Seen] = []
        self._violations: list[Violation] = []
        self._calls: deque[Call] = deque()
        self._requests: deque[dict[str, Any]] = deque(maxlen=MOST_REQUESTS)
        self._offered = 0

    def __bool__(self) -> bool:
        return bool(
            self._slots
            or self._sums
            or self._seen
            or self._violations
            or self._calls
            or self.versions
            or self.lost
        )

    def add(self, evidence: Evidence) -> None:
        """Add what was folded."""
        for slot in evidence.slots:
            self.add_slot(slot)
        for sums in evidence.sums:
            if (there := self._sums.setdefault(sums.key, sums)) is not sums:
                _merge_sums(there, sums)
        self._seen += evidence.seen[: MOST_SEEN - len(self._seen)]
        self._violations += evidence.violations[: MOST_VIOLATIONS - len(self._violations)]
        self.versions |= evidence.versions
        self.lost += evidence.lost
        self._requests.extend(evidence.requests)
        self._offered += evidence.offered

    def add_slot(self, slot: Slot) -> None:
        """Add a slot, or a part of one."""
        if (known := self._slots.get(slot.key)) is not None:
            known.merge(slot)
        elif len(self._slots) < MOST_SLOTS:
            self._slots[slot.key] = slot
        else:
            self.lost += slot.requests

    def add_call(self, call: Call) -> None:
        """Add what a run did; when control is away too long, it is in the audit log alone."""
        if len(self._calls) < MOST_CALLS:
            self._calls.append(call)

    def move_to(self, batch: Batch) -> None:
        """Fill `batch`; what does not fit stays for the next one."""
        keys = list(self._slots)[:SLOTS_A_BATCH]
        batch.slots = [self._slots.pop(key) for key in keys]
        batch.sums, self._sums = list(self._sums.values()), {}
        batch.seen, self._seen = self._seen, []
        batch.violations, self._violations = self._violations, []
        few = min(len(self._calls), CALLS_A_BATCH)
        batch.calls = [self._calls.popleft() for _ in range(few)]
        batch.versions, self.versions = self.versions, {}
        batch.lost, self.lost = self.lost, 0
        batch.requests, batch.offered = list(self._requests), self._offered
        self._requests.clear()
        self._offered = 0


def _merge_sums(into: BucketSums, other: BucketSums) -> None:
    for column, amounts in other.columns.items():
        for bucket, amount in amounts.items():
            into.add(column, bucket, amount)


class BatchSender:
    """Sends batches in order, one at a time, each repeated as it is until control has kept it.

    `make` gives an empty batch with the present state of this gateway.
    """

    def __init__(
        self, control: ControlClient, make: Callable[[int], Batch], *, first: int | None = None
    ) -> None:
        self._control = control
        self._make = make
        # Higher than any number of an earlier process with this id, as long as the clock is right.
        self._sequence = first or time.time_ns() // 1_000_000
        self._wanted = asyncio.Event()
        self._under_way: Batch | None = None
        self._tries = 0
        self.draft = Draft()
        self.delivered = 0

    def hurry(self) -> None:
        """Send a batch as soon as the one before is through, even an empty one."""
        self._wanted.set()

    async def run(self) -> None:
        """Send, for ever."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self.send()

    async def send(self) -> None:
        """Send what is there until nothing is; at least one batch.

        When it is cancelled, the next call goes on with the same batch.
        """
        while True:
            if self._under_way is None:
                self._sequence += 1
                self._under_way = self._make(self._sequence)
                self._tries = 0
                self.draft.move_to(self._under_way)
            await self._deliver(self._under_way)
            self._under_way = None
            if not self.draft:
                return

    async def _deliver(self, batch: Batch) -> None:
        """Repeat `batch` until control has kept it, or will never take it."""
        pause = FIRST_PAUSE
        body = msgspec.json.encode(batch)
        while True:
            self._tries += 1
            status = await self._post(body)
            if 200 <= status < 300 or (status == 409 and self._tries > 1):
                self.delivered += 1
                return
            if status == 409:
                # Never sent before, yet known: an earlier process used this number.
                self._sequence += _SEQUENCE_JUMP
                batch.sequence = self._sequence
                body, self._tries = msgspec.json.encode(batch), 0
                continue
            if self._tries == 1:
                log.warning("batch_not_taken", status=status, sequence=batch.sequence)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries
            pause = min(2 * pause, LONGEST_PAUSE)
            if status in _NEVER:
                self.draft.lost += batch.lost + sum(slot.requests for slot in batch.slots)
                return

    async def _post(self, body: bytes) -> int:
        """The status, 0 for none."""
        try:
            return await self._control.post_batch(body)
        except ControlUnreachable as error:
            log.debug("batch_not_sent", error=str(error))
            return 0
