"""How long answers take, as a table over the sketch's own buckets."""

import math
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from molt.apps.simulate.curves import data_file, read_rows
from molt.apps.simulate.scenario import Latency
from molt.apps.simulate.stream import Floats
from molt.core.errors import OperatorError
from molt.core.stats import latency as sketch
from molt.core.stats.special import ndtr_array

_Z95: Final = 1.6448536269514722
_LOG: Final = math.log(sketch.RATIO)


class Latencies:
    """A distribution of latencies. `factor` slows all of them down."""

    def __init__(self, first: int, shares: Floats) -> None:
        """`shares` of requests in buckets `first`, `first + 1`, ..."""
        self._first = first
        self._shares = shares / shares.sum()
        self._over = np.concatenate([np.cumsum(self._shares[::-1])[::-1], [0.0]])
        self._histograms: dict[int, tuple[NDArray[np.int64], Floats]] = {}

    def share_over(self, cut_ms: float, factor: float = 1.0) -> float:
        """The share of requests slower than `cut_ms`."""
        place = math.log(cut_ms / factor) / _LOG - self._first
        if place <= 0:
            return 1.0
        whole = int(place)
        if whole >= len(self._shares):
            return 0.0
        return float(self._over[whole + 1] + self._shares[whole] * (whole + 1 - place))

    def histogram(self, rng: np.random.Generator, n: int, factor: float = 1.0) -> dict[int, int]:
        """The histogram of `n` requests."""
        counts = rng.multinomial(n, self._shares)
        used = np.flatnonzero(counts)
        shift = self._first + round(math.log(factor) / _LOG)
        return dict(zip((used + shift).tolist(), counts[used].tolist(), strict=True))


def latencies_of(model: Latency, data: Path) -> Latencies:
    """The scenario's latencies: log-normal between median and p95, or a recorded shape."""
    median = model.median.total_seconds() * 1000
    if model.recorded is not None:
        return _recorded(model.recorded, median, data)
    sigma = max(0.01, math.log(model.p95 / model.median) / _Z95)
    low = math.floor((math.log(median) - 4.5 * sigma) / _LOG)
    high = math.ceil((math.log(median) + 4.5 * sigma) / _LOG)
    edges: Floats = (np.arange(low, high + 1) * _LOG - math.log(median)) / sigma
    return Latencies(low, np.diff(ndtr_array(edges)))


_RECORDED: Final = {
    "llmperf_latency": ("llmperf_latency/llama2_7b_70b.csv.gz", "e2e_s"),
    "burstgpt3_first_rows": ("burstgpt3_first_rows/first_188_rows.csv.gz", "elapsed_s"),
}


def _recorded(name: str, median: float, data: Path) -> Latencies:
    file, column = _RECORDED[name]
    path = data_file(file, data)
    values = [float(row[column]) for row in read_rows(path) if row[column]]
    seconds = np.array([v for v in values if v > 0])
    if not len(seconds):
        raise OperatorError(f"{path}: expected latencies in column {column}")
    histogram = sketch.binned(seconds * (median / float(np.median(seconds))))
    first = min(histogram)
    shares = np.zeros(max(histogram) - first + 1)
    for index, count in histogram.items():
        shares[index - first] = count
    return Latencies(first, shares)
