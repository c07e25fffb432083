"""What happened over a time range: by agent, arm, step, tool and model; each chart as CSV too."""

import asyncio
import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel

from molt.apps.api.auth import Viewer
from molt.apps.console import sketches
from molt.apps.console.background import Replays, Told
from molt.apps.console.pages.choosing import chosen, desks
from molt.apps.console.render import render
from molt.control import analytics, view
from molt.control.analytics import Choice
from molt.control.call_slots import about_calls, call_slots
from molt.control.condensed import Condensed
from molt.control.course import Point
from molt.control.desk import Desk
from molt.core.errors import OperatorError
from molt.core.evidence import Call, Slot

router = APIRouter()

METRIC_COLUMNS: Final = Point._fields
COLUMNS: Final = {
    "steps": ("metric", "title", "better", "step", "at", "candidate", "control", "difference",
              "low", "high", "candidate_n", "control_n"),
    "tools": ("name", "calls", "dispositions", "failed", "p50_ms", "p95_ms"),
    "models": ("name", "calls", "dispositions", "failed", "p50_ms", "p95_ms"),
    "heat": ("at_unix", "from_ms", "to_ms", "requests"),
}  # fmt: skip
"""The head of a table's CSV while the table has no row; else its rows say it."""
RANGES: Final = {
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "28d": timedelta(days=28),
}
Table = Literal["series", "totals", "steps", "tools", "models", "budgets", "heat"]
By = Literal["arm", "agent", "step", "tool", "model"]
MOST_CALLS: Final = 20_000
PATIENCE: Final = 1.0
"""Seconds after which the page says how far it is, rather than keep its reader waiting."""


class Asked(BaseModel):
    """What the address asks for; all of it can be left out."""

    rollout: str | None = None
    span: str = ""
    start: AwareDatetime | None = None
    end: AwareDatetime | None = None
    by: By = "arm"
    agent: str | None = None
    arm: Literal["control", "candidate"] | None = None
    step: int | None = None
    tool: str | None = None
    model: str | None = None


def asked(
    rollout: str | None = None,
    span: str = "",
    start: str = "",
    end: str = "",
    by: By = "arm",
    agent: str = "",
    arm: str = "",
    step: str = "",
    tool: str = "",
    model: str = "",
) -> Asked:
    """The query; a field of a form that was left empty counts as left out."""
    return Asked.model_validate(
        {
            "rollout": rollout or None,
            "span": span if span in RANGES else "",
            "start": start or None,
            "end": end or None,
            "by": by,
            "agent": agent or None,
            "arm": arm or None,
            "step": step or None,
            "tool": tool or None,
            "model": model or None,
        }
    )


Query_ = Annotated[Asked, Depends(asked)]


def _choice(request: Request, query: Asked, desk: Desk) -> Choice:
    """The range that was asked for, else the shortest that holds the whole rollout."""
    end = query.end or request.app.state.clock.now()
    if not query.span:
        age = end - (desk.rollout.started_at or end)
        query.span = next((name for name, span in RANGES.items() if span >= age), "28d")
    start = query.start or end - RANGES[query.span]
    if start >= end:
        raise OperatorError("The time range is empty: its start is not before its end")
    return Choice(start, end, query.by, query.agent, query.arm, query.step, query.tool, query.model)


@router.get("/analytics")
async def page(request: Request, caller: Viewer, query: Query_) -> Response:
    """Charts and tables; the address says what they are about."""
    desk = chosen(request, query.rollout)
    if desk is None:
        return render(request, "no_rollout.html", caller, page="analytics")
    stays = [(s.epoch, f"{s.phase} {s.share:g}% (#{s.epoch})") for s in desk.rollout.stays]
    choice = _choice(request, query, desk)
    ready = await prepare(request, desk, choice, PATIENCE)
    if ready < 1:
        return render(
            request, "analytics_wait.html", caller, page="analytics", ready=ready, choice=choice
        )
    found = await _tables(request, desk, choice)
    return render(
        request,
        "analytics.html",
        caller,
        page="analytics",
        query=query,
        ranges=list(RANGES),
        rollouts=[d.id for d in desks(request)],
        rollout=desk.id,
        agents=desk.rollout.agents,
        stays=stays,
        about_calls=about_calls(choice),
        names=_names(found, query),
        charts=[(name, m.title or name) for name, m in desk.playbook.metrics.items()],
        recorded=request.app.state.replays.recorded(desk.id),
        **found,
    )


@router.get("/analytics/data")
async def data(request: Request, _: Viewer, query: Query_) -> dict[str, Any]:
    """What the charts draw."""
    desk = _desk(request, query)
    choice = _choice(request, query, desk)
    slots = (await _drawn(request, desk, choice))[0]
    name = analytics.grouping(desk.rollout, choice.by)
    length = desk.book.slot_seconds
    rows = await asyncio.to_thread(analytics.series, slots, choice, length, name)
    return {
        "start": choice.start.timestamp(),
        "end": choice.end.timestamp(),
        "width": analytics.width(choice, length),
        "calls": about_calls(choice),
        "rows": [r | {"at": r["at"].timestamp()} for r in rows],
        "heat": await asyncio.to_thread(analytics.heat, slots, choice, length),
        "budget_per_1000": desk.playbook.cost.budget_per_1000,
        "slos": {
            "p50_ms": desk.playbook.slos.latency_p50.total_seconds() * 1000,
            "p95_ms": desk.playbook.slos.latency_p95.total_seconds() * 1000,
            "error_rate": desk.playbook.slos.error_rate,
        },
        "marks": [
            {"at": s.at.timestamp(), "text": f"{s.share:g}%"}
            for s in desk.rollout.stays
            if choice.start <= s.at < choice.end
        ],
    }


async def _metrics(request: Request, query: Asked, metric: str, seconds: float | None) -> Told:
    """The metrics over time within the range that was asked for."""
    desk = _desk(request, query)
    choice = _choice(request, query, desk)
    replays: Replays = request.app.state.replays
    if not replays.recorded(desk.id):
        return Told([], None)
    told = await replays.so_far(desk.id, query.agent, seconds)
    rows = [
        row
        for row in told.rows
        if metric in ("", row["metric"])
        and choice.start <= datetime.fromisoformat(row["at"]) < choice.end
    ]
    return Told(rows, told.progress)


@router.get("/analytics/metrics")
async def metrics(request: Request, _: Viewer, query: Query_) -> dict[str, Any]:
    """A/B metrics with their intervals over time, from the recorded evidence; and how far it is
    (0..1) when they are being told anew, else null.
    """
    told = await _metrics(request, query, "", PATIENCE)
    unix = [datetime.fromisoformat(row["at"]).timestamp() for row in told.rows]
    rows = [row | {"unix": at} for row, at in zip(told.rows, unix, strict=True)]
    return {"rows": rows, "progress": told.progress}


@router.get("/analytics/metrics.csv")
async def metrics_csv(
    request: Request, _: Viewer, query: Query_, metric: Annotated[str, Query(max_length=100)] = ""
) -> Response:
    """The same as CSV, all metrics or one; it comes when they are told."""
    told = await _metrics(request, query, metric, None)
    return _as_csv(METRIC_COLUMNS, told.rows, f"{_desk(request, query).id}-metrics.csv")


@router.get("/analytics/{table}.csv")
async def export(
    table: Table,
    request: Request,
    _: Viewer,
    query: Query_,
    columns: Annotated[str, Query(max_length=400)] = "",
) -> Response:
    """One table as CSV; `columns` narrows it to those of one chart."""
    desk = _desk(request, query)
    choice = _choice(request, query, desk)
    found = await _tables(request, desk, choice, everything=True)
    rows: Sequence[Mapping[str, Any]] = found[table]
    names = [c for c in columns.split(",") if c] or list(
        rows[0] if rows else COLUMNS.get(table, ())
    )
    return _as_csv(names, rows, f"{desk.id}-{table}.csv")


def _as_csv(names: Sequence[str], rows: Sequence[Mapping[str, Any]], name: str) -> Response:
    return StreamingResponse(
        _csv(names, rows),
        media_type="text/csv",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


def _csv(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in names])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _cell(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@"):
        return f"'{value}"  # no spreadsheet is to take it for a formula
    return value


def _desk(request: Request, query: Asked) -> Desk:
    desk = chosen(request, query.rollout)
    if desk is None:
        raise OperatorError("There is no rollout yet; start one: molt start")
    return desk


async def prepare(request: Request, desk: Desk, choice: Choice, seconds: float) -> float:
    """Add up what charts of this range need, waiting `seconds` at most; how much is ready, 0..1."""
    condensed: Condensed = request.app.state.condensed
    grain = analytics.grain(analytics.width(choice, desk.book.slot_seconds))
    start, now = math.floor(choice.start.timestamp()), request.app.state.clock.now().timestamp()
    return await condensed.prepare(desk.id, start, int(now), grain, seconds)


async def look_ahead(request: Request, desk: Desk) -> None:
    """Begin to add up what the first look at this rollout's analytics will need."""
    await prepare(request, desk, _choice(request, Asked(), desk), 0)


async def _slots(request: Request, desk: Desk, choice: Choice) -> list[Slot]:
    condensed: Condensed = request.app.state.condensed
    start, end = math.floor(choice.start.timestamp()), math.ceil(choice.end.timestamp())
    now = int(request.app.state.clock.now().timestamp())
    grain = analytics.grain(analytics.width(choice, desk.book.slot_seconds))
    return analytics.chosen(await condensed.slots(desk.id, start, end, now, grain), choice)


async def _calls(request: Request, desk: Desk, choice: Choice) -> list[Call]:
    """The calls of the range, the last `MOST_CALLS` of them."""
    store = request.app.state.store
    return list(await store.calls(desk.id, choice.start, choice.end, MOST_CALLS))


def _of_agent(calls: Sequence[Call], choice: Choice) -> list[Call]:
    return [call for call in calls if choice.agent in (None, call.agent)]


async def _drawn(request: Request, desk: Desk, choice: Choice) -> tuple[list[Slot], Sequence[Call]]:
    """What charts are about: requests, or calls where a tool or model is asked for; and all calls."""
    calls = await _calls(request, desk, choice)
    if about_calls(choice):
        return call_slots(calls, choice, desk.rollout.stays, int(desk.book.slot_seconds)), calls
    return await _slots(request, desk, choice), calls


def _names(found: Mapping[str, Any], query: Asked) -> dict[str, list[str]]:
    """The tools and models that can be chosen: those of the range, and the one that is chosen."""
    return {
        kind: sorted({row["name"] for row in found[f"{kind}s"]} | ({chosen} if chosen else set()))
        for kind, chosen in (("tool", query.tool), ("model", query.model))
    }


async def _tables(
    request: Request, desk: Desk, choice: Choice, everything: bool = False
) -> dict[str, Any]:
    now = request.app.state.clock.now()
    slots, calls = await _drawn(request, desk, choice)
    requests = await _slots(request, desk, choice) if about_calls(choice) else slots
    name = analytics.grouping(desk.rollout, choice.by)
    seconds = (choice.end - choice.start).total_seconds()
    state = view.state(desk, now, request.app.state.controller.availability)
    cost = analytics.cost_per_1000(desk.scene(now))
    steps = analytics.by_step(desk.scene(now), choice.agent)
    tables = {
        "totals": await asyncio.to_thread(analytics.totals, slots, choice, name),
        "steps": [row | {"sketch": _sketch(row)} for row in steps],
        "tools": analytics.use(_of_agent(calls, choice), "tool"),
        "models": analytics.use(_of_agent(calls, choice), "model"),
        "budgets": analytics.budgets(desk, requests, seconds),
        "projected": analytics.projected_per_day(requests, cost, seconds),
        "slos": state["slos"],
        "calls_since": calls[0].at if len(calls) >= MOST_CALLS else None,
    }
    if everything:
        length = desk.book.slot_seconds
        heat = await asyncio.to_thread(analytics.heat, slots, choice, length)
        tables["steps"] = steps
        tables["series"] = await asyncio.to_thread(analytics.series, slots, choice, length, name)
        tables["heat"] = [
            {
                "at_unix": heat["first"] + x * heat["width"],
                "from_ms": round(heat["ratio"] ** y, 2),
                "to_ms": round(heat["ratio"] ** (y + 1), 2),
                "requests": count,
            }
            for x, y, count in heat["cells"]
        ]
    return tables


def _sketch(row: Mapping[str, Any]) -> Any:
    if not (math.isfinite(row["low"]) and math.isfinite(row["high"])):
        return None
    return sketches.against_zero(row)
