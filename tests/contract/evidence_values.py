"""Small evidence for tests."""

from datetime import UTC, datetime

from molt.core.assignment import Arm
from molt.core.evidence import Batch, BucketSums, Mode, Outcome, Seen, Slot, SlotKey, SumsKey, Tally

AT = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
START = int(AT.timestamp())


def tally(count: int, *buckets: int) -> Tally:
    bits = sum(1 << b for b in buckets)
    return Tally(count, bits.to_bytes(32, "little"))


def slot(
    start: int = START,
    *,
    rollout: str = "r1",
    epoch: int = 1,
    agent: str = "guest",
    arm: Arm = "candidate",
    mode: Mode = "live",
    requests: int = 1,
) -> Slot:
    return Slot(
        SlotKey(rollout, epoch, agent, arm, mode, start),
        requests=requests,
        errors=tally(1, requests % 256),
        over={"over:2000": tally(1, 7)},
        statuses={"2": requests, "5": 1},
        tokens_in=100,
        cost=0.25,
        priced=requests,
        latency={requests: 2, 300: 1},
    )


def sums(
    columns: dict[str, dict[int, float]] | None = None,
    *,
    rollout: str = "r1",
    epoch: int = 1,
    tier: int = 0,
    agent: str = "guest",
    arm: Arm = "candidate",
) -> BucketSums:
    return BucketSums(
        SumsKey(rollout, epoch, tier, agent, arm, "live"),
        {"requests": {0: 1.0, 255: 2.0}, "cost": {7: 0.125}} if columns is None else columns,
    )


def seen(subject: str, arm: Arm = "control", *, rollout: str = "r1", epoch: int = 1) -> Seen:
    return Seen(rollout, epoch, arm, subject)


def batch(
    sequence: int = 1,
    *,
    gateway: str = "g1",
    slots: list[Slot] | None = None,
    sums: list[BucketSums] | None = None,
    seen: list[Seen] | None = None,
) -> Batch:
    return Batch(gateway, sequence, AT, 1, slots=slots or [], sums=sums or [], seen=seen or [])


def outcome(name: str, kind: str = "order_completed", at: datetime = AT) -> Outcome:
    return Outcome(name, f"hash-of-{name}", kind, at, 12.5, "guest", 4711)
