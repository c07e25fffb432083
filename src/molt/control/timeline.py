"""An incident as a Markdown page: what happened when, and the evidence as it was."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from molt.core.events import (
    AnyEvent,
    IncidentClosed,
    IncidentNoted,
    IncidentOpened,
    ProcedureStepDone,
    ProcedureStepFailed,
    Ruling,
    RulingsChanged,
)
from molt.core.rollout import Incident, Rollout

BEFORE = timedelta(hours=24)

HIDDEN = frozenset({"at", "by", "playbook", "salt", "statistics_salt"})


def timeline(rollout: Rollout, incident: Incident, events: Sequence[AnyEvent]) -> str:
    """The page of `incident`, from the rollout's log."""
    first = incident.opened_at - BEFORE
    rows = [_row(e) for e in events if e.at >= first and _belongs(e, incident.id)]
    return "\n".join(
        [
            f"# Incident {incident.id}",
            "",
            f"- Rollout: `{rollout.id}` (playbook hash `{rollout.playbook_hash[:12]}`)",
            f"- Trigger: **{incident.trigger}**, action **{incident.action}**",
            f"- Opened: {incident.opened_at:%Y-%m-%d %H:%M:%S} UTC",
            f"- Candidate version: {rollout.candidate_version or 'not reported'}",
            f"- Why: {incident.ruling.reason}",
            "",
            "## Evidence",
            "",
            "| number | value |",
            "| --- | --- |",
            *[
                f"| {name.replace('_', ' ')} | {_cell(value)} |"
                for name, value in incident.ruling.numbers.items()
            ],
            "",
            "## Timeline",
            "",
            "| time (UTC) | what | who | detail |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def belonging(events: Sequence[AnyEvent], incident: Incident) -> list[tuple[AnyEvent, str]]:
    """What happened around an incident, from a day before it on, each with its detail in words."""
    first = incident.opened_at - BEFORE
    return [(e, _detail(e)) for e in events if e.at >= first and _belongs(e, incident.id)]


def _belongs(event: AnyEvent, incident: str) -> bool:
    """Everything about the rollout, but of incidents only this one."""
    return getattr(event, "incident", None) in (None, incident)


def _row(event: AnyEvent) -> str:
    cells = (
        f"{event.at:%Y-%m-%d %H:%M:%S}.{event.at.microsecond // 1000:03d}",
        type(event).__name__,
        event.by,
    )
    return f"| {' | '.join(cells)} | {_cell(_detail(event))} |"


def _detail(event: AnyEvent) -> str:
    match event:
        case ProcedureStepDone():
            return f"{event.step}: {event.proof}"
        case ProcedureStepFailed():
            return f"{event.step}: {event.error}"
        case IncidentOpened():
            return f"{event.trigger}: {event.reason} {_json(event.detail) if event.detail else ''}"
        case IncidentNoted():
            return event.note
        case IncidentClosed():
            return event.cause
        case RulingsChanged():
            return ", ".join(f"{r.name} {r.verdict}" for r in event.rulings)
        case _:
            fields = msgspec.structs.asdict(event)
            shown = (
                (k, v) for k, v in fields.items() if k not in HIDDEN and v not in ("", None, ())
            )
            return ", ".join(_told(k, v) for k, v in shown)


SHORT = {"playbook_hash": 12, "digest": 12}
"""So many letters of a long value tell it from others; the event log has the whole."""


def _told(name: str, value: object) -> str:
    """A field as people say it: a reason speaks for itself."""
    if name == "reason":
        return str(value)
    return f"{name.replace('_', ' ')} {_plain(value)[: SHORT.get(name)]}"


def _plain(value: object) -> str:
    match value:
        case Ruling():
            return f"{value.name} {value.verdict}"
        case dict():
            said = {k: v for k, v in value.items() if v not in (None, {})}
            return ", ".join(f"{k}={v}" for k, v in said.items()) or "none"
        case tuple():
            return ", ".join(map(_plain, value))
        case float():
            return f"{value:.4g}"
        case datetime():
            return value.isoformat(timespec="seconds")
        case _:
            return str(value)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
