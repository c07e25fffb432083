"""The way to on-call: one Apprise URL a target, retried in bounds; without any, the log."""

import asyncio
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import structlog

from molt.adapters.problems import ConfigError, Problem
from molt.ports import Clock, Delivery, Notice, Notifier

log = structlog.get_logger(__name__)

DELAYS: Final = (1.0, 4.0, 15.0)
"""Seconds before the second and each further attempt; then it counts as undelivered."""
ATTEMPT_SECONDS: Final = 15.0
KEPT_UNDELIVERED: Final = 100
_SEVERITIES: Final = ("info", "warning", "critical")
_KINDS: Final = {"info": "info", "warning": "warning", "critical": "failure"}


class Undelivered(NamedTuple):
    """A notice that nobody got, and why."""

    notice: Notice
    delivery: Delivery


class LogNotifier:
    """Writes notices to the log, and says that nobody was told."""

    async def notify(self, notice: Notice) -> Delivery:
        """Log it; never raises."""
        _log(notice)
        return Delivery(False, "no on-call target configured; the notice is in the log", 0)


class AppriseNotifier:
    """Sends each notice to the targets of its severity, or of the next lower one that has any.

    `undelivered` keeps the last notices that nobody got. Raises `ConfigError` when a URL is no
    Apprise URL; the message does not show it, because such URLs carry secrets.
    """

    def __init__(self, urls: Mapping[str, Sequence[str]], clock: Clock) -> None:
        self._clock = clock
        self._targets = {severity: _targets(severity, urls) for severity in _SEVERITIES}
        self.undelivered: deque[Undelivered] = deque(maxlen=KEPT_UNDELIVERED)

    async def notify(self, notice: Notice) -> Delivery:
        """Deliver to every target, trying those again that failed; never raises.

        It counts as delivered when one target has it. Takes at most about a minute and a half.
        """
        waiting = self._targets_of(notice.severity)
        _log(notice)
        if not waiting:
            detail = f"no target configured for {notice.severity}; the notice is in the log"
            return Delivery(False, detail, 0)
        got: list[str] = []
        failures: list[str] = []
        attempts = 0
        for delay in (0.0, *DELAYS):
            if delay:
                await self._clock.sleep(delay)
            attempts += 1
            results = await asyncio.gather(*(_send(target, notice) for target in waiting))
            failed = list(zip(waiting, results, strict=True))
            got += [_name(target) for target, problem in failed if problem is None]
            failures = [f"{_name(target)}: {problem}" for target, problem in failed if problem]
            waiting = [target for target, problem in failed if problem is not None]
            if not waiting:
                break
        parts = [f"sent to {', '.join(got)}"] if got else []
        parts += [f"failed for {'; '.join(failures)}"] if failures else []
        delivery = Delivery(bool(got), "; ".join(parts), attempts)
        if not got:
            log.error("notice_undelivered", title=notice.title, detail=delivery.detail)
            self.undelivered.append(Undelivered(notice, delivery))
        return delivery

    def _targets_of(self, severity: str) -> list[Any]:
        for candidate in reversed(_SEVERITIES[: _SEVERITIES.index(severity) + 1]):
            if self._targets[candidate]:
                return list(self._targets[candidate])
        return []


def notifier(urls: Mapping[str, Sequence[str]], clock: Clock) -> Notifier:
    """The notifier for these URLs by severity; the log, where there are none."""
    return AppriseNotifier(urls, clock) if any(urls.values()) else LogNotifier()


def _targets(severity: str, urls: Mapping[str, Sequence[str]]) -> list[Any]:
    """One Apprise object a URL; its plugins, half a second of imports, are only loaded for one."""
    targets: list[Any] = []
    for number, url in enumerate(urls.get(severity, ())):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # plugins import deprecated modules; not ours to mend
            import apprise

            target = apprise.Apprise()
            known = target.add(url)
        if not known:
            scheme = url.partition("://")[0][:20]
            text = (
                f"is not a URL that Apprise knows (it begins with {scheme!r}); "
                "expected one from its documentation, such as json://host/path"
            )
            raise ConfigError([Problem("", f"notify.{severity}.{number}", text)])
        targets.append(target)
    return targets


async def _send(target: Any, notice: Notice) -> str | None:
    """Try once; what went wrong, or None."""
    body = f"{notice.body}\n{notice.link}" if notice.link else notice.body
    try:
        result = await asyncio.to_thread(
            target.notify,
            body=body or notice.title,
            title=notice.title,
            notify_type=_KINDS[notice.severity],
            body_format="text",
            timeout=ATTEMPT_SECONDS,
        )
    except Exception as error:  # plugins of third parties may raise anything
        return f"{type(error).__name__}: {error}"
    if result:
        return None
    messages = [entry.message for service in result for entry in service.logs()]
    return messages[-1] if messages else result.status.name.lower()


def _name(target: Any) -> str:
    """The target's URL with its secrets hidden."""
    return target.services[0].url(privacy=True).partition("?")[0]


def _log(notice: Notice) -> None:
    write = {"info": log.info, "warning": log.warning, "critical": log.critical}[notice.severity]
    write("notice", title=notice.title, body=notice.body, key=notice.key, link=notice.link)
