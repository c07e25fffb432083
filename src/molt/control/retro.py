"""The retrospective of a rollout, from its log: what was planned, what happened, what is open."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from molt.control.desk import Desk
from molt.core import tasks
from molt.core.assignment import CANDIDATE
from molt.core.events import (
    AlarmRaised,
    AnyEvent,
    Approved,
    CandidateChanged,
    Completed,
    Halved,
    IncidentOpened,
    Noted,
    Paused,
    QuestionAsked,
    Resumed,
    RolledBack,
    RolloutStarted,
    StepEntered,
)
from molt.core.evidence import LIVE, SHADOW, Mode
from molt.core.rollout import Incident, Stay

Row = Sequence[object]


def retrospective(desk: Desk, now: datetime) -> str:
    """The page, as Markdown."""
    parts = [
        _head(desk, now),
        _section("Planned and real course", _course(desk, now)),
        _section("What each step was left on", _rulings(desk)),
        _section("Incidents", _incidents(desk)),
        _section("Costs", _costs(desk)),
        _section("Adjustments and remarks", _adjustments(desk)),
        _section("Decisions of people", _decisions(desk)),
        _section("Open questions", _open(desk, now)),
    ]
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *lines, ""]


def _table(head: Row, rows: Sequence[Row], empty: str) -> list[str]:
    if not rows:
        return [empty]
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(_cell(c) for c in line) + " |" for line in lines]


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _head(desk: Desk, now: datetime) -> list[str]:
    rollout, playbook = desk.rollout, desk.playbook
    began = rollout.started_at or now
    done = next((e.at for e in reversed(desk.events()) if isinstance(e, Completed)), None)
    length = _span((done or now) - began)
    top = max((stay.share for stay in rollout.stays), default=0.0)
    phase = str(rollout.phase).replace("_", " ")
    outcome = f"complete after {length}" if done else f"{phase}, {length} after its start"
    planned = sum((step.pace for _, step in playbook.ladder()), timedelta())
    counts = desk.book.counts(range(rollout.epoch + 1), CANDIDATE, LIVE)
    rate = f"{counts.errors / counts.requests:.2%}" if counts.requests else "none seen"
    back = len(rollout.rollbacks)
    return [
        f"# Retrospective: {playbook.title or playbook.name}",
        "",
        f"**{outcome[0].upper()}{outcome[1:]}** (planned: {_span(planned)}). The agent has answered "
        f"{counts.requests:,} live requests, error rate {rate}; the highest share was {top:g}%. "
        f"{_incident_count(len(rollout.incidents), back)}.",
        "",
        f"- Rollout `{rollout.id}`, plan `{playbook.name}`, hash `{rollout.playbook_hash[:12]}`",
        f"- Agents: {', '.join(rollout.agents)}; candidate version: "
        f"{rollout.candidate_version or 'not reported'}",
        f"- Began {_at(began)}, {_by(desk)}",
        f"- Written {_at(now)} from {len(desk.records)} events of the log",
        "",
    ]


def _incident_count(opened: int, back: int) -> str:
    if not opened:
        return "No incident"
    return f"{opened} incident{'s' if opened > 1 else ''}, {back} of them rolled back"


def _by(desk: Desk) -> str:
    started = next((e for e in desk.events() if isinstance(e, RolloutStarted)), None)
    if started is None:
        return "by nobody known"
    return f"by {started.by}" + (f": {started.reason}" if started.reason else "")


def _course(desk: Desk, now: datetime) -> list[str]:
    """Every step of the plan: when it should have begun, when it did, how long it took."""
    stays, began = desk.rollout.stays, desk.rollout.started_at or now
    rows: list[Row] = []
    due = began
    for phase in desk.playbook.phases:
        for index, step in enumerate(phase.steps):
            spans = list(_stays(stays, phase.name, index, now))
            entered = _at(spans[0][0]) if spans else "not reached"
            spent = sum((end - start for start, end in spans), timedelta())
            more = spent - step.pace
            against = (
                "" if not spans else ("as planned" if abs(more) < step.pace / 10 else _signed(more))
            )
            rows.append(
                (
                    f"{phase.name} {step.share:g}%",
                    _at(due),
                    entered,
                    _span(step.pace),
                    _span(spent) if spans else "",
                    against,
                )
            )
            due += step.pace
    head = ("step", "planned begin", "real begin", "planned time", "time in step", "difference")
    return _table(head, rows, "The plan has no steps.")


def _stays(
    stays: Sequence[Stay], phase: str, step: int, now: datetime
) -> Iterator[tuple[datetime, datetime]]:
    for number, stay in enumerate(stays):
        if (stay.phase, stay.step) == (phase, step):
            yield stay.at, stays[number + 1].at if number + 1 < len(stays) else now


def _rulings(desk: Desk) -> list[str]:
    """The gates' last word at each step that was left, with the numbers that they saw."""
    rows: list[Row] = []
    place = ""
    for event in desk.events():
        if isinstance(event, StepEntered | Completed):
            rows += [(place, r.name, r.verdict, r.reason) for r in event.rulings if place]
        if isinstance(event, StepEntered):
            place = f"{event.phase} {event.share:g}%"
    return _table(("step", "gate", "ruling", "on what"), rows, "No step has been left yet.")


def _incidents(desk: Desk) -> list[str]:
    events = desk.events()
    opened = {e.incident: e for e in events if isinstance(e, IncidentOpened)}
    rows: list[Row] = [
        (
            incident.id,
            f"{incident.trigger}, {incident.action.replace('_', ' ')}",
            _at(incident.opened_at),
            _detect(opened[incident.id]),
            _safe(incident, events),
            _at(incident.closed_at) if incident.closed_at else "**open**",
            incident.cause or incident.ruling.reason,
        )
        for incident in desk.rollout.incidents
    ]
    head = ("incident", "what", "opened", "time to detect", "time to safe", "closed", "cause")
    note = (
        "Time to detect: from when the trigger's condition became true (or the last look at which it was "
        "not) to the decision. Time to safe: from the decision until the flags were read back at every "
        "gateway, or the traffic was halved."
    )
    table = _table(head, rows, "There was no incident.")
    return [*table, "", note] if rows else table


def _detect(opened: IncidentOpened) -> str:
    return _span(opened.at - opened.quiet_until) if opened.quiet_until else "not known"


def _safe(incident: Incident, events: Sequence[AnyEvent]) -> str:
    for event in events:
        if getattr(event, "incident", None) != incident.id:
            continue
        if isinstance(event, Halved) or getattr(event, "step", "") == "disable":
            if hasattr(event, "error"):
                continue
            return _span(event.at - incident.opened_at)
    return "traffic stayed" if incident.action in ("pause", "review") else "not verified"


def _costs(desk: Desk) -> list[str]:
    rollout, cost = desk.rollout, desk.playbook.cost
    epochs = range(rollout.epoch + 1)
    rows: list[Row] = []
    modes: tuple[Mode, ...] = (LIVE, SHADOW)
    for mode in modes:
        counts = desk.book.counts(epochs, CANDIDATE, mode)
        if counts.requests:
            each = counts.cost / counts.priced if counts.priced else None
            rows.append(
                (
                    mode,
                    f"{counts.requests:,}",
                    f"{counts.priced:,}",
                    f"${counts.cost:,.2f}" if counts.priced else "not known",
                    f"${1000 * each:,.3f}" if each is not None else "not known",
                    f"{each / rollout.projected_cost:.2f}x"
                    if each is not None and rollout.projected_cost
                    else "",
                )
            )
    head = ("requests", "number", "priced", "spent", "for 1,000", "against projection")
    projected = (
        f"${1000 * rollout.projected_cost:,.3f} for 1,000 requests"
        if rollout.projected_cost
        else "none was made"
    )
    budget = f"${cost.budget_per_1000:,.2f} for 1,000 requests" if cost.budget_per_1000 else "none"
    return [
        *_table(head, rows, "The agent has answered no request."),
        "",
        f"Projection: {projected}. Budget: {budget}.",
    ]


def _adjustments(desk: Desk) -> list[str]:
    rows: list[Row] = []
    for event in desk.events():
        if isinstance(event, CandidateChanged):
            rows.append((_at(event.at), event.by, f"candidate version {event.version}", event.note))
        elif isinstance(event, Noted):
            rows.append((_at(event.at), event.by, "remark", event.note))
    return _table(("when", "who", "what", "detail"), rows, "None was recorded.")


def _decisions(desk: Desk) -> list[str]:
    kinds = (Approved, Paused, Resumed, RolledBack, StepEntered, Completed)
    words = {"StepEntered": "went on", "Completed": "went to the end", "RolledBack": "rolled back"}
    rows: list[Row] = [
        (
            _at(event.at),
            event.by,
            words.get(type(event).__name__, type(event).__name__.lower()),
            event.reason + _alone(event),
        )
        for event in desk.events()
        if isinstance(event, kinds) and event.by != "molt"
    ]
    return _table(("when", "who", "what", "why"), rows, "Molt decided everything by itself.")


def _alone(event: AnyEvent) -> str:
    return (
        " (approved by the one who asked)"
        if isinstance(event, Approved) and not event.four_eyes
        else ""
    )


def _open(desk: Desk, now: datetime) -> list[str]:
    rollout = desk.rollout
    lines = [f"Incident {i.id} ({i.trigger}) has not been closed." for i in rollout.open_incidents]
    for event in desk.events():
        if isinstance(event, RolloutStarted) and event.waived:
            items = ", ".join(event.waived)
            lines.append(f"Begun without {items}: {event.reason}. Is that settled by now?")
        if isinstance(event, QuestionAsked):
            lines.append(
                f"{_at(event.at)}, {event.reason}: was the limit, the traffic or the agent wrong?"
            )
        if isinstance(event, Approved) and not event.four_eyes:
            lines.append(f"{_at(event.at)}: {event.by} approved alone.")
    alarms = [e for e in desk.events() if isinstance(e, AlarmRaised)]
    lines += [f"Alarm {name} is on: {text}" for name, text in rollout.alarms.items()]
    if alarms and not rollout.alarms:
        names = ", ".join(dict.fromkeys(e.alarm for e in alarms))
        lines.append(f"{len(alarms)} alarms ({names}) came and went: is their cause known?")
    for row in tasks.tasks_of(rollout, desk.playbook):
        if not row["signed_by"]:
            owner = row["owner"] or "nobody"
            late = ", **overdue**" if tasks.overdue(row, now) else ""
            due = f", due {row['due']}" if row["due"] else ""
            lines.append(f"To do: {row['task']} ({owner}{due}{late}).")
    return [f"- {line}" for line in lines] or ["None."]


def _at(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _signed(length: timedelta) -> str:
    return f"{'+' if length > timedelta() else '-'}{_span(abs(length))}"


def _span(length: timedelta) -> str:
    """A length of time in its two largest units."""
    seconds = length.total_seconds()
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {int(seconds % 60)} s" if minutes else f"{int(seconds)} s"
