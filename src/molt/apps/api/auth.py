"""Who may call: API tokens, or sessions of people; with roles, and scopes that narrow them."""

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated, NamedTuple
from urllib.parse import quote, urlsplit

from fastapi import Depends, HTTPException, Request

from molt.apps.access import sessions
from molt.apps.access.rules import RANK, Role, scope_of

PREFIX = "molt_"


class Caller(NamedTuple):
    """The person or system that calls; `csrf` is what forms of a session must carry."""

    name: str
    role: str
    via: str = "token"
    scopes: tuple[str, ...] = ()
    csrf: str = ""

    def may(self, role: Role) -> bool:
        """Whether its role is at least this one."""
        return RANK[self.role] >= RANK[role]


def new_token() -> str:
    """A fresh token with 256 bits of entropy; shown once, kept only as a hash."""
    return PREFIX + secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """SHA-256, hex: enough for secrets of full entropy."""
    return hashlib.sha256(token.encode()).hexdigest()


def bearer(request: Request) -> str:
    """The token of the Authorization header; empty when there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def caller_of(request: Request) -> Caller | None:
    """Who calls, by bearer token or by session; None when nobody known does.

    Raises 403 for an unsafe request of a session that cannot show that it comes from our own pages.
    """
    token = bearer(request)
    if token:
        found = await request.app.state.tokens.find_by_hash(token_hash(token))
        if found is None:
            return None
        request.app.state.uses.note(found)
        return Caller(found.name, found.role, "token", found.scopes)
    session = await sessions.current(request)
    if session is None:
        return None
    role, scopes = session.role, ()
    if session.token:
        kept = await request.app.state.tokens.find_by_hash(session.token)
        if kept is None:  # revoked or expired since: so is the session
            return None
        request.app.state.uses.note(kept)
        role, scopes = kept.role, kept.scopes
    csrf = sessions.csrf_of(sessions.secret_of(request))
    request.state.caller = caller = Caller(session.name, role, "session", scopes, csrf)
    await sessions.prove_form(request)
    return caller


async def still_let_in(request: Request) -> bool:
    """Whether the token or the session that a request came with is still good; notes no use of it."""
    tokens = request.app.state.tokens
    if token := bearer(request):
        return await tokens.find_by_hash(token_hash(token)) is not None
    secret = sessions.digest(sessions.secret_of(request))
    session = await request.app.state.store.sessions.find_by_hash(secret)
    if session is None:
        return False
    return not session.token or await tokens.find_by_hash(session.token) is not None


def needs(role: Role) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency that lets in callers with at least `role`, by token or by session."""

    async def check(request: Request) -> Caller:
        caller = await caller_of(request)
        if caller is None:
            raise _unknown(request)
        request.state.caller = caller
        if not caller.may(role):
            raise HTTPException(
                403, f"{caller.name} is {caller.role}; this needs the role {role} or higher"
            )
        scope = scope_of(role, getattr(request.scope.get("route"), "tags", None) or [])
        if caller.scopes and scope not in caller.scopes:
            raise HTTPException(
                403, f"This token is only for {', '.join(caller.scopes)}; this needs {scope}"
            )
        return caller

    return check


def _unknown(request: Request) -> HTTPException:
    """Pages of the console send people to sign in; everything else is told what is missing."""
    if request.url.path.startswith("/console"):
        part = request.headers.get("hx-request")
        url = urlsplit(request.headers.get("hx-current-url", "") if part else str(request.url))
        here = url.path + (f"?{url.query}" if url.query else "")
        target = f"/console/login?next={quote(here, safe='/')}"
        if part:
            return HTTPException(401, "Sign in again", headers={"hx-redirect": target})
        if request.method in sessions.SAFE:
            return HTTPException(303, "Sign in first", headers={"location": target})
        return HTTPException(401, "Your session is over; sign in again")
    return HTTPException(
        401,
        "A valid token is needed: Authorization: Bearer TOKEN. The first one was printed "
        "at first start; `molt token add` makes more",
        headers={"www-authenticate": "Bearer"},
    )


async def gateway(request: Request) -> None:
    """A dependency that lets in gateways of this installation only."""
    if not hmac.compare_digest(bearer(request).encode(), request.app.state.gateway_key.encode()):
        raise HTTPException(401, "This is for gateways of this installation only")


Viewer = Annotated[Caller, Depends(needs("viewer"))]
Operator = Annotated[Caller, Depends(needs("operator"))]
Approver = Annotated[Caller, Depends(needs("approver"))]
Admin = Annotated[Caller, Depends(needs("admin"))]
