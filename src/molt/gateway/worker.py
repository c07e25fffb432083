"""One gateway worker: proxy, edge, recorder, flags and batches, put together and kept going."""

import asyncio
import contextlib
import math
import ssl
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog

from molt.core.errors import OperatorError
from molt.core.evidence import Batch
from molt.gateway.addresses import ClientAddresses
from molt.gateway.edge import Arms, Manners, MoltEdge
from molt.gateway.fallback import Fallback
from molt.gateway.identity import BODY_LIMIT, Identity
from molt.gateway.observations import Pricing
from molt.gateway.pairs import Pairs
from molt.gateway.proxy import Proxy
from molt.gateway.recorder import Recorder
from molt.gateway.settings import GatewaySettings, Service
from molt.link.batches import BatchSender
from molt.link.control_client import ControlClient
from molt.link.flag_stream import FlagFile, FlagStream
from molt.link.pairs import PairSender
from molt.link.tokens import Runs
from molt.ports import AuditSink, Prices
from molt.wire.deadlines import Deadlines
from molt.wire.exchange import Forward
from molt.wire.front import Limits
from molt.wire.tls import client_context, server_context
from molt.wire.upstream import Upstream

log = structlog.get_logger(__name__)

TICK_SECONDS: Final = 0.25
HEARTBEAT_SECONDS: Final = 5.0
FIRST_TRY_SECONDS: Final = 2.0
LAST_BATCH_SECONDS: Final = 2.0


class Worker:
    """Everything in one gateway process. Raises `OperatorError` for settings that cannot be used."""

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        audit: AuditSink,
        prices: Prices,
        hash_subject: Callable[[str], str],
    ) -> None:
        self._settings = settings
        self._audit = audit
        self._tasks: list[asyncio.Task[None]] = []
        self._folding = self._hurrying = False
        self._sealed = float("-inf")
        self._tried = asyncio.Event()
        self._deadlines = Deadlines()
        self._control = ControlClient(settings.molt_url, settings.gateway_key, settings.id)
        self._sender = BatchSender(self._control, self._empty_batch)
        self._pair_sender = PairSender(self._control, settings.id)
        self._pairs = Pairs(self._pair_sender)
        self._recorder = Recorder(
            audit=audit,
            pricing=Pricing(prices, settings.agent.model),
            hash_subject=hash_subject,
            hurry=self._hurry,
            crowd=self._fold_soon,
            pairs=self._pairs,
        )
        self._arms = Arms(
            _upstream("control", settings.control, self._deadlines),
            _upstream("candidate", settings.candidate, self._deadlines),
        )
        self.edge = self._make_edge()
        self._stream = FlagStream(
            self._control,
            FlagFile(Path(settings.state_dir) / f"{settings.id}.flags.json"),
            self.edge,
            tried=self._tried.set,
            applied=self._sender.hurry,
        )
        self._proxy = Proxy(
            self.edge,
            Forward(self._arms.control),
            self._deadlines,
            limits=_limits(settings),
            watched=self.edge.watched,
        )

    def _make_edge(self) -> MoltEdge:
        settings = self._settings
        reports = settings.agent.reports_actions
        return MoltEdge(
            self._arms,
            identity=Identity(settings.identity.rules()),
            addresses=ClientAddresses(settings.trusted_proxies),
            runs=Runs(bytes.fromhex(settings.run_key)),
            recorder=self._recorder,
            fallback=Fallback(self._control.close_run if reports else None),
            pairs=self._pairs,
            manners=Manners(
                show_arm=settings.show_arm,
                version_header=settings.agent.version_header,
                session_field=settings.identity.answer_field(),
                report_url=settings.report_url,
                usage=settings.agent.usage,
            ),
        )

    @property
    def port(self) -> int:
        """Where it listens, once started."""
        return self._proxy.port

    # --- life

    async def start(self) -> None:
        """Take requests; by control's flags if it is there, else by the kept ones.

        Raises `OperatorError` when the address or a certificate cannot be had.
        """
        settings = self._settings
        self._stream.load()
        self._run(self._stream.run())
        self._run(self._sender.run())
        self._run(self._pair_sender.run())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._tried.wait(), FIRST_TRY_SECONDS)
        self._tick()
        try:
            tls = None
            if settings.tls is not None:
                tls = server_context(Path(settings.tls.certificate), _path(settings.tls.key))
            await self._proxy.start(
                settings.host, settings.port, tls=tls, shared=settings.port != 0, freeze=True
            )
        except OSError as error:
            await self._end_tasks()
            raise OperatorError(
                f"Cannot listen on {settings.host}:{settings.port}: {error.strerror or error}. "
                "Stop what holds it, or set another address"
            ) from None

    async def stop(self) -> None:
        """Let what is in flight end, then hand over the last evidence."""
        await self._proxy.stop(self._settings.bounds.drain)
        await self._end_tasks()
        self._recorder.fold(math.inf)
        self._flush_audit()
        self._sender.draft.add(self._recorder.take())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._sender.send(), LAST_BATCH_SECONDS)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._pair_sender.send(), LAST_BATCH_SECONDS)
        for upstream in (self._arms.control, self._arms.candidate):
            upstream.close()
        await self._control.close()

    async def _end_tasks(self) -> None:
        self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    # --- the timer

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        self._fold_soon()
        self._recorder.sweep()
        self.edge.sweep()

    def _fold_soon(self) -> None:
        """Fold in the next turn of the loop; called from the hot path."""
        if not self._folding:
            self._folding = True
            asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        """Fold a slice; the rest in the next turns of the loop, so that requests come between."""
        folded = self._recorder.fold()
        self._flush_audit()
        self._folding = False
        if not folded:
            self._fold_soon()
            return
        silent = time.monotonic() - self._sealed
        due = silent >= self._settings.batch_seconds and self._recorder.has_evidence
        if due or self._hurrying or silent >= HEARTBEAT_SECONDS:
            self._seal()

    def _hurry(self) -> None:
        """Something should reach control now; called from the hot path."""
        self._hurrying = True
        self._fold_soon()

    def _seal(self) -> None:
        self._hurrying = False
        self._sealed = time.monotonic()
        self._sender.draft.add(self._recorder.take())
        self._sender.hurry()

    def _flush_audit(self) -> None:
        """Write the audit log; while it cannot be written, nobody goes to the agent."""
        try:
            self._audit.flush()
        except OSError as error:
            if not self.edge.audit_failed:
                log.error("audit_failed", error=str(error))
            self.edge.audit_failed = True
        else:
            self.edge.audit_failed = False

    def _empty_batch(self, sequence: int) -> Batch:
        edge = self.edge
        return Batch(
            gateway=self._settings.id,
            sequence=sequence,
            sent_at=datetime.now(UTC),
            applied=edge.version,
            limiter_epoch=edge.flags.limiter_epoch if edge.flags else 0,
            last_candidate={
                name: datetime.fromtimestamp(running.last_candidate, UTC)
                for name, running in edge.routes.running.items()
                if running.last_candidate
            },
            head=self._audit.head(),
            in_flight=edge.in_flight(),
        )


def _upstream(name: str, service: Service, deadlines: Deadlines) -> Upstream:
    try:
        tls = None
        if service.url.startswith("https:"):
            tls = client_context(
                ca=_path(service.ca),
                certificate=_path(service.certificate),
                key=_path(service.key),
            )
        return Upstream.from_url(
            name,
            service.url,
            deadlines,
            tls=tls,
            own_host=service.own_host,
            connect_timeout=service.connect_timeout,
            answer_timeout=service.answer_timeout,
            read_timeout=service.read_timeout,
            idle_timeout=service.idle_timeout,
        )
    except (ValueError, OSError, ssl.SSLError) as error:
        raise OperatorError(f"upstream {name}: {error}") from None


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def _limits(settings: GatewaySettings) -> Limits:
    bounds = settings.bounds
    return Limits(
        max_head=bounds.head,
        max_body=bounds.body,
        decision_body=BODY_LIMIT,
        hold_body=bounds.body_held,
        mirrors=bounds.mirrors,
        head_timeout=bounds.head_timeout,
        body_timeout=bounds.body_timeout,
        idle_timeout=bounds.idle_timeout,
        write_timeout=bounds.write_timeout,
    )
