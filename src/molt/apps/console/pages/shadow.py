"""Answers side by side, worst first; and what a person says of a kind of difference."""

from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Form, HTTPException, Query, Request, Response

from molt.apps.api.auth import Operator, Viewer
from molt.apps.console.marked import marked, pretty
from molt.apps.console.pages.choosing import chosen, desks
from molt.apps.console.pages.commands import Reason, carry_out
from molt.apps.console.render import render
from molt.control import shadow_view
from molt.control.shadowing import Shadowing
from molt.core import commands

router = APIRouter()

PAGE = 25
Verdict = Literal["acceptable", "unacceptable", "pending"]


@router.get("/shadow")
async def page(
    request: Request,
    caller: Viewer,
    rollout: str | None = None,
    kind: str = "",
    verdict: str = "",
    agent: str = "",
    sort: Literal["worst", "newest"] = "worst",
    offset: Annotated[int, Query(ge=0)] = 0,
    done: str | None = None,
) -> Response:
    """How well the agent agrees, the kinds of differences, and the pairs."""
    desk = chosen(request, rollout)
    if desk is None:
        return render(request, "no_rollout.html", caller, page="shadow")
    shadowing: Shadowing = request.app.state.shadowing
    found = await shadow_view.listed(
        desk,
        shadowing.store,
        kind=kind or None,
        verdict=verdict or None,
        agent=agent or None,
        sort=sort,
        limit=PAGE,
        offset=offset,
    )
    return render(
        request,
        "shadow.html",
        caller,
        page="shadow",
        rollouts=[d.id for d in desks(request)],
        rollout=desk.id,
        agents=desk.rollout.agents,
        summary=await shadow_view.summary(desk, shadowing.store),
        found=found,
        asked={"kind": kind, "verdict": verdict, "agent": agent, "sort": sort},
        offset=offset,
        size=PAGE,
        done=done,
    )


@router.get("/shadow/{rollout}/{pair}")
async def pair_page(rollout: str, pair: str, request: Request, caller: Viewer) -> Response:
    """One pair: both answers with their differences marked, and the actions of both."""
    desk = chosen(request, rollout)
    shadowing: Shadowing = request.app.state.shadowing
    kept = await shadowing.store.pairs(rollout, [pair])
    if desk is None or not kept:
        raise HTTPException(404, f"The pair {pair} is not kept, or no longer")
    shown = shadow_view.shown(desk, kept[0])
    sides = [shown.get(name, {}) for name in ("control", "candidate")]
    left, right = (side.get("text") or pretty(side.get("data")) for side in sides)
    return render(
        request,
        "pair.html",
        caller,
        page="shadow",
        rollout=rollout,
        pair=shown,
        texts=marked(left, right),
    )


@router.post("/shadow/{rollout}/rule")
async def rule(
    rollout: str,
    request: Request,
    caller: Operator,
    kind: Annotated[str, Form(max_length=200)],
    said: Annotated[Literal["accept", "flag"], Form()],
    reason: Reason = "",
) -> Response:
    """Accept or flag a kind of difference, on record."""
    return await carry_out(
        request,
        caller,
        rollout,
        lambda scene: commands.rule_difference(
            scene, kind, caller.name, reason, acceptable=said == "accept"
        ),
        done="accepted" if said == "accept" else "flagged",
        back=f"/console/shadow?rollout={quote(rollout)}",
    )
