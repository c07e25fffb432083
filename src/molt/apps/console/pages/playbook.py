"""The plan: read, held against another version, checked, and a new version proposed."""

import difflib
from io import StringIO
from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from ruamel.yaml import YAML

from molt.adapters.playbooks import parse_playbook, shipped
from molt.apps.api.auth import Operator, Viewer
from molt.apps.console.pages.choosing import chosen, desks
from molt.apps.console.pages.commands import Reason, carry_out
from molt.apps.console.render import render
from molt.apps.console.what_if import Questions, decisions
from molt.control.desk import Desk
from molt.core import commands
from molt.core.errors import OperatorError
from molt.core.playbook import Playbook

router = APIRouter()

Text = Annotated[str, Form(max_length=200_000)]


def as_yaml(playbook: Playbook) -> str:
    """The plan as YAML text, every default written out."""
    out = StringIO()
    yaml = YAML(typ="safe")
    yaml.default_flow_style = False
    yaml.dump(playbook.as_data(), out)
    return out.getvalue()


@router.get("/playbook")
async def page(
    request: Request, caller: Viewer, rollout: str | None = None, done: str | None = None
) -> Response:
    """The plan that the rollout runs."""
    desk = chosen(request, rollout)
    if desk is None:
        return render(request, "no_rollout.html", caller, page="playbook")
    return _show(request, caller, desk, as_yaml(desk.playbook), done=done)


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
    """Put a new version on record, with its hash and what it changes; the running plan stays."""
    desk = chosen(request, rollout)
    assert desk is not None
    plan = parse_playbook(text, "proposal")
    if plan.hash() == desk.rollout.playbook_hash:
        raise OperatorError("This is the plan that is running; a proposal must change something")
    if not reason:
        raise OperatorError("A proposal needs a reason")
    changes = [
        line for line in difference(desk, plan) if line[:1] in "+-" and line[:3] not in _HEAD
    ]
    note = f"proposed playbook {plan.name} {plan.hash()[:12]}: {reason}\n" + "\n".join(changes)
    return await carry_out(
        request,
        caller,
        rollout,
        lambda scene: commands.note(scene, caller.name, note, None),
        done="proposed",
        back="/console/playbook",
    )


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


_HEAD = ("+++", "---")


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
    done: str | None = None,
) -> Response:
    problem, changes = "", list[str]()
    if checked:
        try:
            changes = difference(desk, parse_playbook(text, "text"))
        except OperatorError as error:
            problem = str(error)
    return render(
        request,
        "playbook.html",
        caller,
        page="playbook",
        rollouts=[d.id for d in desks(request)],
        rollout=desk.id,
        plan=desk.playbook.as_data(),
        hash=desk.rollout.playbook_hash,
        text=text,
        checked=checked,
        problem=problem,
        changes=changes,
        done=done,
        shipped=shipped(),
    )
