"""Roles, scopes and the rules of one installation."""

from datetime import timedelta
from typing import Final, Literal, NamedTuple, get_args

from molt.apps.settings import Auth, Oidc

Role = Literal["viewer", "operator", "approver", "admin"]
RANK: Final[dict[str, int]] = {role: rank for rank, role in enumerate(get_args(Role))}

Scope = Literal["read", "audit", "report", "operate", "approve", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)


class Rules(NamedTuple):
    """How people come in here. `key` signs what is handed to a browser for a moment."""

    public_url: str = "http://127.0.0.1:8081"
    four_eyes: bool = True
    lifetime: timedelta = timedelta(hours=12)
    idle: timedelta = timedelta(hours=1)
    oidc: Oidc | None = None
    key: bytes = b""

    @property
    def secure(self) -> bool:
        """Whether people reach Molt by https, so that cookies may insist on it."""
        return self.public_url.startswith("https://")


def rules_of(auth: Auth, public_url: str, key: bytes) -> Rules:
    """The rules that the configuration sets."""
    return Rules(
        public_url, auth.four_eyes, auth.session_lifetime, auth.session_idle, auth.oidc, key
    )


def scope_of(role: Role, tags: list[str]) -> Scope:
    """The scope that a call needs, from the role that it needs and what it is about."""
    match role:
        case "admin":
            return "admin"
        case "approver":
            return "approve"
        case "operator":
            return "report" if "facts" in tags else "operate"
        case _:
            return "audit" if "audit" in tags else "read"
