"""The audit log over HTTP: export of a time range, and the proof that nothing was changed."""

import asyncio
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime

from molt.adapters import audit_files
from molt.adapters.audit_parquet import parquet
from molt.apps.api.auth import Viewer

router = APIRouter(prefix="/api/v1/audit", tags=["audit"])

Format = Literal["jsonl", "csv", "parquet"]
MEDIA: Final[dict[Format, str]] = {
    "jsonl": "application/x-ndjson",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
}


@router.get("/export", response_class=StreamingResponse)
async def export(
    request: Request,
    _: Viewer,
    start: Annotated[AwareDatetime | None, Query(description="From, RFC 3339.")] = None,
    end: Annotated[AwareDatetime | None, Query(description="Until, RFC 3339.")] = None,
    format: Format = "jsonl",  # noqa: A002 - the public name of the parameter
) -> StreamingResponse:
    """All records of a time range (default: the last 24 hours), in order of time, streamed."""
    until = end or request.app.state.clock.now()
    since = start or until - timedelta(days=1)
    folder = request.app.state.audit_dir
    if format == "parquet":
        rows = await asyncio.to_thread(parquet, folder, since, until)
    else:
        rows = audit_files.export_lines(folder, since, until, format)
    return StreamingResponse(rows, media_type=MEDIA[format])


@router.get("/verify")
async def verify(request: Request, _: Viewer) -> dict[str, Any]:
    """Whether the whole chain holds; else the first bad record."""
    report = await audit_files.prove(request.app.state.audit_dir, request.app.state.store)
    return report.as_data()
