"""A/B metrics as they stood over time, told again from a rollout's recorded evidence."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, cast

import numpy as np

from molt.control.again import followed
from molt.control.analytics import HARM_TAU
from molt.core.assignment import STATISTICS_BUCKETS
from molt.core.comparisons import strata
from molt.core.events import Recorded
from molt.core.evidence import BucketSums, SumsKey
from molt.core.rollout import WATCHED
from molt.core.scene import Scene
from molt.core.stats import evalue, ratio
from molt.ports import Frame

POINTS: Final = 120
"""At least as many times are told of a long rollout, at most twice as many."""
FINEST: Final = timedelta(seconds=5)


class Point(NamedTuple):
    """A metric at one time: candidate minus control over all steps so far, with its interval.

    Intervals hold at every look (95%): they may be read at any time, and all together.
    """

    at: datetime
    metric: str
    title: str
    better: str
    step: str
    candidate: float
    control: float
    difference: float
    low: float
    high: float
    candidate_n: float
    control_n: float


def course(
    records: Sequence[Recorded], frames: Iterable[Frame], agent: str | None = None
) -> list[Point]:
    """Every metric at times of about the same distance, in order; of one agent type if given."""
    times: list[list[Point]] = []
    every, due = FINEST, None
    last: Scene | None = None
    pool = _Pool()
    for desk, frame in followed(records, frames):
        pool.add(frame.portion.sums)
        last = desk.scene(frame.at) if desk.rollout.phase in WATCHED else None
        if last is None or (due is not None and frame.at < due):
            continue
        pool.pour(last)
        times.append(_now(last, agent))
        due, last = frame.at + every, None
        if len(times) > 2 * POINTS:
            times, every = times[::2], 2 * every
    if last is not None:
        pool.pour(last)
        times.append(_now(last, agent))
    return [point for points in times for point in points]


class _Pool:
    """Bucket sums added up until they are looked at: adding them to the book one by one would take
    most of the time, and metrics read nothing but them."""

    def __init__(self) -> None:
        self._sums: dict[SumsKey, dict[str, list[float]]] = {}

    def add(self, sums: Iterable[BucketSums]) -> None:
        """Add these."""
        for one in sums:
            columns = self._sums.setdefault(one.key, {})
            for column, amounts in one.columns.items():
                total = columns.get(column)
                if total is None:
                    total = columns[column] = [0.0] * STATISTICS_BUCKETS
                for bucket, amount in amounts.items():
                    total[bucket] += amount

    def pour(self, scene: Scene) -> None:
        """Give all of it to the scene's book."""
        for key, columns in self._sums.items():
            amounts = {name: np.array(total) for name, total in columns.items()}
            scene.book.add_sums(BucketSums(key, cast("dict[str, Any]", amounts)))
        self._sums.clear()


def _now(scene: Scene, agent: str | None) -> list[Point]:
    """All metrics that can be told now."""
    points: list[Point] = []
    stay = scene.rollout.stays[-1] if scene.rollout.stays else None
    step = f"{stay.phase} {stay.share:g}%" if stay else ""
    for name, metric in scene.playbook.metrics.items():
        d = ratio.difference(strata(scene, metric, agent=agent), binary=metric.binary)
        if d is None or not d.control:
            continue
        low, high = evalue.interval(d.estimate, d.variance, HARM_TAU * abs(d.control))
        points.append(
            Point(
                scene.now, name, metric.title or name, metric.better, step,
                d.candidate, d.control, d.estimate, low, high, d.candidate_n, d.control_n,
            )
        )  # fmt: skip
    return points
