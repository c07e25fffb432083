"""Shadow comparison: pairs of answers, what differs, what a person says of it; and control's actions."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request

from molt.apps.api.auth import Operator, Viewer
from molt.apps.api.models import ActionIn, RuleDifference
from molt.apps.api.outcomes import rollout_about
from molt.apps.api.rollouts import controller_of
from molt.control import shadow_view
from molt.control.shadowing import Shadowing
from molt.core import commands
from molt.core.errors import NotFound, OperatorError
from molt.core.pairs import Action

router = APIRouter(prefix="/api/v1", tags=["shadow"])

View = dict[str, Any]

MOST_ACTIONS = 10_000


def _shadowing(request: Request) -> Shadowing:
    return request.app.state.shadowing


@router.get("/rollouts/{rollout}/shadow")
async def list_pairs(
    rollout: str,
    request: Request,
    _: Viewer,
    kind: Annotated[str | None, Query(description="A kind, or a whole family.")] = None,
    verdict: Literal["acceptable", "unacceptable", "pending"] | None = None,
    agent: str | None = None,
    sort: Literal["worst", "newest"] = "worst",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> View:
    """Pairs of answers, worst first: what was asked, what differs, and whether it is acceptable."""
    return await shadow_view.listed(
        controller_of(request).desk(rollout),
        _shadowing(request).store,
        kind=kind,
        verdict=verdict,
        agent=agent,
        sort=sort,
        limit=limit,
        offset=offset,
    )


@router.get("/rollouts/{rollout}/shadow/summary")
async def summary(rollout: str, request: Request, _: Viewer) -> View:
    """How often the agent's answers are acceptable, and the kinds of differences, worst first."""
    desk = controller_of(request).desk(rollout)
    return await shadow_view.summary(desk, _shadowing(request).store)


@router.get("/rollouts/{rollout}/shadow/pairs/{pair}")
async def show_pair(rollout: str, pair: str, request: Request, _: Viewer) -> View:
    """One pair in full: both answers, and each difference. How its id ends is enough, if only one does."""
    desk, store = controller_of(request).desk(rollout), _shadowing(request).store
    ids = [row.id for row in await store.outlines(desk.id) if row.id.endswith(pair)]
    exact = [pair] if pair in ids else ids
    if not exact:
        raise NotFound(f"No pair {pair!r}, or it is no longer kept; list them: molt shadow list")
    if len(exact) > 1:
        raise OperatorError(
            f"Which pair is {pair!r}? There are {len(exact)}; list them: molt shadow list"
        )
    found = await store.pairs(desk.id, exact)
    return shadow_view.shown(desk, found[0])


@router.post("/rollouts/{rollout}/shadow/accept")
async def accept(rollout: str, body: RuleDifference, request: Request, caller: Operator) -> View:
    """Accept a kind of difference: it no longer makes a pair unacceptable. On record with the reason."""
    return await _rule(rollout, body, request, caller.name, acceptable=True)


@router.post("/rollouts/{rollout}/shadow/flag")
async def flag(rollout: str, body: RuleDifference, request: Request, caller: Operator) -> View:
    """Flag a kind of difference: it makes a pair unacceptable. On record with the reason."""
    return await _rule(rollout, body, request, caller.name, acceptable=False)


async def _rule(
    rollout: str, body: RuleDifference, request: Request, by: str, *, acceptable: bool
) -> View:
    controller = controller_of(request)
    await controller.command(
        rollout,
        lambda scene: commands.rule_difference(
            scene, body.kind, by, body.reason, acceptable=acceptable
        ),
        expected_version=body.expected_version,
    )
    return await shadow_view.summary(controller.desk(rollout), _shadowing(request).store)


@router.post("/actions", status_code=202)
async def actions(body: list[ActionIn] | ActionIn, request: Request, _: Operator) -> dict[str, int]:
    """Report what the existing system really did, one action or a list: held against what the agent
    would have done in the same request.

    Name the request by the trace id that Molt sent with it (`traceparent`), else by its subject and
    the time. Each id counts once.
    """
    reported = body if isinstance(body, list) else [body]
    if len(reported) > MOST_ACTIONS:
        raise HTTPException(413, f"at most {MOST_ACTIONS} actions a request")
    controller, hide = controller_of(request), request.app.state.hash_subject
    now = controller.clock.now()
    by_rollout: dict[str, list[Action]] = {}
    for one in reported:
        rollout = rollout_about(controller, one.rollout, one.agent)
        by_rollout.setdefault(rollout, []).append(
            Action(
                id=one.id,
                at=one.at or now,
                tool=one.tool,
                arguments=one.arguments,
                trace=one.trace_id,
                subject=hide(one.subject) if one.subject else None,
            )
        )
    new = 0
    for rollout, group in by_rollout.items():
        new += await _shadowing(request).report_actions(rollout, group)
    return {"accepted": new, "repeated": len(reported) - new}
