"""What is to do once a rollout is complete: who, until when, and who signed that it is done."""

from collections.abc import Callable
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response

from molt.apps.api.auth import Caller, Operator, Viewer
from molt.apps.api.rollouts import controller_of
from molt.apps.console.pages.choosing import desks
from molt.apps.console.pages.commands import Reason, carry_out
from molt.apps.console.render import render
from molt.core import tasks
from molt.core.events import AnyEvent
from molt.core.scene import Scene

router = APIRouter(prefix="/rollouts/{rollout}/tasks")


@router.get("")
async def tasks_page(
    rollout: str,
    request: Request,
    caller: Viewer,
    done: Annotated[str | None, Query(max_length=40)] = None,
) -> Response:
    """The tasks of one rollout."""
    controller = controller_of(request)
    desk, now = controller.desk(rollout), controller.clock.now()
    return render(
        request,
        "tasks.html",
        caller,
        page="rollout",
        rollouts=[d.id for d in desks(request)],
        phase=desk.rollout.phase,
        done=done,
        today=now.date().isoformat(),
        **tasks.listed(desk.rollout, desk.playbook, now),
    )


@router.post("/{number}/assign", name="assign_task")
async def assign(
    rollout: str,
    number: int,
    request: Request,
    caller: Operator,
    owner: Annotated[str, Form(max_length=200)] = "",
    due: Annotated[date | None, Form()] = None,
) -> Response:
    """Give a task to somebody, until a day."""
    return await _carry_out(
        request,
        caller,
        rollout,
        lambda scene: tasks.assign(scene, number, caller.name, owner.strip(), due),
        done="assigned",
    )


@router.post("/{number}/sign", name="sign_task")
async def sign(
    rollout: str, number: int, request: Request, caller: Operator, reason: Reason = ""
) -> Response:
    """Sign that a task is done."""
    return await _carry_out(
        request,
        caller,
        rollout,
        lambda scene: tasks.sign(scene, number, caller.name, reason),
        done="signed",
    )


async def _carry_out(
    request: Request,
    caller: Caller,
    rollout: str,
    command: Callable[[Scene], list[AnyEvent]],
    *,
    done: str,
) -> Response:
    back = f"/console/rollouts/{rollout}/tasks"
    return await carry_out(request, caller, rollout, command, done=done, back=back)
