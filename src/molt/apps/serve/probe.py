"""Is the agent up? An active probe, beside what its requests say."""

import ssl
from collections import deque

import httpx
import structlog

from molt.apps.settings import Upstream
from molt.control.controller import Controller
from molt.core.events import AlarmCleared, AlarmRaised
from molt.core.rollout import WATCHED

log = structlog.get_logger(__name__)

TIMEOUT = 5.0
REMEMBERED = 8640
"""Probes of a day at ten seconds."""

ALARM = "agent_down"
FAILURES = 2


class Probe:
    """Asks the candidate's health path every `slos.probe_every`; tells through alarms."""

    def __init__(self, upstream: Upstream, controller: Controller) -> None:
        self._upstream = upstream
        self._controller = controller
        self.results: deque[bool] = deque(maxlen=REMEMBERED)
        self._failing = 0

    async def run(self) -> None:
        """Probe until cancelled."""
        async with httpx.AsyncClient(timeout=TIMEOUT, verify=_verify(self._upstream)) as client:
            while True:
                every = [d.playbook.slos.probe_every for d in self._controller.desks.values()]
                pause = min((e.total_seconds() for e in every), default=10.0)
                await self._controller.clock.sleep(pause)
                await self.once(client)

    async def once(self, client: httpx.AsyncClient) -> None:
        """One probe; two failures in a row raise the alarm, one success clears it."""
        url = self._upstream.url.rstrip("/") + (self._upstream.health or "/")
        try:
            answer = await client.get(url)
            up, said = answer.is_success, f"answered {answer.status_code}"
        except httpx.HTTPError as error:
            up, said = False, f"did not answer: {error!r}"
        self.results.append(up)
        self._controller.availability = sum(self.results) / len(self.results)
        self._failing = 0 if up else self._failing + 1
        if up or self._failing >= FAILURES:
            await self._tell(up, f"The agent's health check {said}")

    async def _tell(self, up: bool, text: str) -> None:
        now = self._controller.clock.now()
        for desk in self._controller.desks.values():
            if desk.rollout.phase not in WATCHED:
                continue
            if not up and ALARM not in desk.rollout.alarms:
                await self._controller.record(desk, AlarmRaised(at=now, alarm=ALARM, text=text))
            elif up and ALARM in desk.rollout.alarms:
                await self._controller.record(desk, AlarmCleared(at=now, alarm=ALARM))


def _verify(upstream: Upstream) -> ssl.SSLContext | bool:
    if upstream.ca is None and upstream.client_certificate is None:
        return True
    context = ssl.create_default_context(cafile=upstream.ca)
    if upstream.client_certificate:
        context.load_cert_chain(upstream.client_certificate, upstream.client_key)
    return context
