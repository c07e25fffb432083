"""Tokens and sessions as people see them: everything but secrets and their hashes."""

from datetime import datetime
from typing import Any

import msgspec

from molt.adapters.sql.values import ApiToken, Session


def shown_token(token: ApiToken, now: datetime) -> dict[str, Any]:
    """A token as people see it: everything but its hash, and whether it lets anybody in."""
    fields = msgspec.structs.asdict(token)
    fields.pop("sha256")
    over = "revoked" if token.revoked_at else "expired"
    return fields | {"state": "live" if token.live(now) else over}


def shown_session(session: Session) -> dict[str, Any]:
    """A session as people see it."""
    fields = msgspec.structs.asdict(session)
    del fields["sha256"], fields["token"]
    return fields | {"provider": session.provider or "token"}
