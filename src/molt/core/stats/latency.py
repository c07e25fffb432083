"""A log-bucket histogram of latencies: bucket ratio 1.02, so quantiles are within 1%.

A histogram is a dict of index -> count; two merge by adding their counts.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

RATIO = 1.02
_LOG = math.log(RATIO)
SMALLEST_MS = 0.01


def index_of(latency_ms: float) -> int:
    """The bucket of one latency in milliseconds; bucket i holds [1.02^i, 1.02^(i+1))."""
    return math.floor(math.log(max(latency_ms, SMALLEST_MS)) / _LOG)


def binned(latencies_ms: Sequence[float] | NDArray[np.float64]) -> dict[int, int]:
    """A histogram of many latencies at once."""
    if len(latencies_ms) == 0:
        return {}
    values = np.maximum(np.asarray(latencies_ms, dtype=np.float64), SMALLEST_MS)
    indices, counts = np.unique(np.floor(np.log(values) / _LOG).astype(int), return_counts=True)
    return dict(zip(indices.tolist(), counts.tolist(), strict=True))


def quantile(histogram: Mapping[int, int], q: float) -> float | None:
    """The q-quantile in milliseconds, within 1%; None when the histogram is empty."""
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
    slower = 0.0
    for index, count in histogram.items():
        slower += count * min(1.0, max(0.0, index + 1 - limit))
    return slower / total


def share_of_slowdown(histogram: Mapping[int, int], slowdown: float) -> float | None:
    """How much larger the share slower than the median gets if all were `slowdown` slower."""
    median = quantile(histogram, 0.5)
    if median is None:
        return None
    slower = share_over(histogram, median / (1 + slowdown))
    usual = share_over(histogram, median)
    return None if slower is None or usual is None else slower - usual
