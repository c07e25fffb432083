"""A log-bucket histogram of latencies: bucket ratio 1.02, so quantiles are within 1%.

A histogram is a sparse dict of index -> count; two merge by adding their counts, in any order
(Masson, Rim and Lee 2019). Latencies are in milliseconds.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from molt.core.stats.special import Floats

RATIO: Final = 1.02
SMALLEST_MS: Final = 0.01
LARGEST_MS: Final = 1e9
_LOG: Final = math.log(RATIO)


def index_of(latency_ms: float) -> int:
    """The bucket of one latency: bucket i holds [1.02^i, 1.02^(i+1)) ms.

    Latencies outside 0.01 ms to 11 days count as the nearest of these.
    """
    return math.floor(math.log(min(max(latency_ms, SMALLEST_MS), LARGEST_MS)) / _LOG)


def binned(latencies_ms: Sequence[float] | Floats) -> dict[int, int]:
    """A histogram of many latencies at once, some 30 ns each."""
    if len(latencies_ms) == 0:
        return {}
    values = np.clip(np.asarray(latencies_ms, dtype=np.float64), SMALLEST_MS, LARGEST_MS)
    indices = np.floor(np.log(values) / _LOG).astype(np.int64)
    first = int(indices.min())
    counts = np.bincount(indices - first)
    used = np.flatnonzero(counts)
    return dict(zip((used + first).tolist(), counts[used].tolist(), strict=True))


def merged(histograms: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """The sum of histograms."""
    total: dict[int, int] = {}
    for histogram in histograms:
        for index, count in histogram.items():
            total[index] = total.get(index, 0) + count
    return total


def quantile(histogram: Mapping[int, int], q: float) -> float | None:
    """The q-quantile in milliseconds, within 1% of the latency of that rank; None when empty."""
    total = sum(histogram.values())
    if not total:
        return None
    rank, seen = q * (total - 1), 0
    for index in sorted(histogram):
        seen += histogram[index]
        if seen > rank:
            return RATIO ** (index + 0.5)
    return RATIO ** (max(histogram) + 0.5)


def share_over(histogram: Mapping[int, int], latency_ms: float) -> float | None:
    """The share of requests slower than `latency_ms`, to within one bucket; None when empty."""
    total = sum(histogram.values())
    if not total:
        return None
    limit = math.log(latency_ms) / _LOG
    split = math.floor(limit)
    slower = sum(count for index, count in histogram.items() if index > split)
    return (slower + histogram.get(split, 0) * (split + 1 - limit)) / total


def share_of_slowdown(histogram: Mapping[int, int], slowdown: float) -> float | None:
    """How much larger the share slower than the median gets if all were `slowdown` (0.1) slower.

    That turns a margin on the median into one on a share: slower than m after slowing by a tenth
    is slower than m / 1.1 before. None when empty.
    """
    median = quantile(histogram, 0.5)
    if median is None:
        return None
    slower = share_over(histogram, median / (1 + slowdown))
    usual = share_over(histogram, median)
    return None if slower is None or usual is None else slower - usual
