"""Alerts: what on-call was told, whether it arrived, who is on it; and the signed link to say so."""

from typing import Any, Final
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from pydantic import Field

from molt.apps.access.signed import sign
from molt.apps.api.auth import Operator, Viewer
from molt.apps.api.models import Body
from molt.control.alerts import AlertDesk
from molt.control.controller import Controller
from molt.core.runbook import runbook
from molt.ports import Alert

router = APIRouter(prefix="/api/v1", tags=["alerts"])

LINK_SECONDS: Final = 7 * 86_400.0


class Acknowledge(Body):
    """Somebody is on it."""

    reason: str = Field("", max_length=500, description="What they are doing; goes on record.")


def desk_of(request: Request) -> AlertDesk:
    """The desk of alerts."""
    return request.app.state.alerts


def shown(alert: Alert) -> dict[str, Any]:
    """An alert as plain data."""
    return msgspec.to_builtins(alert)


@router.get("/alerts")
async def list_alerts(request: Request, _: Viewer) -> list[dict[str, Any]]:
    """The latest 500, newest first: how often, whether it arrived, who is on it."""
    return [shown(alert) for alert in desk_of(request).all()]


@router.post("/alerts/{alert}/ack")
async def acknowledge(
    alert: str, body: Acknowledge, request: Request, caller: Operator
) -> dict[str, Any]:
    """Say that you are on it; the first who says so stays on record."""
    return shown(await desk_of(request).acknowledge(alert, caller.name, body.reason))


@router.get("/runbook")
async def read_runbook(
    request: Request, _: Viewer, rollout: str | None = None
) -> PlainTextResponse:
    """The on-call runbook as Markdown: your own, else the one made from the rollout's plan."""
    text = runbook_text(request.app.state, rollout)
    return PlainTextResponse(text, media_type="text/markdown")


def runbook_text(state: Any, rollout: str | None = None) -> str:
    """Your own runbook where one is configured, else that of the rollout's plan (default: the latest)."""
    from molt.adapters.playbooks import load_playbook

    controller: Controller = state.controller
    if state.runbook is not None:
        return state.runbook.read_text("utf-8")
    if rollout:
        return runbook(controller.desk(rollout).playbook)
    latest = next(reversed(controller.desks.values()), None)
    return runbook(latest.playbook if latest else load_playbook("wf-11"))


def runbook_page(alert: Alert) -> str:
    """Where the console has the section about `alert`, in the runbook of its rollout's plan."""
    of = f"?rollout={quote(alert.rollout)}" if alert.rollout else ""
    return f"/console/runbook{of}#{alert.about or 'alarm'}"


def links(public_url: str, key: bytes) -> Any:
    """Lines that lead from an alert to the console, the runbook, and to saying that you are on it.

    What only informs needs nobody, and where it is about nothing in the runbook, no section of it.
    """

    def lines(alert: Alert) -> list[str]:
        found = ["", f"Console: {public_url}/console/{alert.page or 'alerts'}"]
        if alert.about or alert.severity != "info":
            found.append(f"Runbook: {public_url}{runbook_page(alert)}")
        if alert.severity != "info":
            until = alert.last_at.timestamp() + LINK_SECONDS
            token = sign("ack", {"alert": alert.id}, until, key)
            found.append(f"I am on it: {public_url}/console/ack/{token}")
        return found

    return lines
