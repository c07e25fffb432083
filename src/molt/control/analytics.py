"""Slots as series and sums for charts: by time, and by arm, agent, step or mode. Plain data."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from molt.control.desk import Desk
from molt.core.comparisons import strata
from molt.core.evidence import Call, Slot, SlotKey
from molt.core.rollout import Rollout
from molt.core.scene import Scene
from molt.core.spending import per_request
from molt.core.stats import evalue, latency, ratio

POINTS: Final = 120
GRAINS: Final[tuple[int, ...]] = (60, 360, 1800, 7200)
HEAT_ROWS: Final = 24
HEAT_RATIO: Final = 1.5
HARM_TAU: Final = 0.10
"""Relative to control's mean; as gates draw their intervals."""


class Choice(NamedTuple):
    """What to look at: a time range, and values that slots must have (None: any)."""

    start: datetime
    end: datetime
    by: str = "arm"
    agent: str | None = None
    arm: str | None = None
    epoch: int | None = None
    tool: str | None = None
    model: str | None = None


def _step_name(rollout: Rollout, epoch: int) -> str:
    stay = next((s for s in rollout.stays if s.epoch == epoch), None)
    return f"{stay.phase} {stay.share:g}% (#{epoch})" if stay else f"#{epoch}"


def grouping(rollout: Rollout, by: str) -> Callable[[Slot], str]:
    """The name of the group of a slot: `arm`, `agent` or `step`; of a call `tool` or `model` too."""
    if by == "agent":
        return lambda slot: slot.key.agent
    if by == "step":
        return lambda slot: _step_name(rollout, slot.key.epoch)
    if by in ("tool", "model"):
        return lambda slot: getattr(slot, "name", "")
    return lambda slot: _arm_name(slot.key)


def _arm_name(key: SlotKey) -> str:
    return f"{key.arm} (shadow)" if key.mode == "shadow" else key.arm


def chosen(slots: Iterable[Slot], choice: Choice) -> list[Slot]:
    """The slots that the choice is about."""
    first, last = choice.start.timestamp(), choice.end.timestamp()
    return [
        slot
        for slot in slots
        if first <= slot.key.start < last
        and choice.agent in (None, slot.key.agent)
        and choice.arm in (None, slot.key.arm)
        and choice.epoch in (None, slot.key.epoch)
    ]


def width(choice: Choice, slot_seconds: int) -> int:
    """Seconds of one point of a chart: a whole number of slots, some `POINTS` for the range."""
    length = (choice.end - choice.start).total_seconds()
    wide = max(1, math.ceil(length / POINTS / slot_seconds)) * slot_seconds
    unit = grain(wide) or slot_seconds
    return math.ceil(wide / unit) * unit


def grain(wide: int) -> int:
    """Seconds that slots can be merged to for points this `wide`; 0: as they are kept.

    It divides every width that `width` gives, or points would hold now more, now fewer of them.
    """
    return max((unit for unit in GRAINS if 2 * unit <= wide), default=0)


def series(
    slots: Sequence[Slot], choice: Choice, slot_seconds: int, name: Callable[[Slot], str]
) -> list[dict[str, Any]]:
    """One row a point of time and group, in order of time; points without data have no row."""
    wide = width(choice, slot_seconds)
    merged: dict[tuple[int, str], Slot] = {}
    for slot in slots:
        place = (slot.key.start // wide * wide, name(slot))
        merged.setdefault(place, Slot(slot.key)).merge(slot)
    return [
        {"at": datetime.fromtimestamp(start, UTC), "group": group} | figures(slot, wide)
        for (start, group), slot in sorted(merged.items(), key=lambda item: item[0])
    ]


def totals(
    slots: Sequence[Slot], choice: Choice, name: Callable[[Slot], str]
) -> list[dict[str, Any]]:
    """One row a group over the whole range."""
    merged: dict[str, Slot] = {}
    for slot in slots:
        merged.setdefault(name(slot), Slot(slot.key)).merge(slot)
    length = (choice.end - choice.start).total_seconds()
    return [{"group": group} | figures(merged[group], length) for group in sorted(merged)]


def figures(slot: Slot, seconds: float) -> dict[str, Any]:
    """What charts draw of a (merged) slot that is `seconds` long. Unknown is None, never zero."""
    n = slot.requests
    return {
        "requests": n,
        "per_second": n / seconds if seconds else 0.0,
        "errors": slot.errors.count,
        "error_rate": slot.errors.count / n if n else None,
        "status_4xx": slot.statuses.get("4", 0),
        "status_5xx": slot.statuses.get("5", 0),
        "no_answer": slot.statuses.get("0", 0),
        "limited": slot.limited,
        "aborted": slot.aborted,
        "fallbacks": slot.fallbacks,
        "p50_ms": latency.quantile(slot.latency, 0.5),
        "p95_ms": latency.quantile(slot.latency, 0.95),
        "p99_ms": latency.quantile(slot.latency, 0.99),
        "tokens_in": slot.tokens_in,
        "tokens_out": slot.tokens_out,
        "cost": None if slot.spent.each is None else slot.spent.total,
        "cost_per_1000": slot.spent.per_1000,
        "tool_calls": slot.tool_calls,
        "tools_per_request": slot.tool_calls / n if n else None,
        "violations": slot.violations,
    }


def heat(slots: Sequence[Slot], choice: Choice, slot_seconds: int) -> dict[str, Any]:
    """How many requests took how long when: `cells` are (point, row, count)."""
    wide = width(choice, slot_seconds)
    first = int(choice.start.timestamp()) // wide
    cells: dict[tuple[int, int], int] = defaultdict(int)
    for slot in slots:
        for index, count in slot.latency.items():
            ms = latency.RATIO ** (index + 0.5)
            row = min(
                HEAT_ROWS - 1, max(0, math.floor(math.log(max(ms, 1.0)) / math.log(HEAT_RATIO)))
            )
            cells[(slot.key.start // wide - first, row)] += count
    return {
        "first": first * wide,
        "width": wide,
        "ratio": HEAT_RATIO,
        "cells": [(x, y, count) for (x, y), count in sorted(cells.items())],
    }


def budgets(desk: Desk, slots: Sequence[Slot], seconds: float) -> list[dict[str, Any]]:
    """Per objective of the candidate: what was allowed, what was spent, and how fast it burns.

    A burn rate of 1 spends exactly the budget (Google SRE workbook, alerting on SLOs, 5).
    """
    plan = desk.playbook.slos
    mine = [s for s in slots if s.key.arm == "candidate"]
    total = sum(s.requests for s in mine)
    slow = plan.latency_p50.total_seconds() * 1000, plan.latency_p95.total_seconds() * 1000
    unanswered = sum(s.statuses.get("5", 0) + s.statuses.get("0", 0) for s in mine)
    bad = {
        "errors": (sum(s.errors.count for s in mine), plan.error_rate),
        "not available": (unanswered, 1 - plan.availability),
        "slower than p50's limit": (_slower(mine, slow[0]), 0.5),
        "slower than p95's limit": (_slower(mine, slow[1]), 0.05),
    }
    return [
        {
            "name": name,
            "requests": total,
            "bad": count,
            "allowed_share": allowed,
            "share": count / total if total else None,
            "left": max(0.0, 1 - count / (allowed * total)) if total and allowed else None,
            "burn_rate": count / total / allowed if total and allowed else None,
            "seconds": seconds,
        }
        for name, (count, allowed) in bad.items()
    ]


def _slower(slots: Iterable[Slot], cut_ms: float) -> int:
    index = latency.index_of(cut_ms)
    return sum(count for s in slots for i, count in s.latency.items() if i >= index)


def by_step(scene: Scene, agent: str | None = None) -> list[dict[str, Any]]:
    """Every A/B metric in every step in which both arms had users: difference and interval.

    Of one agent type if given.
    """
    rows: list[dict[str, Any]] = []
    for name, metric in scene.playbook.metrics.items():
        for epoch, stratum in zip(
            scene.live_epochs(), strata(scene, metric, agent=agent), strict=True
        ):
            d = ratio.difference([stratum], binary=metric.binary)
            if d is None or not d.control:
                continue
            low, high = evalue.interval(d.estimate, d.variance, HARM_TAU * abs(d.control))
            rows.append(
                {
                    "metric": name,
                    "title": metric.title or name,
                    "better": metric.better,
                    "step": _step_name(scene.rollout, epoch),
                    "at": next(s.at for s in scene.rollout.stays if s.epoch == epoch),
                    "candidate": d.candidate,
                    "control": d.control,
                    "difference": d.estimate,
                    "low": low,
                    "high": high,
                    "candidate_n": d.candidate_n,
                    "control_n": d.control_n,
                }
            )
    return rows


def use(calls: Sequence[Call], kind: str) -> list[dict[str, Any]]:
    """Tools or models by how often they were called through the egress."""
    groups: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        if call.kind == kind:
            groups[call.name].append(call)
    rows = [_used(name, found) for name, found in groups.items()]
    return sorted(rows, key=lambda row: (-row["calls"], row["name"]))


def _used(name: str, calls: Sequence[Call]) -> dict[str, Any]:
    how: dict[str, int] = defaultdict(int)
    for call in calls:
        how[call.disposition] += 1
    priced = [c.cost for c in calls if c.cost is not None]
    return {
        "name": name,
        "calls": len(calls),
        "dispositions": dict(how),
        "failed": sum(c.status >= 400 for c in calls),
        "p50_ms": latency.quantile(latency.binned([c.latency_ms for c in calls]), 0.5),
        "p95_ms": latency.quantile(latency.binned([c.latency_ms for c in calls]), 0.95),
        "tokens_in": _known(c.tokens_in for c in calls),
        "tokens_out": _known(c.tokens_out for c in calls),
        "cost": sum(priced) if priced else None,
    }


def _known(values: Iterable[int | None]) -> int | None:
    found = [v for v in values if v is not None]
    return sum(found) if found else None


COST_ALPHA: Final = 0.05


def cost_per_1000(scene: Scene) -> dict[str, Any] | None:
    """USD for 1,000 requests of the candidate in this step, with the interval that its gate draws.

    None while too few requests have a known price for an interval.
    """
    found = per_request(scene, COST_ALPHA)
    if found is None or not math.isfinite(found.high):
        return None
    return {
        "per_1000": 1000 * found.estimate,
        "low": 1000 * found.low,
        "high": 1000 * found.high,
        "budget": scene.playbook.cost.budget_per_1000,
    }


def projected_per_day(
    slots: Sequence[Slot], per_1000: Mapping[str, Any] | None, seconds: float
) -> dict[str, Any] | None:
    """USD a day if the candidate answered everything at the present pace: estimate and interval.

    `per_1000` is what `cost_per_1000` gives; None before enough is priced.
    """
    asked = sum(s.requests for s in slots if s.key.mode == "live")
    if not per_1000 or not asked or not seconds:
        return None
    thousands = asked * 86400 / seconds / 1000
    return {
        "requests_per_day": 1000 * thousands,
        "estimate": thousands * per_1000["per_1000"],
        "low": thousands * per_1000["low"],
        "high": thousands * per_1000["high"],
        "budget": thousands * per_1000["budget"] if per_1000.get("budget") else None,
    }
