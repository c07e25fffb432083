"""Rollouts: their state, commands on them, their history and incidents."""

import secrets
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from molt.apps.api import checklist, predictions
from molt.apps.api.auth import Approver, Operator, Viewer
from molt.apps.api.models import Approve, Command, IncidentClose, IncidentNote, Note, Resume, Start
from molt.control import view
from molt.control.alerts import AlertDesk
from molt.control.controller import Controller
from molt.control.desk import Desk
from molt.control.timeline import timeline
from molt.core import commands
from molt.core.errors import NotFound, OperatorError
from molt.core.events import AnyEvent
from molt.core.report import report
from molt.core.scene import Scene
from molt.ports import Alert

router = APIRouter(prefix="/api/v1", tags=["rollouts"])

State = dict[str, Any]


def controller_of(request: Request) -> Controller:
    """The controller that this application serves."""
    return request.app.state.controller


def _state(request: Request, rollout: str) -> State:
    controller = controller_of(request)
    state = view.state(
        controller.desk(rollout),
        controller.clock.now(),
        controller.availability,
        controller.operator,
    )
    alerts: AlertDesk = request.app.state.alerts
    return state | {"alerts_undelivered": [_told(alert) for alert in alerts.undelivered()]}


def _told(alert: Alert) -> dict[str, Any]:
    """An alert that nobody has got, in short; of every rollout, for on-call is one."""
    return {
        "id": alert.id,
        "severity": alert.severity,
        "title": alert.title,
        "last_at": alert.last_at,
        "attempts": alert.attempts,
        "next_try": alert.next_try,
        "detail": alert.detail,
    }


async def _command(
    request: Request,
    rollout: str,
    command: Callable[[Scene], list[AnyEvent]],
    version: int | None = None,
) -> State:
    await controller_of(request).command(rollout, command, expected_version=version)
    return _state(request, rollout)


@router.get("/rollouts")
async def list_rollouts(request: Request, _: Viewer) -> list[State]:
    """The state of every rollout, oldest first."""
    return [_state(request, rollout) for rollout in controller_of(request).desks]


@router.post("/rollouts", status_code=201)
async def start(body: Start, request: Request, caller: Operator) -> State:
    """Start a rollout; it begins in shadow unless its playbook has no such phase."""
    if body.waive and not body.reason:
        raise OperatorError("Waiving a checklist item needs a reason")
    playbook = checklist.with_own_money(checklist.plan_of(body), request.app.state)
    waived = playbook.checklist if body.waive == ("all",) else body.waive
    rollout = body.rollout or playbook.name
    controller_of(request).refuse_overlap(playbook, rollout)  # no checklist would help with that
    await checklist.refuse_unchecked(request.app.state, playbook, waived)
    prediction = None if body.prediction is None else predictions.of(body.prediction)
    if prediction is not None:
        predictions.refuse_other_plan(prediction, playbook)
    await controller_of(request).begin(
        playbook,
        rollout_id=rollout,
        salts=(body.salt or secrets.token_hex(8), secrets.token_hex(8)),
        by=caller.name,
        reason=body.reason,
        waived=waived,
        prediction=prediction,
    )
    return _state(request, rollout)


@router.get("/rollouts/{rollout}")
async def read(rollout: str, request: Request, _: Viewer) -> State:
    """Where it is, what each gate and trigger says and why, both arms, and what comes next."""
    return _state(request, rollout)


@router.get("/rollouts/{rollout}/evidence")
async def evidence(rollout: str, request: Request, _: Viewer) -> State:
    """Both arms' numbers in the present step, and every ruling with its numbers."""
    state = _state(request, rollout)
    return {k: state[k] for k in ("rollout", "epoch", "phase", "arms", "gates", "triggers")}


@router.get("/rollouts/{rollout}/report")
async def ab_report(rollout: str, request: Request, _: Viewer) -> State:
    """The A/B report: each metric on both arms, with interval, ruling and a plain sentence."""
    controller = controller_of(request)
    scene = controller.desk(rollout).scene(controller.clock.now())
    return msgspec.to_builtins(report(scene))


@router.get("/rollouts/{rollout}/playbook")
async def playbook(rollout: str, request: Request, _: Viewer) -> State:
    """The plan that this rollout runs, as data, with its hash."""
    desk = controller_of(request).desk(rollout)
    return {"hash": desk.rollout.playbook_hash, "playbook": desk.playbook.as_data()}


@router.get("/rollouts/{rollout}/history")
async def history(
    rollout: str, request: Request, _: Viewer, after: int = 0, limit: int = 1000
) -> list[State]:
    """The event log behind record `after`: every fact with its number and chained hash."""
    records = [r for r in controller_of(request).desk(rollout).records if r.seq > after]
    return [
        {"seq": r.seq, "hash": r.hash, **msgspec.to_builtins(r.event)}
        for r in records[: max(0, limit)]
    ]


@router.post("/rollouts/{rollout}/ask")
async def ask(rollout: str, body: Command, request: Request, caller: Operator) -> State:
    """Ask in one's own name for the approval to leave the present step; Molt asks by itself, too."""
    return await _command(
        request,
        rollout,
        lambda scene: commands.ask_approval(scene, caller.name, body.reason),
        body.expected_version,
    )


@router.post("/rollouts/{rollout}/approve")
async def approve(rollout: str, body: Approve, request: Request, caller: Approver) -> State:
    """Approve what is asked; refused while any other gate has not passed, and for who asked."""
    return await _command(
        request,
        rollout,
        lambda scene: commands.approve(scene, caller.name, body.reason, body.digest),
        body.expected_version,
    )


@router.post("/rollouts/{rollout}/promote")
async def promote(rollout: str, body: Command, request: Request, caller: Operator) -> State:
    """Leave the present step ahead of its planned pace, never before its hold.

    Past gates that still wait, it asks for a second person's approval instead."""
    return await _command(
        request,
        rollout,
        lambda scene: commands.promote(scene, caller.name, body.reason),
        body.expected_version,
    )


@router.post("/rollouts/{rollout}/pause")
async def pause(rollout: str, body: Command, request: Request, caller: Operator) -> State:
    """Stop the climb at the present share."""
    return await _command(
        request,
        rollout,
        lambda scene: commands.pause(scene, caller.name, body.reason),
        body.expected_version,
    )


@router.post("/rollouts/{rollout}/resume")
async def resume(rollout: str, body: Resume, request: Request, caller: Operator) -> State:
    """Let the climb go on with a fresh hold; after a rollback, from a named phase."""
    return await _command(
        request,
        rollout,
        lambda scene: commands.resume(scene, caller.name, body.reason, body.phase),
        body.expected_version,
    )


@router.post("/rollouts/{rollout}/rollback")
async def rollback(rollout: str, body: Command, request: Request, caller: Operator) -> State:
    """Take all traffic back to control now."""
    return await _command(
        request, rollout, lambda scene: commands.roll_back(scene, caller.name, body.reason)
    )


@router.post("/rollouts/{rollout}/abort")
async def abort(rollout: str, body: Command, request: Request, caller: Operator) -> State:
    """End the rollout for good; all traffic goes to control."""
    return await _command(
        request, rollout, lambda scene: commands.abort(scene, caller.name, body.reason)
    )


@router.post("/rollouts/{rollout}/notes")
async def note(rollout: str, body: Note, request: Request, caller: Operator) -> State:
    """Record a remark, or an adjustment to prompts or tools with the candidate's version."""
    return await _command(
        request,
        rollout,
        lambda scene: commands.note(scene, caller.name, body.text, body.candidate_version),
        body.expected_version,
    )


# --- incidents


def _incidents(desks: Sequence[Desk]) -> list[State]:
    return [
        {"rollout": desk.id, **view.incident(incident)}
        for desk in desks
        for incident in desk.rollout.incidents
    ]


def _desk_of(request: Request, incident: str) -> Desk:
    for desk in controller_of(request).desks.values():
        if any(i.id == incident for i in desk.rollout.incidents):
            return desk
    known = [i["id"] for i in _incidents(list(controller_of(request).desks.values()))]
    raise NotFound(f"No incident {incident!r}; known: {', '.join(known) or 'none'}")


@router.get("/incidents", tags=["incidents"])
async def list_incidents(request: Request, _: Viewer) -> list[State]:
    """All incidents of all rollouts, oldest first."""
    return _incidents(list(controller_of(request).desks.values()))


@router.get("/incidents/{incident}", tags=["incidents"])
async def read_incident(incident: str, request: Request, _: Viewer) -> State:
    """One incident: its evidence as it was, and how far its procedure has come."""
    desk = _desk_of(request, incident)
    found = next(i for i in _incidents([desk]) if i["id"] == incident)
    return found | {"plan": list(desk.playbook.procedure) if found["procedure"] else []}


@router.get("/incidents/{incident}/timeline", tags=["incidents"])
async def read_timeline(incident: str, request: Request, _: Viewer) -> PlainTextResponse:
    """The incident as a Markdown page."""
    desk = _desk_of(request, incident)
    found = next(i for i in desk.rollout.incidents if i.id == incident)
    text = timeline(desk.rollout, found, desk.events())
    return PlainTextResponse(text, media_type="text/markdown")


@router.post("/incidents/{incident}/notes", tags=["incidents"])
async def note_incident(
    incident: str, body: IncidentNote, request: Request, caller: Operator
) -> State:
    """Add to the incident's timeline."""
    desk = _desk_of(request, incident)
    await controller_of(request).command(
        desk.id, lambda scene: commands.note_incident(scene, incident, caller.name, body.text)
    )
    return await read_incident(incident, request, caller)


@router.post("/incidents/{incident}/close", tags=["incidents"])
async def close_incident(
    incident: str, body: IncidentClose, request: Request, caller: Operator
) -> State:
    """Close the incident with its cause."""
    desk = _desk_of(request, incident)
    await controller_of(request).command(
        desk.id, lambda scene: commands.close_incident(scene, incident, caller.name, body.cause)
    )
    return await read_incident(incident, request, caller)
