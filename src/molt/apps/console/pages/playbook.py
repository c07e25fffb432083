"""The plan: read, held against another version, checked, and a new version proposed."""

import difflib
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import AfterValidator

from molt.adapters.playbooks import as_yaml, parse_playbook
from molt.apps.api.auth import Operator, Viewer
from molt.apps.console.pages.choosing import chosen, desks
from molt.apps.console.pages.commands import Reason
from molt.apps.console.render import render
from molt.apps.console.what_if import Questions, decisions
from molt.control.controller import Controller
from molt.control.desk import Desk
from molt.core import commands
from molt.core.errors import OperatorError
from molt.core.events import Noted
from molt.core.playbook import Playbook

router = APIRouter()


def _unix(text: str) -> str:
    """A form sends its lines with CR and LF."""
    return text.replace("\r\n", "\n")


Text = Annotated[str, Form(max_length=200_000), AfterValidator(_unix)]


@router.get("/playbook")
async def page(
    request: Request,
    caller: Viewer,
    rollout: str | None = None,
    proposal: int | None = None,
    done: str | None = None,
) -> Response:
    """The plan that the rollout runs; with the number of a proposal, that one beside it."""
    desk = chosen(request, rollout)
    if desk is None:
        return render(request, "no_rollout.html", caller, page="playbook")
    if proposal is not None:
        return _show(request, caller, desk, _proposed(desk, proposal), checked=True)
    return _show(request, caller, desk, as_yaml(desk.playbook), done=done)


@router.get("/playbook/{rollout}/proposals/{number}.yaml")
async def download(rollout: str, number: int, request: Request, _: Viewer) -> Response:
    """A proposal as it was written, for `molt start`."""
    desk = chosen(request, rollout)
    assert desk is not None
    name = f"{desk.id}-proposal-{number}.yaml"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(_proposed(desk, number), media_type="application/yaml", headers=headers)


@router.post("/playbook/{rollout}/check")
async def check(rollout: str, request: Request, caller: Viewer, text: Text) -> Response:
    """Whether a text is a plan, and what it would change. Nothing is kept."""
    desk = chosen(request, rollout)
    assert desk is not None
    return _show(request, caller, desk, text, checked=True)


@router.post("/playbook/{rollout}/propose")
async def propose(
    rollout: str, request: Request, caller: Operator, text: Text, reason: Reason = ""
) -> Response:
    """Put a new version on record, with its hash; the running plan stays.

    What is refused comes back with the text, to be mended."""
    controller: Controller = request.app.state.controller
    desk = controller.desk(rollout)
    try:
        plan = parse_playbook(text, "proposal")
        await controller.command(
            rollout, lambda scene: commands.propose(scene, caller.name, reason, plan, text)
        )
    except OperatorError as error:
        request.state.refused = str(error)
        return _show(request, caller, desk, text, refused=str(error), reason=reason)
    return RedirectResponse(f"/console/playbook?rollout={quote(rollout)}&done=proposed", 303)


@router.post("/playbook/{rollout}/what-if")
async def ask_what_if(rollout: str, request: Request, caller: Viewer, text: Text) -> Response:
    """Begin to hold a text against the rollout's recorded evidence; its page shows the answer."""
    desk = chosen(request, rollout)
    assert desk is not None
    try:
        plan = parse_playbook(text, "text")
    except OperatorError:
        return _show(request, caller, desk, text, checked=True)
    if not request.app.state.replays.recorded(desk.id):
        raise OperatorError("No evidence of this rollout has been recorded yet; look again later")
    questions: Questions = request.app.state.questions
    question = questions.ask(desk, plan, text)
    return RedirectResponse(f"/console/playbook/{desk.id}/what-if/{question.key}", 303)


@router.get("/playbook/{rollout}/what-if/{key}")
async def what_if_page(rollout: str, key: str, request: Request, caller: Viewer) -> Response:
    """What the log says was decided, and beside it what the other plan would have."""
    questions: Questions = request.app.state.questions
    desk, question = chosen(request, rollout), questions.get(key)
    if desk is None or question is None or question.rollout != desk.id:
        raise HTTPException(404, "This answer is not kept any more; ask again on the playbook page")
    rows = decisions(desk, question.stays) if question.stays is not None else []
    part = request.headers.get("hx-request")
    return render(
        request,
        "_what_if.html" if part else "what_if.html",
        caller,
        page="playbook",
        rollout=desk.id,
        running=desk.playbook,
        question=question,
        rows=rows,
        stopped=next((row for row in rows if row["stopped_at"]), None),
    )


def _proposed(desk: Desk, number: int) -> str:
    """The text of the proposal with this number in the log."""
    for record in desk.records:
        if record.seq == number and isinstance(record.event, Noted) and record.event.playbook:
            return record.event.playbook
    raise HTTPException(404, f"No proposal {number} in the log of {desk.id}")


def _proposals(desk: Desk) -> list[dict[str, Any]]:
    """What was proposed, the latest first."""
    return [
        {"number": r.seq, "at": r.event.at, "by": r.event.by, "note": r.event.note}
        for r in reversed(desk.records)
        if isinstance(r.event, Noted) and r.event.playbook
    ]


def difference(desk: Desk, plan: Playbook) -> list[str]:
    """Unified difference from the running plan."""
    before, after = as_yaml(desk.playbook).splitlines(), as_yaml(plan).splitlines()
    return list(difflib.unified_diff(before, after, "running", "proposed", lineterm="", n=2))


def _show(
    request: Request,
    caller: Any,
    desk: Desk,
    text: str,
    *,
    checked: bool = False,
    refused: str = "",
    reason: str = "",
    done: str | None = None,
) -> Response:
    problem, changes = refused, list[str]()
    if checked:
        try:
            changes = difference(desk, parse_playbook(text, "text"))
        except OperatorError as error:
            problem = str(error)
    return render(
        request,
        "playbook.html",
        caller,
        status=422 if refused else 200,
        page="playbook",
        rollouts=[d.id for d in desks(request)],
        rollout=desk.id,
        plan=desk.playbook.as_data(),
        hash=desk.rollout.playbook_hash,
        text=text,
        checked=checked,
        problem=problem,
        changes=changes,
        reason=reason,
        proposals=_proposals(desk),
        done=done,
    )
