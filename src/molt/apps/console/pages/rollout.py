"""Where a rollout is, why, what comes next, and the buttons that change it."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from molt.apps.api.auth import Viewer
from molt.apps.api.following import sse
from molt.apps.api.hub import Message
from molt.apps.console import live, sketches
from molt.apps.console.pages import analytics
from molt.apps.console.pages.choosing import chosen, desks
from molt.apps.console.render import fragment, render
from molt.control import view
from molt.control.controller import Controller
from molt.control.desk import Desk
from molt.control.facts import told_of
from molt.core import tasks
from molt.core.offers import offered
from molt.core.rollout import ACTIVE, WATCHED

router = APIRouter()

STALE_SECONDS: Final = 15.0
"""Without word from gateways for this long, numbers are shown as old."""

RECENT: Final = 12


@router.get("")
@router.get("/rollouts")
async def latest(request: Request, caller: Viewer) -> Response:
    """The latest rollout's page; without one, how to begin."""
    desk = chosen(request, None)
    if desk is None:
        return render(request, "no_rollout.html", caller, page="rollout")
    return RedirectResponse(f"/console/rollouts/{desk.id}", 303)


@router.get("/rollouts/{rollout}")
async def page(
    rollout: str,
    request: Request,
    caller: Viewer,
    done: Annotated[str | None, Query(max_length=40)] = None,
) -> Response:
    """The page of one rollout."""
    desk = _desk(request, rollout)
    await analytics.look_ahead(request, desk)
    return render(
        request,
        "rollout.html",
        caller,
        page="rollout",
        rollouts=[d.id for d in desks(request)],
        done=done,
        **_picture(request, desk),
    )


@router.get("/rollouts/{rollout}/live")
async def follow(rollout: str, request: Request, _: Viewer) -> StreamingResponse:
    """The changing part of the page, once a second and after every fact."""
    desk = _desk(request, rollout)

    def draw() -> str:
        return fragment("_rollout.html", **_picture(request, desk))

    def concerns(message: Message) -> bool:
        return message.data.get("rollout") == rollout

    return sse(request, live.fragments(request.app.state.hub, draw, concerns))


def _desk(request: Request, rollout: str) -> Desk:
    controller: Controller = request.app.state.controller
    return controller.desk(rollout)


def _picture(request: Request, desk: Desk) -> dict[str, Any]:
    """All that the page shows of the rollout, as it is now."""
    controller: Controller = request.app.state.controller
    now = controller.clock.now()
    state = view.state(desk, now, controller.availability, controller.operator)
    return {
        "state": state,
        "now": now,
        "silence": silence(state["data_until"], now),
        "store_problem": controller.store_problem,
        "gates": [g | {"sketch": sketches.of_gate(g, _better(desk, g))} for g in state["gates"]],
        "summary": summary(state, now),
        "active": desk.rollout.phase in ACTIVE,
        "watched": desk.rollout.phase in WATCHED,
        "offered": offered(desk.scene(now)),
        "afterwards": tasks.listed(desk.rollout, desk.playbook, now)["tasks"],
        "bounds": controller.operator.bounds,
        "procedure": len(desk.playbook.procedure),
        "phases": phases(state),
        "recent": recent(desk),
        "titles": {name: m.title or name for name, m in desk.playbook.metrics.items()},
        "resume_phases": [p.name for p in desk.playbook.phases],
    }


def _better(desk: Desk, gate: dict[str, Any]) -> str:
    metric = desk.playbook.metrics.get(gate["name"].partition(":")[2])
    return metric.better if metric else "lower"


def silence(until: datetime | None, now: datetime) -> float | None:
    """For how many seconds nothing was heard of any request, when that is long; else None."""
    if until is None:
        return None
    seconds = (now - until).total_seconds()
    return seconds if seconds >= STALE_SECONDS else None


def summary(state: dict[str, Any], now: datetime) -> str:
    """Where it is and what it waits for, in one sentence."""
    phase = state["phase"].replace("_", " ")
    if state["phase"] == "complete":
        word = "Closed" if state["closed"] else "Complete"
        signed = ", every task is signed" if state["closed"] else ""
        return f"{word}: all traffic is on the candidate{signed}."
    if state["phase"] in ("rolled_back", "aborted"):
        return f"{phase.capitalize()}: all traffic is on control."
    if halt := state["halt"]:
        return f"{phase.capitalize()} at {state['traffic_percent']:g}%, {HALTED[halt['kind']]}."
    if state["held_back"]:
        return f"{phase.capitalize()}, held back by the operator's flags."
    waiting = [g for g in state["gates"] if g["verdict"] != "pass"]
    if waiting:
        count = f"{len(waiting)} of {len(state['gates'])} conditions"
        return f"{phase.capitalize()} at {state['traffic_percent']:g}%, {count} still open."
    return f"{phase.capitalize()} at {state['traffic_percent']:g}%, all conditions met."


HALTED: Final = {
    "paused": "paused",
    "review": "waiting for a person's review",
    "question": "waiting for a person's decision",
    "halved": "halved and held there",
}


def phases(state: dict[str, Any]) -> list[dict[str, Any]]:
    """The ladder by phase: every step with `past`, `here`, `lost` or `ahead`."""
    rows = state["ladder"]
    here = (state["plan_phase"], state["step"])
    at = next((i for i, r in enumerate(rows) if (r["phase"], r["step"]) == here), -1)
    grouped: dict[str, dict[str, Any]] = {}
    for i, row in enumerate(rows):
        if state["phase"] == "complete" or i < at:
            place = "past"
        elif i > at:
            place = "ahead"
        else:
            place = "lost" if state["phase"] in ("rolled_back", "aborted") else "here"
        phase = grouped.setdefault(row["phase"], {"name": row["phase"], "steps": []})
        phase["steps"].append(row | {"place": place})
    return list(grouped.values())


def recent(desk: Desk) -> list[dict[str, Any]]:
    """The latest facts, newest first, each with one line of detail."""
    return [
        {
            "seq": record.seq,
            "at": record.event.at,
            "type": type(record.event).__name__,
            "by": record.event.by,
            "detail": told_of(record.event),
        }
        for record in reversed(desk.records[-RECENT:])
    ]
