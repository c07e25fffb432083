"""Made-up traffic with real noise: requests of guests, as the slots and sums a gateway would send."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from molt.core.assignment import CANDIDATE, CONTROL, Arm
from molt.core.evidence import BucketSums, Mode, Seen, Slot, SlotKey, SumsKey, Tally, over, value
from molt.core.stats import latency

BUCKETS = 256

ORDERS: Mapping[str, float] = {"order_completed": 0.30, "cart_abandoned": 0.10}
"""Of these a request leads to one at most; either means that a cart was started."""

OTHERS: Mapping[str, float] = {
    "satisfied": 0.20,
    "dissatisfied": 0.05,
    "conversations": 0.25,
    "support_ticket": 0.002,
    "staff_response": 0.05,
}


class Load(NamedTuple):
    """What one arm sees: requests an hour, and per request shares, milliseconds, USD and events.

    `slow` is the share of requests that take 30 s whatever `latency_ms` says. `outcomes` replace
    the usual shares. `response_s` is the mean of `staff_response`.
    """

    requests: float
    errors: float = 0.0
    latency_ms: float = 400.0
    slow: float = 0.0
    cost: float = 0.002
    violations: int = 0
    outcomes: Mapping[str, float] = {}
    response_s: float = 60.0


class Place(NamedTuple):
    """Whose evidence it is."""

    rollout: str
    epoch: int
    arm: Arm
    mode: Mode
    tier: int = 0


class Gathered(NamedTuple):
    """What came together."""

    slots: list[Slot]
    sums: list[BucketSums]


def gather(
    rng: np.random.Generator,
    place: Place,
    load: Load,
    start: datetime,
    length: timedelta,
    *,
    cuts: Iterable[float] = (),
    every: timedelta = timedelta(minutes=1),
) -> Gathered:
    """Evidence of one arm from `start` on, in one slot for `every` stretch of time."""
    n = int(rng.poisson(load.requests * (length / timedelta(hours=1))))
    bucket = rng.integers(0, BUCKETS, n)
    failed = rng.random(n) < load.errors
    took = load.latency_ms * np.exp(rng.normal(0, 0.3, n))
    took[rng.random(n) < load.slow] = 30_000.0
    paid = load.cost * rng.gamma(4.0, 0.25, n)
    columns = {"requests": np.ones(n), "errors": failed * 1.0, "priced": np.ones(n)}
    columns |= {"cost": paid, "cost_capped": paid}
    columns |= {over(cut): (took > cut) * 1.0 for cut in cuts}
    columns |= _outcomes(rng, n, load)
    when = np.sort(rng.random(n)) * (length / every)
    slots = _slots(place, load, start, every, when.astype(int), bucket, failed, took, paid, cuts)
    return Gathered(slots, [_sums(place, bucket, columns)] if n else [])


def _outcomes(rng: np.random.Generator, n: int, load: Load) -> dict[str, Any]:
    shares = {**ORDERS, **OTHERS, **load.outcomes}
    drawn, columns = rng.random(n), dict[str, Any]()
    low = 0.0
    for kind in ORDERS:
        columns[kind] = ((drawn >= low) & (drawn < low + shares[kind])) * 1.0
        low += shares[kind]
    columns["cart_started"] = columns["order_completed"] + columns["cart_abandoned"]
    for kind, share in shares.items():
        if kind not in ORDERS:
            columns[kind] = (rng.random(n) < share) * 1.0
    waited = columns["staff_response"] * rng.normal(load.response_s, 15, n)
    return columns | {value("staff_response"): waited}


def _sums(place: Place, bucket: Any, columns: Mapping[str, Any]) -> BucketSums:
    key = SumsKey(place.rollout, place.epoch, place.tier, "guest", place.arm, place.mode)
    sums = BucketSums(key, {})
    for name, amounts in columns.items():
        totals = np.bincount(bucket, amounts, BUCKETS)
        sums.columns[name] = {int(b): float(totals[b]) for b in np.flatnonzero(totals)}
    return sums


def _slots(
    place: Place, load: Load, start: datetime, every: timedelta, index: Any, bucket: Any,
    failed: Any, took: Any, paid: Any, cuts: Iterable[float],
) -> list[Slot]:  # fmt: skip
    edges = np.flatnonzero(np.diff(index)) + 1
    found: list[Slot] = []
    for part in np.split(np.arange(len(index)), edges):
        if not len(part):
            continue
        began = start + int(index[part[0]]) * every
        key = SlotKey(
            place.rollout, place.epoch, "guest", place.arm, place.mode, int(began.timestamp())
        )
        found.append(
            Slot(
                key,
                requests=len(part),
                errors=_tally(bucket[part][failed[part]]),
                over={over(cut): _tally(bucket[part][took[part] > cut]) for cut in cuts},
                cost=float(paid[part].sum()),
                priced=len(part),
                latency=latency.binned(took[part]),
            )
        )
    if found:
        found[-1].violations = load.violations
    return found


def _tally(buckets: NDArray[np.int64]) -> Tally:
    bits = 0
    for b in buckets.tolist():
        bits |= 1 << b
    return Tally(len(buckets), bits.to_bytes(32, "little"))


def newcomers(
    rng: np.random.Generator, rollout: str, epoch: int, share: float, n: int
) -> list[Seen]:
    """So many subjects seen for the first time, split as `share` percent say."""
    inside = rng.random(n) * 100 < share
    return [
        Seen(rollout, epoch, CANDIDATE if mine else CONTROL, f"{epoch}-{rng.integers(2**60)}")
        for mine in inside.tolist()
    ]
