"""The egress, put together and kept going: flags in, calls and violations out, doors in between."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp

from molt.core.evidence import Batch
from molt.egress.app import App, health
from molt.egress.house import House
from molt.egress.journal import Journal
from molt.egress.ledger import Ledger
from molt.egress.models import Models
from molt.egress.runs import Callers
from molt.egress.settings import EgressSettings
from molt.egress.violations import Violations
from molt.link.batches import BatchSender
from molt.link.control_client import ControlClient
from molt.link.flag_stream import FlagFile, FlagStream
from molt.ports import AuditSink, Prices

TICK_SECONDS: Final = 0.25
SWEEP_SECONDS: Final = 10.0
HEARTBEAT_SECONDS: Final = 5.0
FIRST_TRY_SECONDS: Final = 2.0
LAST_BATCH_SECONDS: Final = 2.0
MOST_CONNECTIONS: Final = 1000
KEEPALIVE_SECONDS: Final = 4.0
"""Below the idle timeout of every server known, so that a stale connection is never used."""


class Egress:
    """Everything in the egress process. `app` answers agents; open doors in it before `start`."""

    def __init__(self, settings: EgressSettings, *, audit: AuditSink, prices: Prices) -> None:
        self.settings = settings
        self.app = App()
        self.ledger = _ledger(Path(settings.state_dir) / f"{settings.id}.began")
        self.callers = Callers(bytes.fromhex(settings.run_key))
        self._control = ControlClient(settings.molt_url, settings.gateway_key, settings.id)
        self._sender = BatchSender(self._control, self._empty_batch)
        self.journal = Journal(audit, self._sender.draft)
        self.violations = Violations(self._control, self.callers)
        self._audit = audit
        self._tasks: list[asyncio.Task[None]] = []
        self._tried = asyncio.Event()
        self._stream = FlagStream(
            self._control,
            FlagFile(Path(settings.state_dir) / f"{settings.id}.flags.json"),
            self.callers,
            tried=self._tried.set,
            applied=self._sender.hurry,
        )
        house = House(
            settings,
            self.callers,
            self.ledger,
            self.violations,
            self.journal,
            prices,
            lambda: self.http,
        )
        Models(house).open(self.app)
        self.app.at("/health", health(self.state))

    @property
    def http(self) -> aiohttp.ClientSession:
        """The client for upstreams, once started."""
        return self._http

    def state(self) -> dict[str, Any]:
        """What it goes by, and what waits."""
        return {
            "status": "degraded" if self.journal.failed else "ok",
            "flags": self.callers.version,
            "runs": len(self.ledger),
            "live_calls": self.callers.in_flight(),
            "violations_waiting": self.violations.waiting,
        }

    # --- life

    async def start(self) -> None:
        """Follow control, by the kept flags until it is there."""
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=MOST_CONNECTIONS, keepalive_timeout=KEEPALIVE_SECONDS
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=True,
            trust_env=False,
            skip_auto_headers=("accept", "accept-encoding", "user-agent", "content-type"),
        )
        self._stream.load()
        self._run(self._stream.run())
        self._run(self._sender.run())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._tried.wait(), FIRST_TRY_SECONDS)
        self._run(self._tick())

    async def stop(self) -> None:
        """Hand over the last calls. Stop the server before."""
        await self.violations.close(LAST_BATCH_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.journal.flush()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._sender.send(), LAST_BATCH_SECONDS)
        await self._http.close()
        await self._control.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _tick(self) -> None:
        """Write the audit log, hand over calls, forget what is over."""
        swept = sealed = time.monotonic()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.journal.flush()
            now = time.monotonic()
            if self._sender.draft or now - sealed >= HEARTBEAT_SECONDS:
                sealed = now
                self._sender.hurry()
            if now - swept >= SWEEP_SECONDS:
                swept = now
                self.callers.sweep()
                self.ledger.sweep(time.time())

    def _empty_batch(self, sequence: int) -> Batch:
        flags = self.callers.flags
        return Batch(
            gateway=self.settings.id,
            sequence=sequence,
            sent_at=datetime.now(UTC),
            applied=self.callers.version,
            limiter_epoch=flags.limiter_epoch if flags else 0,
            head=self._audit.head(),
            in_flight=self.callers.in_flight(),
        )


def _ledger(mark: Path) -> Ledger:
    """A ledger of this process; `mark` remembers that there was one before, however that ended."""
    follows = mark.exists()
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    return Ledger(time.time()) if follows else Ledger()
