"""What the egress knows of a server's tools, so that a client which never lists is policed, too."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from molt.egress.mcp_client import NoTools, Tool

log = structlog.get_logger(__name__)

FRESH_SECONDS: Final = 60.0
AGAIN_SECONDS: Final = 1.0
"""An unknown tool makes the list be asked for again, at most so often."""


class Catalogue:
    """The tools of one server: asked for when needed, and again when they are old or have changed."""

    def __init__(
        self,
        name: str,
        fetch: Callable[[], Awaitable[dict[str, Tool]]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._fetch = fetch
        self._monotonic = monotonic
        self._tools: dict[str, Tool] = {}
        self._known_at = self._tried_at = float("-inf")
        self._known = False
        self._asking: asyncio.Future[None] | None = None
        self._lock = asyncio.Lock()

    @property
    def known(self) -> bool:
        """Whether the server has ever told its tools."""
        return self._known

    async def find(self, name: str) -> Tool | None:
        """The tool of that name; None when the server has none, or could not be asked.

        A known tool is given at once; a list that is old is asked for anew meanwhile.
        """
        tool = self._tools.get(name)
        if tool is None:
            await self._refresh(name)
            return self._tools.get(name)
        if self._monotonic() - self._known_at >= FRESH_SECONDS and not self._lock.locked():
            self._asking = asyncio.ensure_future(self._refresh(name))
        return tool

    async def _refresh(self, name: str) -> None:
        async with self._lock:
            now = self._monotonic()
            due = now - self._known_at >= FRESH_SECONDS or name not in self._tools
            if due and now - self._tried_at >= AGAIN_SECONDS:
                await self._learn()

    def changed(self) -> None:
        """The server said that its list has changed: what was known counts no more."""
        self._tools = {}
        self._known_at = self._tried_at = float("-inf")

    async def _learn(self) -> None:
        self._tried_at = self._monotonic()
        try:
            self._tools = await self._fetch()
        except NoTools as error:
            # What was known stays: without it reads become writes, and dry runs blind.
            log.warning("tools_not_listed", server=self._name, error=str(error))
            return
        self._known_at, self._known = self._monotonic(), True
