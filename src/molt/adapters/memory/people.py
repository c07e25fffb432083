"""API tokens and sessions in memory."""

from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec.structs import replace

from molt.adapters.sql.values import (
    ApiToken,
    Session,
    refuse_taken,
)


class MemoryTokens:
    """API tokens. A name belongs to one live token at a time, since approvals go by names."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._tokens: list[ApiToken] = []

    async def add(self, token: ApiToken) -> None:
        """Keep `token`; raises `Refused` when its name or its hash is taken."""
        refuse_taken(token, self._tokens, self._now())
        self._tokens.append(token)

    async def find_by_hash(self, sha256: str) -> ApiToken | None:
        """The live token with this hash."""
        now = self._now()
        return next((t for t in self._tokens if t.sha256 == sha256 and t.live(now)), None)

    async def use(self, sha256: str, at: datetime) -> None:
        """Note when the token was last used."""
        used = (t for t in enumerate(self._tokens) if t[1].sha256 == sha256)
        for i, token in used:
            self._tokens[i] = replace(token, last_used_at=at)

    async def list(self) -> Sequence[ApiToken]:
        """All tokens, oldest first, with those that are over."""
        return sorted(self._tokens, key=lambda t: (t.created_at, t.name))

    async def revoke(self, name: str) -> bool:
        """End the token of that name now; False when there is no live one."""
        now = self._now()
        for i, token in enumerate(self._tokens):
            if token.name == name and token.live(now):
                self._tokens[i] = replace(token, revoked_at=now)
                return True
        return False


class MemorySessions:
    """People who are signed in to the console."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._sessions: dict[str, Session] = {}

    async def add(self, session: Session) -> None:
        """Keep `session`, and forget those that are over."""
        self._sessions = {s.sha256: s for s in await self.list()} | {session.sha256: session}

    async def find_by_hash(self, sha256: str) -> Session | None:
        """The session with this hash that has not expired."""
        session = self._sessions.get(sha256)
        return session if session and self._now() < session.expires_at else None

    async def see(self, sha256: str, at: datetime) -> None:
        """Note when the session was last used."""
        if session := self._sessions.get(sha256):
            self._sessions[sha256] = replace(session, seen_at=at)

    async def list(self) -> Sequence[Session]:
        """All sessions that have not expired, oldest first."""
        live = [s for s in self._sessions.values() if self._now() < s.expires_at]
        return sorted(live, key=lambda s: (s.created_at, s.name))

    async def end(self, sha256: str) -> bool:
        """End one session now; False when there is none."""
        return self._sessions.pop(sha256, None) is not None

    async def end_all(self, name: str) -> int:
        """End every session of this person now; how many there were."""
        theirs = [s.sha256 for s in self._sessions.values() if s.name == name]
        for sha256 in theirs:
            del self._sessions[sha256]
        return len(theirs)
