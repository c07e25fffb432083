"""Sessions of people: a secret in a cookie, its hash in the store, and proof of where a form is from.

The CSRF token is an HMAC of the cookie's secret: bound to the session, kept nowhere, and of no use
without the cookie.
"""

import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import HTTPException, Request, Response

from molt.adapters.sql.values import Session
from molt.apps.access.rules import Rules

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
HEADER: Final = "x-csrf-token"
FIELD: Final = "csrf_token"
SEEN_EVERY: Final = timedelta(minutes=1)
AGENT_CHARACTERS: Final = 300


def cookie_name(rules: Rules) -> str:
    """`__Host-molt` where https allows it; else with the port, since cookies do not tell ports apart."""
    if rules.secure:
        return "__Host-molt"
    return f"molt-{urlsplit(rules.public_url).port or 80}"


def digest(secret: str) -> str:
    """SHA-256, hex: enough for secrets of full entropy."""
    return hashlib.sha256(secret.encode()).hexdigest()


def csrf_of(secret: str) -> str:
    """The CSRF token of the session with this secret."""
    return hmac.new(secret.encode(), b"csrf", hashlib.sha256).hexdigest()


def client_of(request: Request) -> str:
    """The address a request came from."""
    return request.client.host if request.client else ""


def secret_of(request: Request) -> str:
    """The session's secret in the cookie; empty when there is none."""
    return request.cookies.get(cookie_name(request.app.state.rules), "")


async def begin(request: Request, response: Response, **who: Any) -> Session:
    """Begin a session of `who` (name, role, provider or token), and put its cookie on `response`.

    Always a fresh secret: one that was planted before is of no use. One that was there ends.
    """
    rules: Rules = request.app.state.rules
    sessions, now = request.app.state.store.sessions, request.app.state.clock.now()
    if before := secret_of(request):
        await sessions.end(digest(before))
    secret = secrets.token_urlsafe(32)
    session = Session(
        sha256=digest(secret),
        created_at=now,
        seen_at=now,
        expires_at=now + rules.lifetime,
        client=client_of(request),
        user_agent=request.headers.get("user-agent", "")[:AGENT_CHARACTERS],
        **who,
    )
    await sessions.add(session)
    set_cookie(response, rules, cookie_name(rules), secret, rules.lifetime)
    return session


def set_cookie(
    response: Response, rules: Rules, name: str, value: str, lifetime: timedelta
) -> None:
    """Put a cookie on `response` that scripts cannot read and other sites cannot post with."""
    response.set_cookie(
        name,
        value,
        max_age=int(lifetime.total_seconds()),
        path="/",
        secure=rules.secure,
        httponly=True,
        samesite="lax",
    )


def drop_cookie(response: Response, rules: Rules, name: str) -> None:
    """Take a cookie back."""
    response.delete_cookie(name, path="/", secure=rules.secure, httponly=True, samesite="lax")


async def current(request: Request) -> Session | None:
    """The session whose cookie came with the request, with the role it has now; None when over."""
    secret = secret_of(request)
    if not secret:
        return None
    store, now = request.app.state.store, request.app.state.clock.now()
    session: Session | None = await store.sessions.find_by_hash(digest(secret))
    if session is None or now - session.seen_at > request.app.state.rules.idle:
        return None
    if now - session.seen_at > SEEN_EVERY:
        await store.sessions.see(session.sha256, now)
    return session


async def prove_form(request: Request) -> None:
    """Refuse (403) an unsafe request that may come from a page of another site."""
    if request.method in SAFE:
        return
    prove_origin(request)
    given = request.headers.get(HEADER) or await _field(request)
    if not hmac.compare_digest(given.encode(), csrf_of(secret_of(request)).encode()):
        raise HTTPException(
            403, f"The form is too old or not from here ({HEADER} is missing or wrong); reload it"
        )


def prove_origin(request: Request) -> None:
    """Refuse (403) an unsafe request unless the browser says that it comes from this site.

    `Sec-Fetch-Site` cannot be set by a page; where a browser does not send it, `Origin` must be
    the host that was asked.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        own = site == "same-origin"
    else:
        own = urlsplit(request.headers.get("origin", "")).netloc == request.headers.get("host", "-")
    if not own:
        raise HTTPException(403, "This request does not come from a page of this Molt")


async def _field(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return ""
    value = (await request.form()).get(FIELD)
    return value if isinstance(value, str) else ""
