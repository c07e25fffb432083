"""What the user's own systems and agents tell Molt, and what they may ask: flags, assignment."""

from datetime import datetime
from typing import Any

import msgspec
from fastapi import APIRouter, HTTPException, Request, Response

from molt.apps.api.auth import Operator, Viewer
from molt.apps.api.models import CallReport, OutcomeIn, ViolationIn
from molt.apps.api.rollouts import controller_of
from molt.control.controller import Controller
from molt.core.assignment import explain
from molt.core.errors import OperatorError
from molt.core.evidence import LIVE, Outcome, Violation
from molt.core.policy import ToolPolicy
from molt.link.tokens import InvalidToken, Run

router = APIRouter(prefix="/api/v1", tags=["facts"])

MAX_OUTCOMES = 10_000


@router.post("/outcomes", status_code=202)
async def outcomes(
    body: list[OutcomeIn] | OutcomeIn, request: Request, _: Operator
) -> dict[str, int]:
    """Report one outcome or a list; each id counts once, up to seven days late.

    Answers how many were accepted, repeated, too late, and of subjects never seen.
    """
    reported = body if isinstance(body, list) else [body]
    if len(reported) > MAX_OUTCOMES:
        raise HTTPException(413, f"at most {MAX_OUTCOMES} outcomes a request")
    controller = controller_of(request)
    by_rollout: dict[str, list[Outcome]] = {}
    for one in reported:
        rollout = _rollout_of(controller, one.rollout, one.agent)
        by_rollout.setdefault(rollout, []).append(_outcome(one, controller.clock.now()))
    totals = {"accepted": 0, "repeated": 0, "unknown_subjects": 0, "too_late": 0}
    for rollout, group in by_rollout.items():
        accepted = await controller.report_outcomes(rollout, group)
        for name, count in accepted._asdict().items():
            totals[name] += count
    return totals


def _rollout_of(controller: Controller, rollout: str | None, agent: str | None) -> str:
    if rollout is not None:
        return controller.desk(rollout).id
    covering = [d.id for d in controller.desks.values() if agent in (None, *d.rollout.agents)]
    if len(covering) == 1:
        return covering[0]
    known = ", ".join(controller.desks) or "none"
    raise OperatorError(
        f"Which rollout is this about? Give `rollout` or an `agent` that one covers; known: {known}"
    )


def _outcome(one: OutcomeIn, now: datetime) -> Outcome:
    return Outcome(one.id, one.subject, one.kind, one.at or now, one.value, one.agent)


@router.post("/violations", status_code=202)
async def violations(body: ViolationIn, request: Request, _: Operator) -> dict[str, Any]:
    """Report a security violation; answered when the rollback that it causes is written."""
    controller = controller_of(request)
    desk = controller.desk(_rollout_of(controller, None, body.agent))
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
    await _police(controller, claims, body, now)
    return Response(status_code=204)


async def _police(controller: Controller, claims: Run, call: CallReport, now: datetime) -> None:
    """A reported call that the policy forbids is a violation before it happens: refused."""
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
        "flags": msgspec.to_builtins(controller.flags),
        "bounds": msgspec.to_builtins(controller.operator.bounds),
        "flags_file_problem": controller.operator.problem,
        "gateways": msgspec.to_builtins(request.app.state.hub.applied()),
    }


@router.get("/assign")
async def assign(request: Request, _: Viewer, agent: str, subject: str) -> dict[str, Any]:
    """Which arm this subject would get now, and why (conversation pins apart)."""
    current = controller_of(request).flags
    if current is None:
        raise HTTPException(503, "no flags yet")
    found = explain(current, agent, subject)
    return {"agent": agent, "subject": subject, **found._asdict()}
