"""The control process: controller, control API, audit of decisions, probe. One a installation.

`python -m molt.apps.serve.control_process --config FILE`; prints one JSON line when it is ready.
"""

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import time
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI

from molt.adapters.audit_files import AuditArchive, AuditWriter, Retention, SubjectHasher
from molt.adapters.clocks import SystemClock
from molt.adapters.env_file import EnvFile, read_env
from molt.adapters.journal import FileJournal
from molt.adapters.judge import ModelJudge
from molt.adapters.notify import notifier
from molt.adapters.prices import Prices
from molt.adapters.sql.store import SqlStore
from molt.adapters.sql.values import ApiToken
from molt.apps.access.rules import rules_of
from molt.apps.api.alerts import links
from molt.apps.api.app import Parts, create_app
from molt.apps.api.auth import new_token, token_hash
from molt.apps.api.hub import Hub
from molt.apps.api.stream import send_evidence
from molt.apps.console.app import add_console
from molt.apps.serve.keys import Keys, load_keys
from molt.apps.serve.lifetime import Server, bind
from molt.apps.serve.logs import configure_logs
from molt.apps.serve.probe import Probe
from molt.apps.settings import Settings, load_settings
from molt.control import budget
from molt.control.alerts import AlertDesk, Quiet
from molt.control.anomalies import AnomalyWatch
from molt.control.controller import Controller, Stores
from molt.control.judging import Budget, Judging
from molt.control.operator_flags import OperatorFlags
from molt.control.procedure import Procedure
from molt.control.rollbacks import Rollbacks
from molt.control.shadowing import Shadowing
from molt.core.errors import MoltError, OperatorError
from molt.core.events import Recorded
from molt.core.evidence import Head
from molt.link.tokens import verify

log = structlog.get_logger(__name__)

TICK_SECONDS = 1.0
FLUSH_SECONDS = 0.25
FOLD_SECONDS = 3600.0
ANCHOR_SECONDS = 60.0
ALERTS_SECONDS = 5.0


class ControlProcess:
    """Everything that runs in the control process, wired."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self.hub = Hub(self.clock)
        self._tasks: list[asyncio.Task[Any]] = []
        self._kept_head: Head | None = None

    async def open(self) -> tuple[uvicorn.Config, str | None]:
        """Open the stores and start the loops; the server's config, and the first token if it is
        the first start. Raises `MoltError`."""
        settings, keys = self.settings, load_keys(self.settings.data)
        self.store = await SqlStore.open(settings.data / "molt.db")
        self.audit_dir = settings.data / "audit"
        sync_seconds = settings.audit.sync_every.total_seconds()
        self.audit = AuditWriter(self.audit_dir, "control", self.clock, sync_seconds=sync_seconds)
        hasher = SubjectHasher(keys.subject)
        operator = OperatorFlags(read_env(os.environ), EnvFile(settings.flags_path))
        self.alerts = AlertDesk(
            notifier(settings.notify.model_dump(exclude={"quiet"}), self.clock),
            self.store,
            self.clock,
            links=links(settings.public_api, keys.web),
            quiet=_quiet(settings),
        )
        await self.alerts.start()
        self.controller = Controller(
            Stores(self.store, self.store, self.store),
            clock=self.clock,
            operator=operator,
            sink=self.hub,
            notifier=self.alerts,
            hash_subject=hasher,
            ttl_seconds=settings.flags_ttl.total_seconds(),
            journal=FileJournal(settings.data / "journal"),
            four_eyes=settings.auth.four_eyes,
        )
        self.controller.writer.on_records(self.hub.records)
        self.controller.writer.on_records(self._audit_records)
        await self.controller.start()
        self._run(Rollbacks(self.controller, self._procedure()).run())
        await self._watch()
        self._keep_books()
        config = uvicorn.Config(
            self._app(keys, hasher),
            loop="none",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        return config, await self._first_token()

    def _procedure(self) -> Procedure:
        return Procedure(
            clock=self.clock,
            operator=self.controller.operator,
            sink=self.hub,
            notifier=self.alerts,
            archive=AuditArchive(self.audit_dir),
            incidents=self.settings.data / "incidents",
            publish=self.controller.writer.publish,
            clear_limits=self.controller.writer.clear_limits,
            gateways=self.settings.workers + (self.settings.egress is not None),
        )

    async def _watch(self) -> None:
        """Start whatever looks at evidence: rulings, anomalies, pairs, the probe."""
        watch = AnomalyWatch(self.controller, self.store, self.store)
        await watch.load()
        self.controller.on_batch(watch.see_batch)
        self._every(TICK_SECONDS, watch.tick)
        self.shadowing = Shadowing(self.controller, self.store, self.store.told_of, watch.see_pairs)
        self._every(TICK_SECONDS, self._tick)
        self._every(TICK_SECONDS, self.shadowing.settle)
        self._judge = self._start_judge()
        candidate = self.settings.upstreams.candidate
        if candidate.health:
            self._run(Probe(candidate, self.controller).run())

    def _keep_books(self) -> None:
        """Start whatever writes, sends and forgets."""
        self._every(FLUSH_SECONDS, self._flush)
        self._every(ALERTS_SECONDS, self._alert)
        self._every(ANCHOR_SECONDS, self._anchor)
        self._every(FOLD_SECONDS, lambda: self.store.fold(self.clock.now()))
        keep = self.settings.audit.keep
        if keep:
            retention = Retention(self.audit_dir, keep, self.store, self.clock)
            self._run(retention.run(self.audit.append))

    def _app(self, keys: Keys, hasher: SubjectHasher) -> FastAPI:
        settings = self.settings
        app = create_app(
            Parts(
                controller=self.controller,
                hub=self.hub,
                store=self.store,
                tokens=self.store.tokens,
                clock=self.clock,
                audit=self.audit,
                audit_dir=self.audit_dir,
                gateway_key=keys.gateway,
                hash_subject=hasher,
                verify_run=partial(_verify_run, keys.run),
                cost=settings.cost,
                rules=rules_of(settings.auth, settings.public_api, keys.web),
                shadowing=self.shadowing,
                tools_enforced=settings.egress is not None and bool(settings.egress.tools),
                alerts=self.alerts,
                runbook=settings.runbook,
            )
        )
        add_console(app)
        return app

    def _start_judge(self) -> ModelJudge | None:
        """The judge of answers, if one is configured. Raises `OperatorError` for half a one."""
        plan = self.settings.judge
        if plan.url is None:
            return None
        if not plan.model:
            raise OperatorError("judge.url is set, but not judge.model: which model is to judge?")
        judge = ModelJudge(
            plan.url,
            plan.model,
            key=os.environ.get(plan.key_env, ""),
            rubric=plan.rubric,
            prices=Prices(self.settings.prices, self.clock),
            now=self.clock.now,
        )
        budget = Budget(plan.per_minute, plan.usd_per_day, plan.usd_per_call)
        judging = Judging(judge, budget, self.shadowing, self.store, self.clock)
        self.shadowing.seen.append(judging.see_pairs)
        self._run(judging.run())
        return judge

    async def close(self) -> None:
        """Stop the loops and keep what is queued."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.controller.close()
        if self._judge is not None:
            await self._judge.close()
        with contextlib.suppress(MoltError, OSError):  # the store is away: heads lag, that is all
            await self._flush()
        self.audit.close()
        await self.store.close()

    async def _first_token(self) -> str | None:
        """A token for the administrator, when there is none yet: shown once, kept as a hash."""
        if await self.store.tokens.list():
            return None
        token = new_token()
        await self.store.tokens.add(
            ApiToken(
                name="admin",
                role="admin",
                sha256=token_hash(token),
                created_at=self.clock.now(),
            )
        )
        return token

    # --- loops

    def _run(self, work: Any) -> None:
        self._tasks.append(asyncio.create_task(work))

    def _every(self, seconds: float, work: Callable[[], Awaitable[Any]]) -> None:
        self._run(self._loop(seconds, work))

    async def _loop(self, seconds: float, work: Callable[[], Awaitable[Any]]) -> None:
        """Do `work` every so often; whatever goes wrong once is logged and tried again."""
        while True:
            await self.clock.sleep(seconds)
            try:
                await work()
            except (MoltError, OSError) as error:
                log.error("loop_failed", work=getattr(work, "__name__", ""), error=str(error))

    async def _tick(self) -> None:
        await self.controller.tick()
        send_evidence(self.hub, self.controller)

    async def _alert(self) -> None:
        """Send what is due, and say how far the day's money has gone."""
        desks = list(self.controller.desks.values())
        await budget.tell(desks, self.alerts, self.clock.now())
        await self.alerts.tick()

    async def _flush(self) -> None:
        """Write the audit log on, and keep its head apart whenever it has moved."""
        self.audit.flush()
        head = self.audit.head()
        if head != self._kept_head:
            await self.store.save_heads([head])
            self._kept_head = head

    async def _anchor(self) -> None:
        """Put the heads of all chains into control's own chain."""
        heads = await self.store.heads()
        anchored = {name: {"seq": h.seq, "hash": h.hash} for name, h in heads.items()}
        self.audit.append({"at": self.clock.now(), "kind": "heads", "heads": anchored})

    def _audit_records(self, rollout: str, records: Sequence[Recorded]) -> None:
        for record in records:
            event = record.event
            self.audit.append(
                {
                    "at": event.at,
                    "kind": "event",
                    "rollout": rollout,
                    "event": type(event).__name__,
                    "seq_in_log": record.seq,
                    "event_hash": record.hash,
                    "by": event.by,
                    "reason": event.reason,
                }
            )


def _quiet(settings: Settings) -> Quiet | None:
    quiet = settings.notify.quiet
    if quiet is None:
        return None
    begin, end = (time.fromisoformat(text) for text in (quiet.begin, quiet.end))
    return Quiet(begin, end, quiet.zone)


def _verify_run(key: bytes, token: str, now: float) -> Any:
    return verify(token, key, now)


async def _serve(settings: Settings) -> None:
    sock = bind(settings.api)
    process = ControlProcess(settings)
    config, token = await process.open()
    try:
        announce = {"url": f"http://{settings.api}", "token": token}
        await Server(config, announce).serve_until_told(sock)
    finally:
        await process.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; 2 when the config or the store cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path)
    options = parser.parse_args(argv)
    try:
        settings = load_settings(options.config, os.environ)
        configure_logs(settings.log_level)
        uvloop.run(_serve(settings))
    except (MoltError, OSError) as error:
        print(f"control: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
