"""An incident as a Markdown page: what happened when, and the evidence as it was."""

from collections.abc import Sequence
from datetime import timedelta

from molt.control.facts import told_of
from molt.core.events import AnyEvent
from molt.core.rollout import Incident, Rollout

BEFORE = timedelta(hours=24)


def timeline(rollout: Rollout, incident: Incident, events: Sequence[AnyEvent]) -> str:
    """The page of `incident`, from the rollout's log."""
    rows = [_row(e) for e in belonging(events, incident)]
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
            *_evidence(incident),
            "",
            "## Timeline",
            "",
            "| time (UTC) | what | who | detail |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _evidence(incident: Incident) -> list[str]:
    numbers = incident.ruling.numbers
    if not numbers:
        return ["A person decided; there are no numbers."]
    rows = [f"| {name.replace('_', ' ')} | {_cell(value)} |" for name, value in numbers.items()]
    return ["| number | value |", "| --- | --- |", *rows]


def belonging(events: Sequence[AnyEvent], incident: Incident) -> list[AnyEvent]:
    """What happened around an incident, from a day before it on."""
    first = incident.opened_at - BEFORE
    return [e for e in events if e.at >= first and _belongs(e, incident.id)]


def _belongs(event: AnyEvent, incident: str) -> bool:
    """Everything about the rollout, but of incidents only this one."""
    return getattr(event, "incident", None) in (None, incident)


def _row(event: AnyEvent) -> str:
    cells = (
        f"{event.at:%Y-%m-%d %H:%M:%S}.{event.at.microsecond // 1000:03d}",
        type(event).__name__,
        event.by,
    )
    return f"| {' | '.join(cells)} | {_cell(told_of(event))} |"


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
