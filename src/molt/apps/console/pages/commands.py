"""What the buttons do: a form comes in, the same command as the API's is carried out."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from molt.apps.api.auth import Approver, Caller, Operator
from molt.apps.console.render import render
from molt.control.controller import Controller
from molt.core import commands
from molt.core.errors import Refused, VersionConflict
from molt.core.events import AnyEvent
from molt.core.scene import Scene

router = APIRouter()

Reason = Annotated[str, Form(max_length=2000)]
Version = Annotated[int | None, Form()]


async def carry_out(
    request: Request,
    caller: Caller,
    rollout: str,
    command: Callable[[Scene], list[AnyEvent]],
    *,
    done: str,
    version: int | None = None,
    back: str | None = None,
) -> Response:
    """Do it and show the page again; when it is refused, say what stands in the way."""
    controller: Controller = request.app.state.controller
    back = back or f"/console/rollouts/{rollout}"
    try:
        await controller.command(rollout, command, expected_version=version)
    except (Refused, VersionConflict) as error:
        return refused(request, caller, str(error), back)
    target = f"{back}{'&' if '?' in back else '?'}done={done}"
    if request.headers.get("hx-request"):
        return Response(status_code=204, headers={"hx-redirect": target})
    return RedirectResponse(target, 303)


def refused(request: Request, caller: Caller, why: str, back: str) -> Response:
    """The refusal, as a part of the page where it was asked for, else as a page."""
    request.state.refused = why
    template = "_refused.html" if request.headers.get("hx-request") else "refused.html"
    return render(request, template, caller, status=409, page="rollout", why=why, back=back)


@router.post("/rollouts/{rollout}/rollback")
async def roll_back(
    rollout: str, request: Request, caller: Operator, reason: Reason = ""
) -> Response:
    """Take all traffic back to control now, whatever has changed since the page was drawn."""
    return await carry_out(
        request,
        caller,
        rollout,
        lambda scene: commands.roll_back(scene, caller.name, reason),
        done="rolled_back",
    )


@router.post("/rollouts/{rollout}/approve")
async def approve(
    rollout: str,
    request: Request,
    caller: Approver,
    reason: Reason = "",
    version: Version = None,
    digest: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Approve what is asked, as the person saw it."""
    return await carry_out(
        request,
        caller,
        rollout,
        lambda scene: commands.approve(scene, caller.name, reason, digest or None),
        done="approved",
        version=None if digest else version,
    )


@router.post("/rollouts/{rollout}/ask")
async def ask(rollout: str, request: Request, caller: Operator, reason: Reason = "") -> Response:
    """Ask for the approval in one's own name; then somebody else must give it."""
    return await carry_out(
        request,
        caller,
        rollout,
        lambda scene: commands.ask_approval(scene, caller.name, reason),
        done="asked",
    )


@router.post("/rollouts/{rollout}/promote")
async def promote(
    rollout: str,
    request: Request,
    caller: Operator,
    reason: Reason = "",
    version: Version = None,
) -> Response:
    """Go on ahead of the planned pace."""
    return await carry_out(
        request,
        caller,
        rollout,
        lambda scene: commands.promote(scene, caller.name, reason),
        done="promoted",
        version=version,
    )


@router.post("/rollouts/{rollout}/pause")
async def pause(rollout: str, request: Request, caller: Operator, reason: Reason = "") -> Response:
    """Stop the climb."""
    return await carry_out(
        request,
        caller,
        rollout,
        lambda scene: commands.pause(scene, caller.name, reason),
        done="paused",
    )


@router.post("/rollouts/{rollout}/resume")
async def resume(
    rollout: str,
    request: Request,
    caller: Operator,
    reason: Reason = "",
    phase: Annotated[str, Form(max_length=40)] = "",
) -> Response:
    """Let the climb go on; after a rollback from a named phase."""
    return await carry_out(
        request,
        caller,
        rollout,
        lambda scene: commands.resume(scene, caller.name, reason, phase or None),
        done="resumed",
    )


@router.post("/rollouts/{rollout}/notes")
async def note(
    rollout: str,
    request: Request,
    caller: Operator,
    text: Reason = "",
    candidate_version: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Record a remark, or with a version an adjustment of the candidate."""
    return await carry_out(
        request,
        caller,
        rollout,
        lambda scene: commands.note(scene, caller.name, text, candidate_version or None),
        done="noted",
    )


@router.post("/rollouts/{rollout}/abort")
async def abort(rollout: str, request: Request, caller: Operator, reason: Reason = "") -> Response:
    """End the rollout for good."""
    return await carry_out(
        request,
        caller,
        rollout,
        lambda scene: commands.abort(scene, caller.name, reason),
        done="aborted",
    )
