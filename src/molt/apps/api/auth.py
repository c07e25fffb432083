"""Who may call: bearer tokens with roles, stored hashed, from the first day."""

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal, Protocol

from fastapi import Depends, HTTPException, Request

Role = Literal["viewer", "operator", "approver", "admin"]

RANK: dict[str, int] = {"viewer": 0, "operator": 1, "approver": 2, "admin": 3}

PREFIX = "molt_"


class Caller(Protocol):
    """The person or system behind a token."""

    @property
    def name(self) -> str:
        """Who it is, in the log."""
        ...

    @property
    def role(self) -> str:
        """What it may do."""
        ...


class TokenStore(Protocol):
    """Where token hashes are kept."""

    async def find_by_hash(self, sha256: str) -> Caller | None:
        """The live token with this hash."""
        ...


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


def needs(role: Role) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency that lets in callers with at least `role`."""

    async def check(request: Request) -> Caller:
        token = bearer(request)
        caller = await request.app.state.tokens.find_by_hash(token_hash(token)) if token else None
        if caller is None:
            raise HTTPException(
                401,
                "A valid token is needed: Authorization: Bearer TOKEN. The first one was printed "
                "at first start; `molt token add` makes more",
                headers={"www-authenticate": "Bearer"},
            )
        if RANK[caller.role] < RANK[role]:
            raise HTTPException(
                403, f"{caller.name} is {caller.role}; this needs the role {role} or higher"
            )
        return caller

    return check


async def gateway(request: Request) -> None:
    """A dependency that lets in gateways of this installation only."""
    if not hmac.compare_digest(bearer(request).encode(), request.app.state.gateway_key.encode()):
        raise HTTPException(401, "This is for gateways of this installation only")


Viewer = Annotated[Caller, Depends(needs("viewer"))]
Operator = Annotated[Caller, Depends(needs("operator"))]
Approver = Annotated[Caller, Depends(needs("approver"))]
Admin = Annotated[Caller, Depends(needs("admin"))]
