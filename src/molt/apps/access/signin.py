"""Pages to sign in and out: by token, or at the identity provider."""

from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from molt.apps.access import oidc, sessions
from molt.apps.access.rules import Rules
from molt.apps.access.signed import opened, sign
from molt.apps.api.auth import Caller, Viewer, token_hash
from molt.apps.console.render import render
from molt.core.errors import UpstreamError

router = APIRouter(prefix="/console", include_in_schema=False)

JOURNEY: Final = timedelta(minutes=10)
HOME: Final = "/console"


@router.get("/login")
async def login_page(request: Request, next: str = HOME) -> Response:  # noqa: A002 - as in the URL
    """The page to sign in."""
    return _page(request, next)


def _page(request: Request, next_page: str, problem: str = "", status: int = 200) -> HTMLResponse:
    rules: Rules = request.app.state.rules
    provider = rules.oidc and rules.oidc.title
    return render(
        request,
        "login.html",
        None,
        status=status,
        page="login",
        next=inside(next_page),
        problem=problem,
        provider=provider,
    )


@router.post("/login", name="sign_in")
async def sign_in(
    request: Request,
    token: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = HOME,  # noqa: A002 - as in the form
) -> Response:
    """Sign in with an API token; afterwards a cookie stands for it, and ends with it."""
    sessions.prove_origin(request)
    client, throttle = sessions.client_of(request), request.app.state.throttle
    now = request.app.state.clock.monotonic()
    if wait := throttle.wait(client, now):
        page = _page(request, next, f"Too many tries; again in {int(wait) + 1} seconds", 429)
        page.headers["retry-after"] = str(int(wait) + 1)
        return page
    kept = await request.app.state.tokens.find_by_hash(token_hash(token.strip()))
    if kept is None:
        throttle.failed(client, now)
        return _page(request, next, "This token is unknown, expired or revoked", 401)
    throttle.succeeded(client)
    request.state.caller = Caller(kept.name, kept.role, "token", kept.scopes)
    response = RedirectResponse(inside(next), 303)
    await sessions.begin(request, response, name=kept.name, role=kept.role, token=kept.sha256)
    return response


@router.get("/login/provider")
async def leave_for_provider(
    request: Request,
    next: str = HOME,  # noqa: A002 - as in the URL
) -> Response:
    """Go to the identity provider."""
    rules: Rules = request.app.state.rules
    if rules.oidc is None:
        return _page(request, next, "No identity provider is configured (auth.oidc)", 404)
    journey = oidc.Journey.fresh(inside(next))
    try:
        url = await _provider(request).authorization_url(journey)
    except UpstreamError as error:
        return _page(request, next, str(error), 502)
    response = RedirectResponse(url, 303)
    until = request.app.state.clock.now() + JOURNEY
    text = sign("oidc", journey._asdict(), until.timestamp(), rules.key)
    sessions.set_cookie(response, rules, _journey_cookie(rules), text, JOURNEY)
    return response


@router.get("/login/callback")
async def come_back(request: Request, state: str = "", code: str = "", error: str = "") -> Response:
    """Come back from the identity provider, signed in or with what stands in the way."""
    rules: Rules = request.app.state.rules
    request.state.act = "sign_in"
    name = _journey_cookie(rules)
    now = request.app.state.clock.now()
    kept = opened("oidc", request.cookies.get(name, ""), now.timestamp(), rules.key)
    response = await _arrive(request, kept, state, code, error)
    sessions.drop_cookie(response, rules, name)
    return response


async def _arrive(
    request: Request, kept: dict[str, Any] | None, state: str, code: str, error: str
) -> Response:
    config = request.app.state.rules.oidc
    if config is None or kept is None or not state or kept["state"] != state:
        return _page(request, HOME, "This sign-in was not begun here, or too long ago", 403)
    journey = oidc.Journey(**kept)
    if error:
        return _page(request, journey.next, f"The provider refused: {error[:100]}", 403)
    try:
        claims = await _provider(request).claims(journey, code)
        name = oidc.name_of(claims, config)
        request.state.claims_to_be = name
        role = oidc.role_of(claims, config)
    except oidc.SignInRefused as refusal:
        return _page(request, journey.next, f"Not signed in: {refusal}", 403)
    except UpstreamError as away:
        return _page(request, journey.next, str(away), 502)
    request.state.caller = Caller(name, role, "provider")
    response = RedirectResponse(inside(journey.next), 303)
    await sessions.begin(request, response, name=name, role=role, provider=config.issuer)
    return response


@router.post("/logout", name="sign_out")
async def sign_out(
    request: Request, caller: Viewer, everywhere: Annotated[bool, Form()] = False
) -> Response:
    """End this session; with `everywhere`, every session of this person."""
    store, rules = request.app.state.store, request.app.state.rules
    if everywhere:
        await store.sessions.end_all(caller.name)
    else:
        await store.sessions.end(sessions.digest(sessions.secret_of(request)))
    response = RedirectResponse("/console/login", 303)
    sessions.drop_cookie(response, rules, sessions.cookie_name(rules))
    return response


def inside(page: str) -> str:
    """`page` when it is one of the console's, else the console's first: nobody is sent elsewhere."""
    plain = page.isascii() and page.isprintable() and "\\" not in page
    within = page == HOME or page.startswith((f"{HOME}/", f"{HOME}?"))
    return page if plain and within and "//" not in page.partition("?")[0] else HOME


def _journey_cookie(rules: Rules) -> str:
    return f"{sessions.cookie_name(rules)}-signin"


def _provider(request: Request) -> oidc.Provider:
    """The provider, with its metadata kept from one sign-in to the next."""
    state = request.app.state
    if state.provider is None:
        state.provider = oidc.Provider(
            state.rules.oidc, f"{state.rules.public_url}/console/login/callback"
        )
    return state.provider
