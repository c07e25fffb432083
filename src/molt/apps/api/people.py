"""Who may come in: the caller's own session, API tokens, and people who are signed in."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Request
from pydantic import Field

from molt.adapters.sql.values import ApiToken
from molt.apps.access.rules import Role, Scope
from molt.apps.access.shown import shown_session, shown_token
from molt.apps.api.auth import Admin, Viewer, new_token, token_hash
from molt.apps.api.models import Body

router = APIRouter(prefix="/api/v1", tags=["people"])

Name = Annotated[str, Path(min_length=1, max_length=200)]
Why = Annotated[str, Query(max_length=500, description="Why; goes on record.")]


class NewToken(Body):
    """An API token to make."""

    name: str = Field(
        pattern=r"^[\w.@+-]{1,100}$", description="Whose it is; stands in the log beside its acts."
    )
    role: Role = "viewer"
    scopes: tuple[Scope, ...] = Field(
        (), description="Narrow it further; none means all that its role may do."
    )
    expires_in_days: float | None = Field(
        None, gt=0, le=3650, description="Left out, it does not expire."
    )
    reason: str = Field("", max_length=500)


@router.get("/me")
async def me(caller: Viewer) -> dict[str, Any]:
    """Who calls, with what role; for a session also the CSRF token that its forms must carry."""
    return caller._asdict()


@router.post("/me/sign-out-everywhere")
async def sign_out_everywhere(request: Request, caller: Viewer) -> dict[str, int]:
    """End every session of the caller; API tokens stay, revoke those apart."""
    return {"ended": await request.app.state.store.sessions.end_all(caller.name)}


@router.get("/tokens")
async def list_tokens(request: Request, _: Admin) -> list[dict[str, Any]]:
    """All API tokens by name, oldest first: never the tokens themselves."""
    now = request.app.state.clock.now()
    return [shown_token(token, now) for token in await request.app.state.tokens.list()]


@router.post("/tokens", status_code=201)
async def add_token(body: NewToken, request: Request, caller: Admin) -> dict[str, Any]:
    """Make an API token; the answer is the only time it is shown. Refused when the name is taken."""
    now = request.app.state.clock.now()
    token = new_token()
    lifetime = body.expires_in_days and timedelta(days=body.expires_in_days)
    kept = ApiToken(
        name=body.name,
        role=body.role,
        sha256=token_hash(token),
        created_at=now,
        expires_at=now + lifetime if lifetime else None,
        scopes=tuple(dict.fromkeys(body.scopes)),
        created_by=caller.name,
    )
    await request.app.state.tokens.add(kept)
    return shown_token(kept, now) | {"token": token}


@router.delete("/tokens/{name}")
async def revoke_token(name: Name, request: Request, _: Admin, reason: Why = "") -> dict[str, Any]:
    """End the live token of this name now, and the sessions that were begun with it."""
    if not await request.app.state.tokens.revoke(name):
        raise HTTPException(404, f"There is no live token of the name {name!r}")
    return {"name": name, "revoked": True}


@router.get("/sessions")
async def list_sessions(request: Request, _: Admin) -> list[dict[str, Any]]:
    """Who is signed in, oldest first: since when, from where, until when at the longest."""
    state = request.app.state
    idle_since = state.clock.now() - state.rules.idle
    kept = await state.store.sessions.list()
    return [shown_session(session) for session in kept if session.seen_at >= idle_since]


@router.delete("/sessions/{name}")
async def end_sessions(name: Name, request: Request, _: Admin, reason: Why = "") -> dict[str, Any]:
    """Sign somebody out everywhere now."""
    ended = await request.app.state.store.sessions.end_all(name)
    if not ended:
        raise HTTPException(404, f"Nobody of the name {name!r} is signed in")
    return {"name": name, "ended": ended}
