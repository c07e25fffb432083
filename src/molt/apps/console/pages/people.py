"""Who may come in: people who are signed in, and API tokens. For administrators."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException, Query, Request, Response
from fastapi.responses import RedirectResponse

from molt.adapters.sql.values import Session
from molt.apps.access.rules import RANK, SCOPES, Role, Scope
from molt.apps.access.sessions import digest, secret_of
from molt.apps.access.shown import shown_session
from molt.apps.api import people
from molt.apps.api.auth import Admin, Caller
from molt.apps.console.pages.commands import refused
from molt.apps.console.render import render
from molt.core.errors import Refused

router = APIRouter()

BACK = "/console/people"
Name = Annotated[str, Form(min_length=1, max_length=200)]
TokenName = Annotated[str, Form(pattern=r"^[\w.@+-]{1,100}$")]
Scopes = Annotated[list[Scope], Form(default_factory=list)]
Days = Annotated[float | None, Form(gt=0, le=3650)]


@router.get("/people")
async def people_page(
    request: Request, caller: Admin, done: Annotated[str, Query(max_length=40)] = ""
) -> Response:
    """Sessions and tokens."""
    return await _page(request, caller, done=done)


@router.post("/people/tokens", name="add_token")
async def add_token(
    request: Request,
    caller: Admin,
    name: TokenName,
    scopes: Scopes,
    role: Annotated[Role, Form()] = "viewer",
    expires_in_days: Days = None,
) -> Response:
    """Make a token; this answer is the only one that shows it."""
    body = people.NewToken(
        name=name, role=role, scopes=tuple(scopes), expires_in_days=expires_in_days, reason=""
    )
    try:
        made = await people.add_token(body, request, caller)
    except Refused as error:
        return refused(request, caller, str(error), BACK)
    return await _page(request, caller, made=made, status=201)


@router.post("/people/tokens/revoke", name="revoke_token")
async def revoke_token(request: Request, caller: Admin, name: Name) -> Response:
    """End a token, and the sessions that were begun with it."""
    await people.revoke_token(name, request, caller)
    return _back(request, "revoked")


@router.post("/people/sessions/end", name="end_session")
async def end_session(
    request: Request, caller: Admin, session: Annotated[str, Form(max_length=64)]
) -> Response:
    """End one session."""
    store = request.app.state.store.sessions
    found = next((one for one in await store.list() if _key(one) == session), None)
    if found is None:
        raise HTTPException(404, "This session is over already")
    await store.end(found.sha256)
    return _back(request, "session_ended")


@router.post("/people/sessions/end-all", name="end_sessions")
async def end_sessions(request: Request, caller: Admin, name: Name) -> Response:
    """Sign somebody out everywhere."""
    await people.end_sessions(name, request, caller)
    return _back(request, "signed_out_everywhere")


async def _page(
    request: Request,
    caller: Caller,
    *,
    done: str = "",
    made: dict[str, Any] | None = None,
    status: int = 200,
) -> Response:
    state = request.app.state
    own, idle_since = digest(secret_of(request)), state.clock.now() - state.rules.idle
    sessions = [
        shown_session(one) | {"key": _key(one), "own": one.sha256 == own}
        for one in await state.store.sessions.list()
        if one.seen_at >= idle_since
    ]
    tokens = await people.list_tokens(request, caller)
    return render(
        request,
        "people.html",
        caller,
        status=status,
        page="people",
        done=done,
        made=made,
        sessions=sessions,
        tokens=sorted(tokens, key=lambda token: token["state"] != "live"),
        roles=list(RANK),
        scopes=SCOPES,
    )


def _key(session: Session) -> str:
    """Names a session on the page; what is kept of its secret stays in the store."""
    return digest(session.sha256)[:32]


def _back(request: Request, done: str) -> Response:
    target = f"{BACK}?done={done}"
    if request.headers.get("hx-request"):
        return Response(status_code=204, headers={"hx-redirect": target})
    return RedirectResponse(target, 303)
