"""What on-call needs: alerts and who is on them, the runbook, the checklist, the signed link."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from markdown_it import MarkdownIt
from markupsafe import Markup

from molt.adapters.playbooks import load_playbook
from molt.apps.access.signed import opened
from molt.apps.api import checklist
from molt.apps.api.alerts import desk_of, runbook_page, runbook_text
from molt.apps.api.auth import Caller, Operator, Viewer
from molt.apps.console.pages.choosing import desks
from molt.apps.console.render import render
from molt.core.playbook import Playbook
from molt.ports import Alert

router = APIRouter()

_markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
"""Raw HTML is for the anchors; the text is Molt's own, or the operator's own file."""


@router.get("/alerts")
async def alerts_page(request: Request, caller: Viewer) -> Response:
    """The latest alerts."""
    found = desk_of(request).all()
    return render(request, "alerts.html", caller, page="alerts", alerts=found, section=runbook_page)


@router.post("/alerts/{alert}/ack", name="acknowledge")
async def acknowledge(
    alert: str, request: Request, caller: Operator, reason: Annotated[str, Form()] = ""
) -> Response:
    """Somebody is on it."""
    await desk_of(request).acknowledge(alert, caller.name, reason[:500])
    return RedirectResponse("/console/alerts", 303)


@router.get("/runbook")
async def runbook(request: Request, caller: Viewer, rollout: str | None = None) -> Response:
    """The on-call runbook of the rollout's plan (default: the latest)."""
    text = runbook_text(request.app.state, rollout)
    html = Markup(_markdown.render(text))  # noqa: S704 - not users' text
    return render(request, "runbook.html", caller, page="alerts", html=html)


@router.get("/checklist")
async def checklist_page(request: Request, caller: Viewer) -> Response:
    """What the checklist found last."""
    return await _checklist(request, caller)


@router.post("/checklist", name="preflight")
async def run_checklist(request: Request, caller: Operator) -> Response:
    """Run the checklist."""
    await checklist.check(request, _plan(request), caller.name)
    return RedirectResponse("/console/checklist", 303)


async def _checklist(request: Request, caller: Caller) -> Response:
    plan = _plan(request)
    found = await checklist.last(request.app.state, plan)
    return render(request, "checklist.html", caller, page="checklist", plan=plan, found=found)


def _plan(request: Request) -> Playbook:
    """The plan of the latest rollout, else WF-11 with the operator's money."""
    latest = next(iter(desks(request)), None)
    if latest is not None:
        return latest.playbook
    return checklist.with_own_money(load_playbook("wf-11"), request.app.state)


# --- the signed link: whoever was sent the alert may say that they are on it, and nothing else


@router.get("/ack/{token}")
async def ack_page(token: str, request: Request) -> Response:
    """Ask who it is; looking at the link changes nothing, since chat programs look at links."""
    alert = _of_link(token, request)
    return _of_alert(request, token, alert, 200 if alert else 404)


@router.post("/ack/{token}", name="acknowledge_by_link")
async def ack_by_link(
    token: str,
    request: Request,
    name: Annotated[str, Form(max_length=100)] = "",
    note: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Somebody with the link is on it. The link is the secret and no session counts here, so that
    it does not matter which page or program sends it."""
    alert, name = _of_link(token, request), name.strip()
    if alert is None:
        return _of_alert(request, token, None, 404, "this link is too old, or not one of ours")
    if alert.acked_by:
        return _of_alert(request, token, alert, 409, f"{alert.acked_by} was first")
    if not name:
        return _of_alert(request, token, alert, 422, "Say who you are: your name, as `name`")
    request.state.claims_to_be = f"link: {name}"
    alert = await desk_of(request).acknowledge(alert.id, f"link: {name}", note)
    return _of_alert(request, token, alert)


def _of_alert(
    request: Request, token: str, alert: Alert | None, status: int = 200, problem: str = ""
) -> Response:
    request.state.refused = problem
    page = {"alert": alert, "token": token, "problem": problem, "section": runbook_page}
    return render(request, "ack.html", None, status=status, **page)


def _of_link(token: str, request: Request) -> Alert | None:
    state = request.app.state
    value = opened("ack", token, state.clock.now().timestamp(), state.rules.key)
    known = {alert.id: alert for alert in desk_of(request).all()}
    return known.get(value["alert"]) if value else None
