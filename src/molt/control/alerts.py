"""Alerts: notices grouped by what they are about, sent once, tried again, held at night, acknowledged.

A critical notice - a rollback among them - is never held and never swallowed as a repetition of one
that nobody has got.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Final, NamedTuple, Protocol
from zoneinfo import ZoneInfo

import structlog
from msgspec.structs import replace

from molt.core.errors import MoltError, NotFound
from molt.ports import Alert, Clock, Delivery, Notice, Notifier

log = structlog.get_logger(__name__)

REPEAT: Final = timedelta(minutes=30)
"""The same news about the same thing is only counted for this long."""
GROUP: Final = timedelta(hours=24)
"""News about a thing that was last heard of longer ago is a new alert."""
FIRST_RETRY: Final = timedelta(minutes=1)
LONGEST_RETRY: Final = timedelta(hours=1)
GIVE_UP: Final = timedelta(hours=24)
KEPT: Final = 500


class AlertStore(Protocol):
    """Where alerts are kept."""

    async def save_alert(self, alert: Alert) -> None:
        """Keep `alert`, replacing the one with its id."""
        ...

    async def alerts(self, limit: int) -> Sequence[Alert]:
        """The latest, newest first."""
        ...


class Quiet(NamedTuple):
    """When only critical alerts go out."""

    begin: time
    end: time
    zone: str = "UTC"

    def covers(self, at: datetime) -> bool:
        """Whether `at` lies in it; it may run over midnight."""
        local = at.astimezone(ZoneInfo(self.zone)).time()
        if self.begin <= self.end:
            return self.begin <= local < self.end
        return local >= self.begin or local < self.end


class Links(Protocol):
    """Where a notice leads to."""

    def __call__(self, alert: Alert) -> Sequence[str]:
        """Lines to put under the message: the place in the console, the runbook, the way to say yes."""
        ...


class AlertDesk:
    """The way to on-call as the rest of Molt sees it; a `Notifier` itself."""

    def __init__(
        self,
        inner: Notifier,
        store: AlertStore,
        clock: Clock,
        *,
        links: Links = lambda alert: (),
        quiet: Quiet | None = None,
    ) -> None:
        self.inner = inner
        self._store = store
        self._clock = clock
        self._links = links
        self._quiet = quiet
        self._alerts: dict[str, Alert] = {}
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Take up what was kept; what was being sent when control ended is sent again.

        Raises `StoreUnavailable`.
        """
        now = self._clock.now()
        for alert in reversed(await self._store.alerts(KEPT)):
            cut_short = alert.state == "new"
            self._alerts[alert.id] = (
                replace(alert, state="undelivered", next_try=now) if cut_short else alert
            )

    def all(self) -> list[Alert]:
        """The latest alerts, newest first."""
        return sorted(self._alerts.values(), key=lambda a: (a.last_at, a.id), reverse=True)

    def undelivered(self) -> list[Alert]:
        """Those that nobody has got, and nobody has said to be on."""
        return [a for a in self.all() if a.state == "undelivered" and not a.acked_by]

    def known(self, key: str) -> bool:
        """Whether there was an alert about this."""
        return any(alert.key == key for alert in self._alerts.values())

    async def notify(self, notice: Notice) -> Delivery:
        """Group, count, hold or send; never raises."""
        async with self._lock:
            now = self._clock.now()
            before = self._about(notice.key, now)
            alert = _grouped(before, notice, now)
            repeated = before and before.title == notice.title and now - before.last_at < REPEAT
            if before and repeated and (before.state != "undelivered"):
                await self._keep(replace(alert, acked_by=before.acked_by, acked_at=before.acked_at))
                return Delivery(before.state == "sent", f"counted with alert {alert.id}")
            if notice.severity != "critical" and self._quiet and self._quiet.covers(now):
                await self._keep(replace(alert, state="held", detail="quiet hours"))
                return Delivery(False, f"held until quiet hours are over, alert {alert.id}")
            await self._keep(alert)
        return await self._send(alert)

    async def _send(self, alert: Alert) -> Delivery:
        """Outside of the lock: a target that is slow delays nobody else."""
        text = "\n".join([alert.body, *self._links(alert)])
        message = Notice(alert.severity, alert.title, text, alert.key)
        delivery = await self.inner.notify(message)
        current = self._alerts.get(alert.id, alert)
        tries = current.attempts + delivery.attempts
        if delivery.delivered:
            sent = replace(current, state="sent", attempts=tries, next_try=None)
        elif not delivery.attempts:
            sent = replace(current, state="logged", next_try=None)
        else:
            wait = min(LONGEST_RETRY, FIRST_RETRY * 2 ** min(10, current.rounds))
            due = self._clock.now() + wait
            late = due - current.first_at > GIVE_UP
            sent = replace(
                current, state="undelivered", attempts=tries, next_try=None if late else due
            )
        await self._keep(replace(sent, detail=delivery.detail, rounds=current.rounds + 1))
        return delivery

    async def tick(self) -> None:
        """Send what is due: what nobody got, and what quiet hours held back."""
        now = self._clock.now()
        quiet = self._quiet is not None and self._quiet.covers(now)
        for alert in list(self._alerts.values()):
            due = alert.next_try is not None and now >= alert.next_try
            if (alert.state == "undelivered" and due) or (alert.state == "held" and not quiet):
                await self._send(alert)

    async def acknowledge(self, alert_id: str, by: str, note: str = "") -> Alert:
        """Somebody is on it. Raises `NotFound` when there is no such alert."""
        alert = self._alerts.get(alert_id)
        if alert is None:
            known = ", ".join(a.id for a in self.all()[:10]) or "none"
            raise NotFound(f"No alert {alert_id!r}; the latest: {known}")
        if not alert.acked_by:
            now = self._clock.now()
            alert = replace(alert, acked_by=by, acked_at=now, ack_note=note, next_try=None)
            await self._keep(alert)
        return alert

    def _about(self, key: str, now: datetime) -> Alert | None:
        latest = next((alert for alert in self.all() if alert.key == key), None)
        return latest if latest and now - latest.last_at < GROUP else None

    async def _keep(self, alert: Alert) -> None:
        self._alerts[alert.id] = alert
        while len(self._alerts) > KEPT:
            del self._alerts[min(self._alerts, key=lambda i: self._alerts[i].last_at)]
        try:
            await self._store.save_alert(alert)
        except MoltError as error:
            log.error("alert_not_kept", alert=alert.id, error=str(error))


def _grouped(before: Alert | None, notice: Notice, now: datetime) -> Alert:
    """The alert that `notice` begins, or adds to; news takes an acknowledgement back."""
    if before is None:
        seed = f"{notice.key}\x1f{now.isoformat()}"
        name = hashlib.sha256(seed.encode()).hexdigest()[:8]
        return Alert(
            id=name,
            key=notice.key,
            severity=notice.severity,
            title=notice.title,
            body=notice.body,
            about=notice.about,
            page=notice.page,
            rollout=notice.rollout,
            first_at=now,
            last_at=now,
        )
    return replace(
        before,
        severity=notice.severity,
        title=notice.title,
        body=notice.body,
        about=notice.about or before.about,
        page=notice.page or before.page,
        rollout=notice.rollout or before.rollout,
        last_at=now,
        count=before.count + 1,
        acked_by="",
        acked_at=None,
    )
