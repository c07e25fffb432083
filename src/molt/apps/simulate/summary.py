"""What many seeds of a scenario come to."""

from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Any

from molt.apps.simulate.course import Course
from molt.core.stats.wilson import wilson


def summary(courses: Sequence[Course]) -> dict[str, Any]:
    """Counts with Wilson intervals, and what the decisions took and cost.

    `hours` count from the start, those after the onset from when the harm began; failed orders
    are a mean over all seeds.
    """
    n = len(courses)
    counts = {
        verdict: sum(c.verdict == verdict for c in courses)
        for verdict in ("promoted", "rolled_back", "inconclusive")
    }
    return {
        "seeds": n,
        **counts,
        "intervals": {name: [*_rounded(wilson(count, n))] for name, count in counts.items()},
        "median_hours_to_decision": _median(courses, lambda c: c.hours),
        "median_hours_after_onset": _median(courses, lambda c: c.hours_after_onset),
        "failed_orders_before_decision": (
            round(fmean(c.failed_orders for c in courses), 2) if courses else 0.0
        ),
        "spent_before_decision": round(fmean(c.spent for c in courses), 2) if courses else 0.0,
    }


def as_data(name: str, playbook: str, courses: Sequence[Course]) -> dict[str, Any]:
    """The summary and every seed, as JSON data."""
    return {
        "scenario": name,
        "playbook": playbook,
        **summary(courses),
        "runs": [course.as_data() for course in courses],
    }


def _median(courses: Sequence[Course], hours_of: Callable[[Course], float | None]) -> float | None:
    found = [hours for c in courses if (hours := hours_of(c)) is not None]
    return round(median(found), 3) if found else None


def _rounded(interval: tuple[float, float]) -> tuple[float, float]:
    low, high = interval
    return round(low, 4), round(high, 4)
