"""The audit log: searched, proven, and taken away in any size."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ValidationError

from molt.adapters import audit_files
from molt.adapters.audit_newest import Cursor, newest
from molt.adapters.audit_parquet import parquet
from molt.apps.api.audit import MEDIA, Format
from molt.apps.api.auth import Viewer
from molt.apps.console.render import render
from molt.control.controller import Controller
from molt.control.facts import told_of
from molt.core.errors import OperatorError

router = APIRouter()

SHOWN: Final = 200
MOST_AT_ONCE: Final = 100_000
"""Records of one and the same moment that can be paged through."""


class Search(BaseModel):
    """What to look for. `subject` is a hash by now."""

    start: AwareDatetime | None = None
    end: AwareDatetime | None = None
    agent: str = ""
    run: str = ""
    kind: str = ""
    event: str = ""
    by: str = ""
    subject: str = ""


def search_of(
    request: Request,
    start: str = "",
    end: str = "",
    agent: str = "",
    run: str = "",
    kind: str = "",
    event: str = "",
    by: str = "",
    subject: str = "",
) -> Search:
    """The query; a subject that was typed in is hashed here, a hash stays one."""
    subject = subject.strip()
    if subject.startswith("hash:"):
        subject = subject.removeprefix("hash:")
    elif subject:
        subject = request.app.state.hash_subject(subject)
    try:
        return Search.model_validate(
            {
                "start": _aware(start),
                "end": _aware(end),
                "agent": agent.strip(),
                "run": run.strip(),
                "kind": kind,
                "event": event.strip(),
                "by": by.strip(),
                "subject": subject,
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise OperatorError(f"{first['loc'][0]}: {first['msg']}") from None


def _aware(text: str) -> str | None:
    """A time as a form gives it: without a zone it is UTC."""
    if not text:
        return None
    return text if text.endswith("Z") or "+" in text[10:] or "-" in text[10:] else f"{text}Z"


Asked = Annotated[Search, Depends(search_of)]


def matcher(search: Search) -> Callable[[Mapping[str, Any]], bool] | None:
    """Whether a record is wanted; None when all are."""
    equal = {
        "agent": search.agent,
        "run": search.run,
        "kind": search.kind,
        "event": search.event,
        "by": search.by,
        "subject": search.subject,
    }
    wanted = {name: value for name, value in equal.items() if value}
    if not wanted:
        return None
    return lambda record: all(str(record.get(k, "")) == v for k, v in wanted.items())


def _span(request: Request, search: Search) -> tuple[datetime, datetime]:
    end = search.end or request.app.state.clock.now() + timedelta(seconds=1)
    return search.start or end - timedelta(days=1), end


@router.get("/audit")
async def page(
    request: Request,
    caller: Viewer,
    search: Asked,
    before: AwareDatetime | None = None,
    skip: Annotated[int, Query(ge=0, le=MOST_AT_ONCE)] = 0,
) -> Response:
    """The form, and what it finds, the newest first; `before` and `skip` are where a page begins."""
    start, end = _span(request, search)
    last = end - timedelta(microseconds=1)
    cursor = Cursor(min(before, last), skip) if before else Cursor(last)
    folder: Path = request.app.state.audit_dir
    found = await asyncio.to_thread(newest, folder, start, cursor, matcher(search), limit=SHOWN)
    # The subject goes into links as its hash, so that no id lands in a history or a log.
    query = {k: v for k, v in search.model_dump(mode="json").items() if v}
    if search.subject:
        query["subject"] = f"hash:{search.subject}"
    query |= {"start": start.isoformat(), "end": end.isoformat()}
    return render(
        request,
        "audit.html",
        caller,
        page="audit",
        search=search,
        start=start,
        end=end,
        before=before,
        rows=[_row(entry, request.app.state.controller) for entry in found.entries],
        older=found.older and {"before": found.older.at.isoformat(), "skip": found.older.skip},
        looked_to=found.older.at if found.older and len(found.entries) < SHOWN else None,
        query=query,
    )


def _row(entry: audit_files.Entry, controller: Controller) -> dict[str, Any]:
    """A record for the page; what an event is about stands in the log of its rollout."""
    try:
        record: dict[str, Any] = msgspec.json.decode(entry.line)
    except msgspec.DecodeError:
        record = {"kind": "unreadable", "line": entry.line.decode("utf-8", "replace")}
    desk, number = controller.desks.get(record.get("rollout", "")), record.get("seq_in_log", 0)
    if record.get("kind") == "event" and desk and 0 < number <= len(desk.records):
        record["reason"] = told_of(desk.records[number - 1].event)
    return {"writer": entry.writer, **record, "at": entry.at}


@router.get("/audit/verify")
async def verify(request: Request, caller: Viewer) -> Response:
    """Whether the whole chain holds; else the first bad record."""
    report = await audit_files.prove(request.app.state.audit_dir, request.app.state.store)
    template = "_verified.html" if request.headers.get("hx-request") else "verified.html"
    return render(request, template, caller, page="audit", report=report.as_data())


@router.get("/audit/export")
async def export(
    request: Request,
    _: Viewer,
    search: Asked,
    format: Format = "jsonl",  # noqa: A002 - the public name
) -> Response:
    """What the search finds, all of it, streamed."""
    start, end = _span(request, search)
    folder: Path = request.app.state.audit_dir
    where = matcher(search)
    if format == "parquet":
        rows = await asyncio.to_thread(parquet, folder, start, end, where=where)
    else:
        rows = audit_files.export_lines(folder, start, end, format, where=where)
    name = f"audit-{start:%Y%m%dT%H%M%S}-{end:%Y%m%dT%H%M%S}.{format}"
    return StreamingResponse(
        rows,
        media_type=MEDIA[format],
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )
