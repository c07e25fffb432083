"""Sends outcomes to Molt's API, in batches, until they are taken."""

import asyncio
import contextlib
import itertools
import secrets
from collections import Counter, deque
from datetime import UTC, datetime
from typing import Any

import aiohttp

EVERY = 0.5
"""Seconds between two batches."""
BATCH = 500
LAST_TRIES = 4
"""Tries to send the rest when the guests have left."""
KEPT = 50_000
"""Outcomes kept while the API is away; older ones are given up and counted."""


class Reporter:
    """A queue of outcomes and its sender. Without an address, outcomes are only counted."""

    def __init__(self, http: aiohttp.ClientSession, api: str | None, token: str) -> None:
        self._http = http
        self._url = f"{api.rstrip('/')}/api/v1/outcomes" if api else None
        self._headers = {"authorization": f"Bearer {token}"}
        self._queue: deque[dict[str, Any]] = deque()
        self._run = secrets.token_hex(6)
        self._numbers = itertools.count(1)
        self._closing = asyncio.Event()
        self.counts: Counter[str] = Counter()
        self.lost = 0

    def add(self, subject: str, agent: str, kind: str, value: float | None) -> None:
        """Take one outcome that has just happened."""
        self.counts[kind] += 1
        if self._url is None:
            return
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        number = f"{self._run}-{next(self._numbers)}"
        self._queue.append(
            {
                "id": number,
                "subject": subject,
                "kind": kind,
                "at": at,
                "value": value,
                "agent": agent,
            }
        )
        if len(self._queue) > KEPT:
            self._queue.popleft()
            self.lost += 1

    async def run(self) -> None:
        """Send until `close`, then what is left; what nobody takes in time is counted as lost."""
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), EVERY)
            await self.flush()
        for _ in range(LAST_TRIES):
            if self._queue and self._url is not None:
                await asyncio.sleep(EVERY)
                await self.flush()
        self.lost += len(self._queue)

    def close(self) -> None:
        """Let `run` come to its end."""
        self._closing.set()

    async def flush(self) -> None:
        """Send what is there. What the API refuses is lost, what it could not take stays."""
        while self._queue and self._url is not None:
            batch = list(itertools.islice(self._queue, BATCH))
            try:
                async with self._http.post(self._url, json=batch, headers=self._headers) as answer:
                    status = answer.status
            except (aiohttp.ClientError, TimeoutError, OSError):
                return
            if status >= 500:
                return
            for _ in batch:
                self._queue.popleft()
            self.lost += len(batch) if status >= 400 else 0
