"""When API tokens were last used: noted beside the request, at most once a minute."""

import asyncio
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from molt.adapters.sql.values import ApiToken
from molt.core.errors import MoltError
from molt.ports import Clock

log = structlog.get_logger(__name__)

EVERY: Final = timedelta(minutes=1)


class TokenStore(Protocol):
    """Where uses are kept."""

    async def use(self, sha256: str, at: datetime) -> None:
        """Note when the token was last used."""
        ...


class Uses:
    """Notes uses of tokens. No request waits for it, and a store that fails fails none."""

    def __init__(self, store: TokenStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._noted: dict[str, datetime] = {}
        self._writing: set[asyncio.Task[None]] = set()

    def note(self, token: ApiToken) -> None:
        """Its use now; written in the background, unless the last minute has one already."""
        now = self._clock.now()
        before = self._noted.get(token.sha256) or token.last_used_at
        if before is not None and now - before < EVERY:
            return
        self._noted[token.sha256] = now
        task = asyncio.get_running_loop().create_task(self._write(token, now))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, token: ApiToken, at: datetime) -> None:
        try:
            await self._store.use(token.sha256, at)
        except MoltError as error:
            log.warning("token_use_not_noted", token=token.name, error=str(error))
