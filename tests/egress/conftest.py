"""An egress in front of a provider, with a control process to report to; all on real ports."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from molt.adapters.prices import Price, Prices
from molt.core.evidence import Call
from molt.core.flags import Limits
from molt.egress.settings import EgressSettings, ModelService
from molt.egress.worker import Egress
from molt.link.tokens import Runs, claim

from ..gateway.servers import KEY, FakeControl, until
from ..gateway.world import MemoryAudit, flags
from .provider import Provider

RUN_KEY = b"r" * 32


class World:
    """Everything around one egress."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.control = FakeControl(flags(1))
        self.provider = Provider()
        self.audit = MemoryAudit()
        self._runs = Runs(RUN_KEY)
        self._version = 1

    async def start(self, **settings: Any) -> None:
        """Start control, provider and egress, unless they are there."""
        if not self.control.port:
            await self.control.start()
            await self.provider.start()
        service = ModelService("fake", f"{self.provider.url}/v1", key="sk-of-molt")
        made = EgressSettings(
            molt_url=self.control.url,
            gateway_key=KEY,
            run_key=RUN_KEY.hex(),
            audit_dir=str(self.folder),
            **{
                "state_dir": tempfile.mkdtemp(dir=self.folder),
                "models": (service,),
                "batch_seconds": 0.02,
                **settings,
            },
        )
        self.egress = Egress(made, audit=self.audit, prices=Prices({"*": Price(1e6, 2e6)}))
        await self.egress.start()
        config = uvicorn.Config(
            self.egress.app, port=0, lifespan="off", ws="none", log_config=None, http="httptools"
        )
        self._server = uvicorn.Server(config)
        self._server.capture_signals = contextlib.nullcontext  # pyright: ignore[reportAttributeAccessIssue]
        self._serving = asyncio.create_task(self._server.serve())
        await until(lambda: self._server.started)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"
        await until(lambda: self.egress.callers.version >= self._version)

    def connections(self) -> int:
        """How many clients are connected to the egress."""
        return len(self._server.server_state.connections)

    async def stop_egress(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        await self._serving
        await self.egress.stop()

    async def stop(self) -> None:
        self.provider.go.set()
        await self.stop_egress()
        await self.provider.stop()
        await self.control.stop()

    # --- what control says, and hears

    async def say(self, **changes: Any) -> None:
        """New flags, and wait until the egress goes by them."""
        self._version += 1
        self.control.publish(flags(self._version, **changes))
        await until(lambda: self.egress.callers.version == self._version)

    async def limit(self, tokens: int) -> None:
        """Set MOLTBOT_MAX_TOKENS_PER_REQUEST."""
        await self.say(limits=Limits(max_tokens_per_request=tokens))

    def token(self, mode: Any = "live", agent: str = "guest") -> str:
        """The token of a fresh run."""
        signed = claim("r", agent, "candidate", mode)
        return self._runs.token(self._runs.new_id(), signed, time.time(), "5ub7ec7").decode()

    def left(self, token: str) -> int:
        """Tokens that the run has left."""
        caller = self.egress.callers.identify(token.encode())
        run = caller.run.id if caller.run else token.split(".")[1]
        return self.egress.ledger.tokens_left(run, caller.limits)

    async def calls(self, count: int = 1) -> list[Call]:
        """The calls that control was told of, once there are so many."""

        def told() -> list[Call]:
            return [call for batch in self.control.batches for call in batch.calls]

        await until(lambda: len(told()) >= count)
        return told()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.start()
    yield made
    await made.stop()
