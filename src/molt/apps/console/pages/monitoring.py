"""What goes by now, and one run in full."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime

from molt.adapters import audit_files
from molt.apps.api.auth import Viewer
from molt.apps.api.following import sse
from molt.apps.api.hub import Hub
from molt.apps.console import live
from molt.apps.console.pages.choosing import desks
from molt.apps.console.render import render
from molt.apps.console.waterfall import waterfall

router = APIRouter()

KINDS: Final = ("requests", "calls", "event")
AROUND: Final = timedelta(minutes=15)
MOST_RECORDS: Final = 500


@router.get("/monitoring")
async def monitoring(request: Request, caller: Viewer) -> Response:
    """The stream of requests, calls and facts."""
    agents = sorted({agent for desk in desks(request) for agent in desk.rollout.agents})
    return render(request, "monitoring.html", caller, page="monitoring", agents=agents)


@router.get("/monitoring/stream")
async def stream(request: Request, _: Viewer) -> StreamingResponse:
    """Server-sent events: `requests` and `calls` (samples), `event` (every fact), and a beat."""
    return sse(request, _messages(request.app.state.hub))


async def _messages(hub: Hub) -> AsyncIterator[bytes]:
    with hub.listening(KINDS) as queue:
        yield b"event: beat\ndata: {}\n\n"
        while True:
            try:
                yield (await asyncio.wait_for(queue.get(), live.BEAT_SECONDS)).wire
            except TimeoutError:
                yield b"event: beat\ndata: {}\n\n"


@router.get("/runs/{run}")
async def run_page(
    run: str,
    request: Request,
    caller: Viewer,
    at: Annotated[AwareDatetime | None, Query()] = None,
) -> Response:
    """One run: its request, and every model and tool call, on one line of time."""
    state = request.app.state
    now = state.clock.now()
    since, until = (at - AROUND, at + AROUND) if at else (now - timedelta(days=1), now)
    records = await asyncio.to_thread(_records, state.audit_dir, since, until, run)
    calls = [msgspec.to_builtins(call) for call in await state.store.calls_of(run)]
    return render(
        request,
        "run.html",
        caller,
        page="monitoring",
        run=run,
        since=since,
        until=until,
        at=at,
        picture=waterfall(records, calls),
    )


def _records(folder: Path, since: datetime, until: datetime, run: str) -> list[dict[str, Any]]:
    """What the audit log holds of one run."""
    rows: list[dict[str, Any]] = []
    for entry in audit_files.entries(folder, since, until, lambda r: r.get("run") == run):
        rows.append(msgspec.json.decode(entry.line) | {"writer": entry.writer})
        if len(rows) == MOST_RECORDS:
            break
    return rows
