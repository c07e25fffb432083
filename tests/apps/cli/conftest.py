"""A real control API on a real port, and `molt` as a user calls it."""

import asyncio
import json
import resource
import socket
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
import uvicorn
from typer.testing import CliRunner

from molt.adapters.audit_files import AuditArchive, AuditWriter, SubjectHasher
from molt.adapters.clocks import SystemClock
from molt.adapters.env_file import EnvFile
from molt.adapters.memory.store import MemoryStore
from molt.adapters.sql.values import ApiToken
from molt.apps.access.rules import Rules
from molt.apps.api.alerts import links
from molt.apps.api.app import Parts, create_app
from molt.apps.api.auth import token_hash
from molt.apps.api.hub import Hub
from molt.apps.cli.app import app
from molt.apps.console.app import add_console
from molt.control.alerts import AlertDesk
from molt.control.controller import Controller, Stores
from molt.control.operator_flags import OperatorFlags
from molt.control.procedure import Procedure
from molt.control.rollbacks import Rollbacks, open_steps
from molt.control.shadowing import Shadowing
from molt.core.flags import Bounds
from molt.core.playbook import Cost
from molt.ports import Delivery, Notice

T = TypeVar("T")

TOKENS = {role: f"molt_token-of-{role}" for role in ("viewer", "operator", "approver", "admin")}

PLAYBOOK = """\
molt: 1
name: tiny
title: Two steps
agents:
  guest: {tools: {allow: [menu_search]}}
phases:
  - name: canary
    steps:
      - {share: 10, hold: 1s, gates: [{kind: approval}]}
  - name: progressive
    steps:
      - {share: 50, hold: 1h, gates: [{kind: no_violation}]}
metrics:
  orders: {of: order_completed, per: [order_completed, cart_abandoned], better: higher, binary: true}
triggers:
  - {kind: violation, action: roll_back}
"""


def cpu_seconds(command: Sequence[str], stdin: bytes = b"") -> tuple[float, bytes]:
    """The least processor time of three runs of `command`, and its output."""
    best, out = float("inf"), b""
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        out = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best, out


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for `condition`, with a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


class SteppingClock(SystemClock):
    """The system's clock, moved ahead by hand."""

    ahead = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.ahead


class Silent:
    """A notifier for nobody."""

    def __init__(self) -> None:
        self.sent: list[Notice] = []
        self.answer = Delivery(True, "nobody", 1)

    async def notify(self, notice: Notice) -> Delivery:
        self.sent.append(notice)
        return self.answer


class Server:
    """The control API of `molt.apps.api` over a store in memory, in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SteppingClock()
        self.store = MemoryStore(now=self.clock.now)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def start(self) -> None:
        self._thread.start()
        self.call(self._open())
        until(lambda: self._server.started)

    async def _open(self) -> None:
        hub, hasher = Hub(self.clock), SubjectHasher(b"0123456789abcdef")
        key, silent = b"0" * 32, Silent()
        self.phone, self.sent = silent, silent.sent
        self.alerts = notifier = AlertDesk(
            silent, self.store, self.clock, links=links(self.url, key)
        )
        operator = OperatorFlags(Bounds(), EnvFile(self.folder / "flags.env"))
        self.audit = AuditWriter(self.folder / "audit", "control", self.clock)
        self.controller = Controller(
            Stores(self.store, self.store, self.store),
            clock=self.clock,
            operator=operator,
            sink=hub,
            notifier=notifier,
            hash_subject=hasher,
        )
        self.controller.writer.on_records(hub.records)
        await self.controller.start()
        procedure = Procedure(
            clock=self.clock,
            operator=operator,
            sink=hub,
            notifier=notifier,
            archive=AuditArchive(self.folder / "audit"),
            incidents=self.folder / "incidents",
            publish=self.controller.writer.publish,
            clear_limits=self.controller.writer.clear_limits,
        )
        self._rollbacks = asyncio.ensure_future(Rollbacks(self.controller, procedure).run())
        for role, token in TOKENS.items():
            await self.store.tokens.add(ApiToken(role, role, token_hash(token), datetime.now(UTC)))
        parts = Parts(
            controller=self.controller,
            hub=hub,
            store=self.store,
            tokens=self.store.tokens,
            clock=self.clock,
            audit=self.audit,
            audit_dir=self.folder / "audit",
            gateway_key="gateway-key",
            hash_subject=hasher,
            verify_run=lambda token, now: None,
            cost=Cost(),
            alerts=self.alerts,
            shadowing=Shadowing(self.controller, self.store, self.store.told_of),
        )
        self.app = create_app(parts)
        add_console(self.app)
        self.app.state.rules = Rules(public_url=self.url, key=key)
        config = uvicorn.Config(self.app, log_config=None, ws="none", lifespan="off", loop="none")
        self._server = uvicorn.Server(config)
        self._serving = asyncio.ensure_future(self._server._serve([self._socket]))

    def call(self, work: Awaitable[T]) -> T:
        """Run `work` in the server's loop."""

        async def await_it() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(await_it(), self._loop).result(20)

    def later(self, **span: float) -> None:
        """Let time pass, and look at every rollout once."""
        self.clock.ahead += timedelta(**span)
        self.call(self.controller.tick())

    def rollbacks_done(self) -> None:
        """Wait until every step of every rollback procedure is on record."""

        desks = self.controller.desks
        until(lambda: not any(open_steps(desk) for desk in desks.values()))

    def record(self, **fields: object) -> None:
        """Put a record on the audit log, and its head apart."""

        async def write() -> None:
            self.audit.append({"at": self.clock.now(), **fields})
            self.audit.flush()
            await self.store.save_heads([self.audit.head()])

        self.call(write())

    def away(self) -> None:
        """Stop answering."""

        async def end() -> None:
            self._server.should_exit = self._server.force_exit = True
            await self._serving

        self.call(end())

    def stop(self) -> None:
        self.away()

        async def end() -> None:
            self._rollbacks.cancel()
            await self.controller.close()
            self.audit.close()

        self.call(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


class Molt:
    """`molt` against one server, with the token of a role."""

    def __init__(self, url: str) -> None:
        self.environ: dict[str, str | None] = {
            "MOLT_URL": url,
            "MOLT_TOKEN": TOKENS["admin"],
            "MOLT_CONFIG": None,
            "MOLT_DATA": None,
        }

    def __call__(self, *args: object, stdin: str | bytes = "", **environ: str | None) -> Ran:
        result = CliRunner().invoke(
            app,
            [str(a) for a in args],
            input=stdin,
            env={**self.environ, **environ},
            prog_name="molt",
            catch_exceptions=False,
        )
        return Ran(result.exit_code, result.stdout, result.stderr)

    def json(self, *args: object, **environ: str | None) -> Any:
        """The JSON that a successful command prints."""
        ran = self(*args, "--json", stdin="", **environ)
        assert ran.code == 0, ran
        return json.loads(ran.out)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def molt(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Molt:
    monkeypatch.chdir(tmp_path)
    return Molt(server.url)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Molt:
    """`molt` where no Molt runs."""
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return Molt(f"http://127.0.0.1:{port}")


@pytest.fixture
def playbook(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(PLAYBOOK, encoding="utf-8")
    return path


@pytest.fixture
def started(molt: Molt, playbook: Path) -> Molt:
    """`molt` with a rollout of two steps, in its first."""
    assert molt("start", playbook).code == 0
    return molt
