"""After the rollout: the retrospective, and the tasks with their owners and signatures."""

import math
from copy import copy
from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from pydantic import Field

from molt.apps.api import predictions
from molt.apps.api.auth import Operator, Viewer
from molt.apps.api.models import Body
from molt.apps.api.rollouts import controller_of
from molt.apps.retro import as_html
from molt.control.desk import Desk
from molt.control.retro import retrospective
from molt.control.retro_course import ended, legs
from molt.core import tasks
from molt.core.events import AnyEvent
from molt.core.scene import Scene

router = APIRouter(prefix="/api/v1", tags=["after"])


class Assign(Body):
    """Who does a task, and until when."""

    owner: str = Field(min_length=1, max_length=200)
    due: date | None = Field(None, description="The day, such as 2026-05-31.")


class Sign(Body):
    """That a task is done."""

    reason: str = Field("", max_length=2000, description="How, or where it can be seen.")


def _listed(request: Request, rollout: str) -> dict[str, Any]:
    controller = controller_of(request)
    desk, now = controller.desk(rollout), controller.clock.now()
    return tasks.listed(desk.rollout, desk.playbook, now)


@router.get("/rollouts/{rollout}/tasks")
async def list_tasks(rollout: str, request: Request, _: Viewer) -> dict[str, Any]:
    """What is to do after the rollout; it is `closed` when it is complete and all is signed."""
    return _listed(request, rollout)


@router.post("/rollouts/{rollout}/tasks/{number}/assign")
async def assign(
    rollout: str, number: int, body: Assign, request: Request, caller: Operator
) -> dict[str, Any]:
    """Give a task to somebody."""

    def command(scene: Scene) -> list[AnyEvent]:
        return tasks.assign(scene, number, caller.name, body.owner, body.due)

    await controller_of(request).command(rollout, command)
    return _listed(request, rollout)


@router.post("/rollouts/{rollout}/tasks/{number}/sign")
async def sign(
    rollout: str, number: int, body: Sign, request: Request, caller: Operator
) -> dict[str, Any]:
    """Sign that a task is done."""

    def command(scene: Scene) -> list[AnyEvent]:
        return tasks.sign(scene, number, caller.name, body.reason)

    await controller_of(request).command(rollout, command)
    return _listed(request, rollout)


class Compared(Body):
    """What the retrospective is to be held against."""

    plan: dict[str, Any] = Field(description="What `molt plan --save` or `--json` wrote.")


Format = Annotated[
    Literal["markdown", "html"], Query(alias="format", description="Text, or a page of its own.")
]


@router.get("/rollouts/{rollout}/retro", response_class=PlainTextResponse)
async def retro(rollout: str, request: Request, _: Viewer, form: Format = "markdown") -> Response:
    """The retrospective, written from the log."""
    return await _written(request, rollout, form, None)


@router.post("/rollouts/{rollout}/retro", response_class=PlainTextResponse)
async def retro_compared(
    rollout: str, body: Compared, request: Request, _: Viewer, form: Format = "markdown"
) -> Response:
    """The retrospective, with what `molt plan` had foreseen beside what happened; keeps nothing."""
    return await _written(request, rollout, form, body.plan)


async def _written(
    request: Request, rollout: str, form: str, plan: dict[str, Any] | None
) -> Response:
    controller = controller_of(request)
    now = controller.clock.now()
    desk = await _at_its_end(request, controller.desk(rollout), now)
    prediction = None if plan is None else predictions.of(plan)
    text = retrospective(desk, now, prediction)
    if form == "html":
        opened = [incident.opened_at for incident in desk.rollout.incidents]
        return HTMLResponse(as_html(text, legs(desk, now), opened))
    return PlainTextResponse(text, media_type="text/markdown")


async def _at_its_end(request: Request, desk: Desk, now: datetime) -> Desk:
    """The desk without what was served after the rollout had ended, which is nobody's course."""
    end = ended(desk, now)
    if end == now:
        return desk
    then = copy(desk)
    then.book = desk.book.without(
        await request.app.state.store.slots(desk.id, math.ceil(end.timestamp()))
    )
    return then
