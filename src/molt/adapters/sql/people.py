"""Who may call: API tokens and sessions of people, of which only hashes are kept."""

from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec.structs import asdict

from molt.adapters.sql import statements as q
from molt.adapters.sql.database import Database, settled
from molt.adapters.sql.values import ApiToken, Session, refuse_taken


class Tokens:
    """API tokens. A name belongs to one live token at a time, since approvals go by names."""

    def __init__(self, db: Database, now: Callable[[], datetime]) -> None:
        self._db = db
        self._now = now

    @settled
    async def add(self, token: ApiToken) -> None:
        """Keep `token`; raises `Refused` when its name or its hash is taken."""
        async with self._db.write() as connection:
            rows = await connection.execute(q.TOKENS)
            refuse_taken(token, [ApiToken(**row) for row in rows.mappings()], self._now())
            await connection.execute(q.ADD_TOKEN, asdict(token))

    @settled
    async def find_by_hash(self, sha256: str) -> ApiToken | None:
        """The live token with this hash."""
        async with self._db.read() as connection:
            rows = await connection.execute(q.TOKEN_BY_HASH, {"sha256": sha256})
            row = rows.mappings().one_or_none()
        token = ApiToken(**row) if row else None
        return token if token and token.live(self._now()) else None

    @settled
    async def use(self, sha256: str, at: datetime) -> None:
        """Note when the token was last used."""
        async with self._db.write() as connection:
            await connection.execute(q.USE_TOKEN, {"hash": sha256, "at": at})

    @settled
    async def list(self) -> Sequence[ApiToken]:
        """All tokens, oldest first, with those that are over."""
        async with self._db.read() as connection:
            rows = await connection.execute(q.TOKENS)
            return [ApiToken(**row) for row in rows.mappings()]

    @settled
    async def revoke(self, name: str) -> bool:
        """End the token of that name now; False when there is no live one."""
        async with self._db.write() as connection:
            done = await connection.execute(q.REVOKE_TOKEN, {"named": name, "at": self._now()})
            return done.rowcount > 0


class Sessions:
    """People who are signed in to the console."""

    def __init__(self, db: Database, now: Callable[[], datetime]) -> None:
        self._db = db
        self._now = now

    @settled
    async def add(self, session: Session) -> None:
        """Keep `session`, and forget those that are over."""
        async with self._db.write() as connection:
            await connection.execute(q.FORGET_SESSIONS, {"at": self._now()})
            await connection.execute(q.ADD_SESSION, asdict(session))

    @settled
    async def find_by_hash(self, sha256: str) -> Session | None:
        """The session with this hash that has not expired."""
        async with self._db.read() as connection:
            rows = await connection.execute(q.SESSION_BY_HASH, {"sha256": sha256})
            row = rows.mappings().one_or_none()
        session = Session(**row) if row else None
        return session if session and self._now() < session.expires_at else None

    @settled
    async def see(self, sha256: str, at: datetime) -> None:
        """Note when the session was last used."""
        async with self._db.write() as connection:
            await connection.execute(q.SEE_SESSION, {"hash": sha256, "at": at})

    @settled
    async def list(self) -> Sequence[Session]:
        """All sessions that have not expired, oldest first."""
        async with self._db.read() as connection:
            rows = await connection.execute(q.SESSIONS)
            kept = [Session(**row) for row in rows.mappings()]
        return [session for session in kept if self._now() < session.expires_at]

    @settled
    async def end(self, sha256: str) -> bool:
        """End one session now; False when there is none."""
        async with self._db.write() as connection:
            done = await connection.execute(q.END_SESSION, {"sha256": sha256})
            return done.rowcount > 0

    @settled
    async def end_all(self, name: str) -> int:
        """End every session of this person now; how many there were."""
        async with self._db.write() as connection:
            done = await connection.execute(q.END_SESSIONS_OF, {"named": name})
            return done.rowcount
