"""Slots as arrays: cutting, joining, and where single events fall."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from molt.apps.simulate.stream import ArmSlots, Floats, Ints, Span


def placed(rng: np.random.Generator, counts: Ints, weights: Floats) -> tuple[Ints, Ints]:
    """(slot, statistics bucket) of every event, in the order of slots."""
    total = int(counts.sum())
    if not total:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    edges = np.cumsum(weights)
    buckets = np.searchsorted(edges, rng.uniform(0, edges[-1], total), "right")
    return np.repeat(np.arange(len(counts)), counts), np.minimum(buckets, len(weights) - 1)


def with_user(slots: ArmSlots, requests: Ints, bucket: int) -> ArmSlots:
    """`slots` with the requests of one more user, all of which fail."""
    at, buckets = slots.error_at
    more = np.repeat(np.arange(len(requests)), requests)
    both = np.concatenate([at, more])
    order = np.argsort(both, kind="stable")
    where = np.concatenate([buckets, np.full(len(more), bucket)])[order]
    return replace(
        slots,
        requests=slots.requests + requests,
        errors=slots.errors + requests,
        error_at=(both[order], where),
    )


def cut(span: Span, first: int, end: int) -> Span:
    """The slots `first` up to `end`."""
    low, high = first - span.first, end - span.first
    if low == 0 and high == len(span):
        return span
    return Span(first, span.seconds, *(_cut(a, low, high) for a in (span.candidate, span.control)))


def _cut(arm: ArmSlots, low: int, high: int) -> ArmSlots:
    return ArmSlots(
        arm.requests[low:high],
        arm.errors[low:high],
        _events(arm.error_at, low, high),
        {cut_ms: counts[low:high] for cut_ms, counts in arm.slow.items()},
        {cut_ms: _events(at, low, high) for cut_ms, at in arm.slow_at.items()},
        {kind: counts[low:high] for kind, counts in arm.timed.items()},
    )


def _events(at: tuple[Ints, Ints], low: int, high: int) -> tuple[Ints, Ints]:
    slots, buckets = at
    a, b = np.searchsorted(slots, [low, high])
    return slots[a:b] - low, buckets[a:b]


def joined(spans: Sequence[Span]) -> Span:
    """Spans that follow each other, as one."""
    if len(spans) == 1:
        return spans[0]
    sizes = [len(span) for span in spans]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    candidate = _joined([s.candidate for s in spans], starts)
    control = _joined([s.control for s in spans], starts)
    return Span(spans[0].first, spans[0].seconds, candidate, control)


def _joined(arms: Sequence[ArmSlots], starts: Ints) -> ArmSlots:
    def events(each: Sequence[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
        at = np.concatenate([s + start for (s, _), start in zip(each, starts, strict=True)])
        return at, np.concatenate([buckets for _, buckets in each])

    cuts = arms[0].slow.keys()
    return ArmSlots(
        np.concatenate([a.requests for a in arms]),
        np.concatenate([a.errors for a in arms]),
        events([a.error_at for a in arms]),
        {c: np.concatenate([a.slow[c] for a in arms]) for c in cuts},
        {c: events([a.slow_at[c] for a in arms]) for c in cuts},
        {kind: np.concatenate([a.timed[kind] for a in arms]) for kind in arms[0].timed},
    )
