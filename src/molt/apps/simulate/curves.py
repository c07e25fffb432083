"""When requests come: a curve over the week, or a recorded trace, rescaled and repeated."""

import csv
import gzip
import io
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from molt.apps.simulate.scenario import Arrivals
from molt.apps.simulate.stream import Floats
from molt.core.errors import OperatorError

DAY: Final = 86_400
BIN: Final = 60
"""Seconds that a trace is binned to."""

TRACES: Final = {
    "azure_llm_2023": "azure_llm_2023/conv_first_half.csv.gz",
    "ragpulse": "ragpulse/week_a.csv.gz",
    "servegen": "servegen/m-mid_rates_week1.csv.gz",
    "mooncake_conversation": "mooncake_conversation/first_half.csv.gz",
}


class Curve(Protocol):
    """The rate of requests over time, 1 on average."""

    def __call__(self, times: Floats) -> Floats:
        """The rate at these unix seconds."""
        ...


def curve_of(arrivals: Arrivals, data: Path) -> Curve:
    """The scenario's curve; raises `OperatorError` when its trace cannot be read."""
    if arrivals.trace is not None:
        return Recorded(_read_trace(arrivals.trace, data))
    return Weekly(arrivals.daily, arrivals.peak, arrivals.weekend)


class Weekly:
    """A sine over the day around its busiest hour, and another level at weekends."""

    def __init__(self, daily: float, peak: int, weekend: float) -> None:
        self._daily, self._peak = daily, peak
        level = (5 + 2 * weekend) / 7
        self._weekday, self._weekend = 1 / level, weekend / level

    def __call__(self, times: Floats) -> Floats:
        """The rate at these unix seconds."""
        hours = times / 3600 - self._peak
        swing = 1 + self._daily * np.cos(2 * math.pi * hours / 24)
        return swing * np.where(weekend(times), self._weekend, self._weekday)


class Recorded:
    """A trace in bins of a minute, repeated for ever."""

    def __init__(self, bins: Floats) -> None:
        self._bins = bins / bins.mean()

    def __call__(self, times: Floats) -> Floats:
        """The rate at these unix seconds."""
        return self._bins[(times // BIN).astype(np.int64) % len(self._bins)]


def weekend(times: Floats) -> NDArray[np.bool_]:
    """Whether each of these unix seconds falls on a Saturday or Sunday (UTC)."""
    return (times // DAY + 3) % 7 >= 5


def night(times: Floats) -> NDArray[np.bool_]:
    """Whether each of these unix seconds falls before six in the morning (UTC)."""
    return times % DAY < 6 * 3600


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, gzipped or not. Raises `OperatorError`."""
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OperatorError(f"{path}: cannot be read ({reason}); expected a CSV file") from None
    return list(csv.DictReader(io.StringIO(text)))


def data_file(name: str, data: Path) -> Path:
    """A recorded data set's file under `data`. Raises `OperatorError` where there is none."""
    path = data / name
    if not path.is_file():
        raise OperatorError(
            f"{path}: not found. Recorded data are read from the folder that --data names"
        )
    return path


def _read_trace(name: str, data: Path) -> Floats:
    """Requests per minute of a trace, from whatever columns it has."""
    path = data_file(TRACES[name], data) if name in TRACES else Path(name)
    if not path.is_file():
        raise OperatorError(f"arrivals.trace: {name!r} is no file, and none of {', '.join(TRACES)}")
    rows = read_rows(path)
    columns = rows[0].keys() if rows else ()
    if "total_rps" in columns:
        return np.repeat([float(row["total_rps"]) for row in rows], 600 // BIN)
    if "local_time" in columns:
        times = [datetime.fromisoformat(row["local_time"]).astimezone(UTC) for row in rows]
        seconds = np.array([(t - times[0]).total_seconds() for t in times])
    elif "offset_s" in columns:
        seconds = np.array([float(row["offset_s"]) for row in rows])
    else:
        raise OperatorError(f"{path}: expected a column `offset_s` (seconds) in a trace")
    counts = np.bincount((seconds // BIN).astype(np.int64)).astype(np.float64)
    return counts[:-1] if len(counts) > 1 else counts
