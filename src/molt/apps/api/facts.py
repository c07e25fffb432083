"""What the user's own systems and agents tell Molt, and what they may ask: flags, assignment."""

from datetime import datetime
from typing import Any

import msgspec
from fastapi import APIRouter, HTTPException, Request, Response

from molt.apps.api.auth import Operator, Viewer
from molt.apps.api.models import CallReport, ViolationIn
from molt.apps.api.outcomes import rollout_about
from molt.apps.api.rollouts import controller_of
from molt.control.controller import Controller
from molt.core.assignment import explain
from molt.core.evidence import LIVE, Violation
from molt.core.policy import ToolPolicy
from molt.link.tokens import InvalidToken, Run

router = APIRouter(prefix="/api/v1", tags=["facts"])


@router.post("/violations", status_code=202)
async def violations(body: ViolationIn, request: Request, _: Operator) -> dict[str, Any]:
    """Report a security violation; answered when the rollback that it causes is written."""
    controller = controller_of(request)
    desk = controller.desk(rollout_about(controller, None, body.agent))
    violation = Violation(
        rollout=desk.id,
        at=body.at or controller.clock.now(),
        agent=body.agent,
        tool=body.tool,
        source="reported",
        mode="shadow" if desk.rollout.phase == "shadow" else LIVE,
        run=body.run,
        subject=request.app.state.hash_subject(body.subject) if body.subject else None,
        detail=body.detail,
    )
    accepted = await controller.report_violation(violation, f"reported:{body.id}")
    return {"accepted": accepted, "phase": desk.rollout.phase}


@router.post("/runs/calls", status_code=204, responses={409: {"description": "run closed"}})
async def report_call(body: CallReport, request: Request) -> Response:
    """An agent reports a tool call before it acts, with the run token it was given.

    409 means that the run is over for Molt: control answers, and the agent must not act.
    """
    controller, now = controller_of(request), request.app.state.clock.now()
    try:
        claims: Run = request.app.state.verify_run(
            request.headers.get("x-molt-run", ""), now.timestamp()
        )
    except InvalidToken as error:
        raise HTTPException(401, str(error)) from None
    arguments = msgspec.json.encode(body.arguments).decode()
    if not await request.app.state.store.report_call(claims.id, body.tool, arguments, now):
        raise HTTPException(409, "This run was closed; do not act")
    request.app.state.audit.append(
        {
            "at": now,
            "kind": "tool_call",
            "run": claims.id,
            "rollout": claims.rollout,
            "agent": claims.agent,
            "arm": claims.arm,
            "mode": claims.mode,
            "tools": [body.tool],
            "reason": "observed",
        }
    )
    if not request.app.state.tools_enforced:
        await _police(controller, claims, body, now)
    return Response(status_code=204)


@router.get("/runs/{run}/calls")
async def calls_of_run(run: str, request: Request, _: Viewer) -> list[dict[str, Any]]:
    """What a run did through the egress, model calls and tool calls in order of time; for a week."""
    return [msgspec.to_builtins(call) for call in await request.app.state.store.calls_of(run)]


async def _police(controller: Controller, claims: Run, call: CallReport, now: datetime) -> None:
    """A reported call that the policy forbids is a violation before it happens: refused.

    Where tools are reached through the egress, a report is only an announcement: the call itself is
    decided, and stopped, there.
    """
    desk = controller.desks.get(claims.rollout)
    if desk is None:
        return
    agent = desk.playbook.agents.get(claims.agent)
    policy: ToolPolicy | None = agent.tools.policy() if agent and agent.tools else None
    if policy is None or (objection := policy.objection(call.tool, call.arguments)) is None:
        return
    violation = Violation(
        rollout=desk.id,
        at=now,
        agent=claims.agent,
        tool=call.tool,
        source="observed",
        mode=claims.mode,
        run=claims.id,
    )
    await controller.report_violation(violation, f"run:{claims.id}:{call.tool}")
    raise HTTPException(403, f"{claims.agent}: {objection}")


@router.get("/flags")
async def flags(request: Request, _: Viewer) -> dict[str, Any]:
    """The snapshot that gateways act on, the operator's bounds, and who has applied it."""
    controller = controller_of(request)
    return {
        "flags": msgspec.to_builtins(controller.writer.flags),
        "bounds": msgspec.to_builtins(controller.operator.bounds),
        "flags_file_problem": controller.operator.problem,
        "gateways": msgspec.to_builtins(request.app.state.hub.applied()),
    }


@router.get("/assign")
async def assign(request: Request, _: Viewer, agent: str, subject: str) -> dict[str, Any]:
    """Which arm this subject would get now, and why (conversation pins apart)."""
    current = controller_of(request).writer.flags
    if current is None:
        raise HTTPException(503, "no flags yet")
    found = explain(current, agent, subject)
    return {"agent": agent, "subject": subject, **msgspec.structs.asdict(found)}
