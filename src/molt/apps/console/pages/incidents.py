"""What went wrong: the list, and each incident with all that is known of it."""

import asyncio
import mimetypes
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Form, HTTPException, Request, Response
from fastapi.responses import FileResponse
from markdown_it import MarkdownIt
from markupsafe import Markup

from molt.apps.api.alerts import runbook_text
from molt.apps.api.auth import Operator, Viewer
from molt.apps.console.pages.choosing import desks
from molt.apps.console.pages.commands import carry_out
from molt.apps.console.render import render
from molt.control import view
from molt.control.desk import Desk
from molt.control.facts import told_of
from molt.control.timeline import belonging
from molt.core import commands
from molt.core.events import ProcedureStepDone, ProcedureStepFailed
from molt.core.rollout import Incident
from molt.core.runbook import ACTIONS

router = APIRouter()

Text = Annotated[str, Form(max_length=4000)]
JUST_BEFORE: Final = 5
"""Facts before an incident that stand at the head of its timeline."""

_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")


@router.get("/incidents")
async def incidents(request: Request, caller: Viewer) -> Response:
    """All incidents of all rollouts, open ones first, then the latest."""
    rows = [
        {"rollout": desk.id, **view.incident(one), "steps_planned": len(desk.playbook.procedure)}
        for desk in desks(request)
        for one in desk.rollout.incidents
    ]
    rows.sort(key=lambda row: row["opened_at"], reverse=True)
    rows.sort(key=lambda row: not row["open"])
    return render(request, "incidents.html", caller, page="incidents", incidents=rows)


@router.get("/incidents/{incident}")
async def incident_page(
    incident: str, request: Request, caller: Viewer, done: str | None = None
) -> Response:
    """One incident: timeline, evidence as it was, procedure, logs, runbook."""
    desk, found = _find(request, incident)
    return render(
        request,
        "incident.html",
        caller,
        page="incidents",
        rollout=desk.id,
        incident={"open": found.closed_at is None, **msgspec.structs.asdict(found)},
        done=done,
        done_by_molt=ACTIONS.get(found.action),
        procedure=_procedure(desk, found),
        facts=_facts(desk, found),
        earlier=_facts(desk, found, before=True),
        logs=await asyncio.to_thread(_logs, _folder(request, incident)),
        runbook=_runbook(request, desk.id, found.trigger),
    )


@router.get("/incidents/{incident}/files/{name:path}")
async def download(incident: str, name: str, request: Request, _: Viewer) -> FileResponse:
    """One preserved file."""
    _find(request, incident)
    folder = _folder(request, incident)
    known = {file["name"]: folder / file["name"] for file in await asyncio.to_thread(_logs, folder)}
    if name not in known:
        raise HTTPException(404, f"{name} is not among the files of {incident}")
    media = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return FileResponse(known[name], media_type=media, filename=name.replace("/", "-"))


@router.post("/incidents/{incident}/notes")
async def note(incident: str, request: Request, caller: Operator, reason: Text = "") -> Response:
    """Add to the timeline."""
    desk, _ = _find(request, incident)
    return await carry_out(
        request,
        caller,
        desk.id,
        lambda scene: commands.note_incident(scene, incident, caller.name, reason),
        done="noted",
        back=f"/console/incidents/{incident}",
    )


@router.post("/incidents/{incident}/close")
async def close(incident: str, request: Request, caller: Operator, reason: Text = "") -> Response:
    """Close it with its cause."""
    desk, _ = _find(request, incident)
    return await carry_out(
        request,
        caller,
        desk.id,
        lambda scene: commands.close_incident(scene, incident, caller.name, reason),
        done="closed",
        back=f"/console/incidents/{incident}",
    )


def _find(request: Request, incident: str) -> tuple[Desk, Incident]:
    for desk in desks(request):
        for one in desk.rollout.incidents:
            if one.id == incident:
                return desk, one
    raise HTTPException(404, f"No incident {incident}")


def _folder(request: Request, incident: str) -> Path:
    """Where the procedure keeps an incident's files: beside the audit log."""
    folder: Path = request.app.state.audit_dir.parent / "incidents"
    return folder / incident


def _logs(folder: Path) -> list[dict[str, Any]]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return [{"name": p.relative_to(folder).as_posix(), "bytes": p.stat().st_size} for p in files]


def _procedure(desk: Desk, incident: Incident) -> list[dict[str, Any]]:
    """Each step of the runbook that Molt carries out itself: done with proof, failing, or ahead."""
    if not incident.procedure:
        return []
    rows = {
        step: {"step": step, "state": "ahead", "text": "", "at": None}
        for step in desk.playbook.procedure
    }
    for event in desk.events():
        if getattr(event, "incident", None) != incident.id:
            continue
        if isinstance(event, ProcedureStepDone):
            said = f"{event.proof} ({event.attempts} attempts)"
            rows[event.step] = {
                "step": event.step,
                "state": "done",
                "text": event.proof if event.attempts == 1 else said,
                "at": event.at,
            }
        elif isinstance(event, ProcedureStepFailed):
            rows[event.step] = {
                "step": event.step,
                "state": "failing",
                "text": event.error,
                "at": event.at,
            }
    return list(rows.values())


def _facts(desk: Desk, incident: Incident, *, before: bool = False) -> list[dict[str, Any]]:
    """What happened from just before it on; or what lies `before` that, for a day."""
    all_ = belonging(desk.events(), incident)
    opened = next((i for i, event in enumerate(all_) if event.at >= incident.opened_at), len(all_))
    first = max(0, opened - JUST_BEFORE)
    return [
        {"at": e.at, "type": type(e).__name__, "by": e.by, "detail": told_of(e)}
        for e in (all_[:first] if before else all_[first:])
    ]


def section(text: str, anchor: str) -> Markup | None:
    """The part of a runbook behind this anchor, as HTML; None where there is none."""
    _, found, rest = text.partition(f'<a id="{anchor}"></a>')
    if not found:
        return None
    # Raw HTML, which the operator's own file may hold, is shown as text.
    return Markup(_markdown.render(rest.partition("<a id=")[0]))  # noqa: S704


def _runbook(request: Request, rollout: str, trigger: str) -> Markup | None:
    try:
        return section(runbook_text(request.app.state, rollout), trigger)
    except OSError:
        return None
