"""The rollback procedure: five steps, each idempotent, recorded, resumed and read back.

A step returns what it saw when it read its effect back; a step that raises is tried again. The
procedure never waits for a person, and an undelivered notice does not stop it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from molt.control.desk import Desk
from molt.control.notices import figures, section
from molt.control.operator_flags import OperatorFlags
from molt.control.timeline import timeline
from molt.core.errors import UpstreamError
from molt.core.flags import Bounds, Flags
from molt.core.rollout import Incident
from molt.ports import Applied, Clock, FlagSink, Notice, Notifier

READ_BACK_SECONDS = 5.0
LEAD = timedelta(minutes=15)
"""How much of the audit log before the incident is preserved."""


class LogArchive(Protocol):
    """Where audit segments can be copied from."""

    def preserve(self, start: datetime, end: datetime, target: Path) -> Sequence[Path]:
        """Copy the segments that hold records of that time; idempotent; returns the copies."""
        ...


class NotVerified(UpstreamError):
    """A step was done but its effect was not seen yet."""


class Procedure:
    """Carries out the steps of one playbook's procedure."""

    def __init__(
        self,
        *,
        clock: Clock,
        operator: OperatorFlags,
        sink: FlagSink,
        notifier: Notifier,
        archive: LogArchive,
        incidents: Path,
        publish: Callable[[], Awaitable[Flags]],
        clear_limits: Callable[[], Awaitable[Flags]],
        gateways: int = 0,
    ) -> None:
        """`gateways` is how many, the egress among them, must have been heard of: a controller that
        has just started knows of none yet, and silence proves nothing."""
        self._clock = clock
        self._operator = operator
        self._sink = sink
        self._notifier = notifier
        self._archive = archive
        self._incidents = incidents
        self._publish = publish
        self._clear_limits = clear_limits
        self._gateways = gateways
        self._steps: Mapping[str, Callable[[Desk, Incident, bool], Awaitable[str]]] = {
            "disable": self._disable,
            "clear_rate_limits": self._clear_rate_limits,
            "notify_on_call": self._notify_on_call,
            "preserve_logs": self._preserve_logs,
            "document_timeline": self._document_timeline,
        }

    async def perform(self, step: str, desk: Desk, incident: Incident, alone: bool) -> str:
        """Do one step and read it back; the proof. Raises what went wrong.

        `alone` says that no other rollout is running, so that everything may be switched off.
        """
        return await self._steps[step](desk, incident, alone)

    def folder(self, incident: str) -> Path:
        """Where an incident's files are."""
        return self._incidents / incident

    async def _disable(self, desk: Desk, _: Incident, alone: bool) -> str:
        keys = (
            ["MOLTBOT_ENABLED"]
            if alone
            else [f"MOLTBOT_{agent.upper()}_ENABLED" for agent in desk.rollout.agents]
        )
        for key in keys:
            self._operator.set(key, "false")
        if not _says_off(self._operator.file.read(), desk.rollout.agents, alone):
            raise NotVerified(f"{', '.join(keys)} did not read back as false")
        flags = await self._publish()
        applied = await self._read_back(lambda a: a.version >= flags.version)
        last = [a.last_candidate[desk.id] for a in applied if desk.id in a.last_candidate]
        seen = f"last candidate request at {max(last).isoformat()}" if last else "no request since"
        return (
            f"{', '.join(keys)} = false, read back; flags version {flags.version} applied by "
            f"{len(applied)} of {len(self._sink.applied())} gateways; {seen}"
        )

    async def _clear_rate_limits(self, *_: object) -> str:
        flags = await self._clear_limits()
        applied = await self._read_back(lambda a: a.limiter_epoch >= flags.limiter_epoch)
        return f"limiter state {flags.limiter_epoch} begun by {len(applied)} gateways"

    async def _read_back(self, done: Callable[[Applied], bool]) -> Sequence[Applied]:
        deadline = self._clock.monotonic() + READ_BACK_SECONDS
        while True:
            applied = list(self._sink.applied().values())
            if len(applied) >= self._gateways and all(done(gateway) for gateway in applied):
                return applied
            if self._clock.monotonic() > deadline:
                if len(applied) < self._gateways:
                    heard = f"{len(applied)} of {self._gateways}"
                    raise NotVerified(f"only {heard} gateways have been heard of lately")
                behind = [a.gateway for a in applied if not done(a)]
                raise NotVerified(f"gateways {', '.join(behind)} have not applied it yet")
            await self._clock.sleep(0.05)

    async def _notify_on_call(self, desk: Desk, incident: Incident, _: bool) -> str:
        notice = Notice(
            severity="critical",
            title=f"{desk.id}: rolled back to 0% ({incident.trigger})",
            body=f"{_sentences(incident.ruling.reason, figures(incident.ruling))}Incident "
            f"{incident.id}, opened {incident.opened_at.isoformat(timespec='seconds')}. "
            "All traffic is on control.",
            key=incident.id,
            about=section(incident.trigger),
            page=f"incidents/{incident.id}",
            rollout=desk.id,
        )
        delivery = await self._notifier.notify(notice)
        return f"{'delivered' if delivery.delivered else 'UNDELIVERED'}: {delivery.detail}"

    async def _preserve_logs(self, _: Desk, incident: Incident, __: bool) -> str:
        target = self.folder(incident.id) / "logs"
        start, end = incident.opened_at - LEAD, self._clock.now()
        copies = await asyncio.to_thread(self._archive.preserve, start, end, target)
        missing = [copy.name for copy in copies if not copy.is_file()]
        if missing:
            raise NotVerified(f"preserved segments cannot be read back: {', '.join(missing)}")
        return f"{len(copies)} segments in {target}"

    async def _document_timeline(self, desk: Desk, incident: Incident, _: bool) -> str:
        path = self.folder(incident.id) / "timeline.md"
        text = timeline(desk.rollout, incident, desk.events())
        await asyncio.to_thread(_write, path, text)
        if await asyncio.to_thread(path.read_text, "utf-8") != text:
            raise NotVerified(f"{path} does not read back as written")
        return str(path)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _says_off(bounds: Bounds, agents: Sequence[str], alone: bool) -> bool:
    if alone:
        return bounds.enabled is False
    return all(bounds.agents.get(agent) is False for agent in agents)


def _sentences(*texts: str) -> str:
    """Each on a line of its own and closed by a full stop; empty ones are left out."""
    return "".join(f"{text.rstrip('.')}.\n" for text in texts if text)
