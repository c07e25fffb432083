"""The retrospective of a rollout, from its log: what was planned, what happened, what is open."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from molt.control.desk import Desk
from molt.control.retro_course import course, ended, foreseen, legs, named
from molt.control.retro_text import Row, bar, moment, section, span, table, usd
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
    Ruling,
    RulingsChanged,
    StepEntered,
)
from molt.core.evidence import LIVE, SHADOW, Mode
from molt.core.nearness import nearness
from molt.core.playbook import Step
from molt.core.prediction import Prediction
from molt.core.report import report
from molt.core.rollout import ACTIVE, WATCHED, Incident, Phase

COURSE: Final = "Planned and real course"
"""The heading under which a page draws the course."""


def retrospective(desk: Desk, now: datetime, prediction: Prediction | None = None) -> str:
    """The page, as Markdown; a prediction of `molt plan` is held against what happened."""
    parts = [
        _head(desk, now),
        section(COURSE, course(desk, now)),
        section("What the simulator had predicted", foreseen(desk, now, prediction)),
        section("What the agent changed", _figures(desk, now)),
        section("How near each ruling was to its limit", _rulings(desk)),
        section("Incidents", _incidents(desk)),
        section("Costs", _costs(desk, now)),
        section("Adjustments and remarks", _adjustments(desk)),
        section("Decisions of people", _decisions(desk)),
        section("Open questions", _open(desk, now)),
    ]
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def _figures(desk: Desk, now: datetime) -> list[str]:
    """The comparison with control, in words; as it stood at the end, where there was one."""
    found = report(desk.scene(ended(desk, now)))
    fell = desk.rollout.phase not in WATCHED
    lead = "As it stood when all traffic went back to control." if fell else found.headline
    return [lead, "", *(f"- {row.sentence}" for row in found.metrics)]


def _head(desk: Desk, now: datetime) -> list[str]:
    rollout, playbook = desk.rollout, desk.playbook
    began = rollout.started_at or now
    done = next((e.at for e in reversed(desk.events()) if isinstance(e, Completed)), None)
    length = span(ended(desk, now) - began)
    top = max((stay.share for stay in rollout.stays), default=0.0)
    phase = str(rollout.phase).replace("_", " ")
    outcome = f"complete after {length}" if done else f"{phase}, {length} after its start"
    if rollout.phase in ACTIVE:
        outcome = f"not at its end yet: {phase} at {rollout.share:g}%, {length} after its start"
    planned = sum((step.pace for _, step in playbook.ladder()), timedelta())
    counts = desk.book.counts(range(rollout.epoch + 1), CANDIDATE, LIVE)
    rate = f"{counts.errors / counts.requests:.2%}" if counts.requests else "none seen"
    back = len(rollout.rollbacks)
    return [
        f"# Retrospective: {playbook.title or playbook.name}",
        "",
        f"**{outcome[0].upper()}{outcome[1:]}** (planned: {span(planned)}). The agent has answered "
        f"{counts.requests:,} live requests, error rate {rate}; the highest share was {top:g}%. "
        f"{_incident_count(len(rollout.incidents), back)}.",
        "",
        f"- Rollout `{rollout.id}`, plan `{playbook.name}`, hash `{rollout.playbook_hash[:12]}`",
        f"- Agents: {', '.join(rollout.agents)}; candidate version: "
        f"{rollout.candidate_version or 'not reported'}",
        f"- Began {moment(began)}, {_by(desk)}",
        f"- Written {moment(now)} from {len(desk.records)} events of the log",
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


def _rulings(desk: Desk) -> list[str]:
    """The gates' last word at each step, and how near it was to its limit."""
    rows: list[Row] = []
    place, step = "", None
    for event in desk.events():
        if isinstance(event, StepEntered | Completed):
            looked = [r for r in event.rulings if place and r.name != "hold"]
            rows += [(place if not i else "", *_near(r, desk, step)) for i, r in enumerate(looked)]
        if isinstance(event, StepEntered):
            place = f"{event.phase} {event.share:g}%"
            step = desk.playbook.phase(event.phase).steps[event.step]
    if desk.rollout.phase is not Phase.COMPLETE:
        last = [r for r in _last(desk) if r.name != "hold"]
        there = f"{place}, at last"
        rows += [(there if not i else "", *_near(r, desk, step)) for i, r in enumerate(last)]
    head = ("step", "gate", "ruling", "measured", "limit", "used of the limit", "at most")
    found = table(head, rows, "No step has been left yet.")
    return [*found, "", NEAR] if rows else found


def _last(desk: Desk) -> Sequence[Ruling]:
    """What the gates said at last in the step that the rollout is in, or fell from."""
    for event in reversed(desk.events()):
        if isinstance(event, RulingsChanged | QuestionAsked):
            return event.rulings
        if isinstance(event, StepEntered):
            break
    return ()


NEAR: Final = (
    "Used of the limit: 100% is the limit, below 0% is better than control. At most: what the interval "
    "could not exclude; it holds both ways and at every look, so it is wider than what a gate, which "
    "looks one way, has to prove."
)


def _near(ruling: Ruling, desk: Desk, step: Step | None) -> Row:
    near, name = nearness(ruling, desk.playbook, step), named(ruling.name, desk)
    if near is None:
        return (name, ruling.verdict, ruling.reason, "", "", "")
    most = "" if near.at_most is None else f"{near.at_most:.0%}"
    return (name, ruling.verdict, near.measured, near.limit, bar(near.used), most)


def _incidents(desk: Desk) -> list[str]:
    events = desk.events()
    opened = {e.incident: e for e in events if isinstance(e, IncidentOpened)}
    rows: list[Row] = [
        (
            incident.id,
            f"{incident.trigger}, {incident.action.replace('_', ' ')}",
            moment(incident.opened_at),
            _detect(opened[incident.id]),
            _safe(incident, events),
            _against(incident, desk),
            moment(incident.closed_at) if incident.closed_at else "**open**",
            incident.cause or incident.ruling.reason,
        )
        for incident in desk.rollout.incidents
    ]
    head = (
        "incident",
        "what",
        "opened",
        "time to detect",
        "time to safe",
        "against the limit",
        "closed",
        "cause",
    )
    note = (
        "Time to detect: from when the trigger's condition became true (or the last look at which it was "
        "not) to the decision. Time to safe: from the decision until the flags were read back at every "
        "gateway, or the traffic was halved."
    )
    found = table(head, rows, "There was no incident.")
    return [*found, "", note] if rows else found


def _against(incident: Incident, desk: Desk) -> str:
    near = nearness(incident.ruling, desk.playbook)
    if near is None:
        return ""
    times = f", {near.used:.1f}x" if math.isfinite(near.used) else ""
    return f"{near.measured} of {near.limit}{times}"


def _detect(opened: IncidentOpened) -> str:
    return span(opened.at - opened.quiet_until) if opened.quiet_until else "not known"


def _safe(incident: Incident, events: Sequence[AnyEvent]) -> str:
    for event in events:
        if getattr(event, "incident", None) != incident.id:
            continue
        if isinstance(event, Halved) or getattr(event, "step", "") == "disable":
            if hasattr(event, "error"):
                continue
            return span(event.at - incident.opened_at)
    return "traffic stayed" if incident.action in ("pause", "review") else "not verified"


def _costs(desk: Desk, now: datetime) -> list[str]:
    """What the agent cost, in shadow and in each step, against projection and budget."""
    epochs = range(desk.rollout.epoch + 1)
    rows = [_cost_row(desk, leg.name, leg.epochs, leg.mode) for leg in legs(desk, now) if leg.spans]
    modes: tuple[Mode, ...] = (SHADOW, LIVE)
    rows += [_cost_row(desk, f"**all {mode}**", epochs, mode) for mode in modes]
    rows = [row for row in rows if row[1] != "0"]
    projected, budget = desk.rollout.projected_cost, desk.playbook.cost.budget_per_1000
    said = f"{usd(1000 * projected)} for 1,000 requests" if projected else "none was made"
    allowed = f"{usd(budget)} for 1,000 requests" if budget else "none"
    head = ("step", "requests", "priced", "spent", "for 1,000", "of projection", "of budget")
    return [
        *table(head, rows, "The agent has answered no request."),
        "",
        f"Projection: {said}. Budget: {allowed}.",
    ]


def _cost_row(desk: Desk, name: str, epochs: Iterable[int], mode: Mode) -> tuple[str, ...]:
    counts = desk.book.counts(epochs, CANDIDATE, mode)
    seen = (name, f"{counts.requests:,}", f"{counts.spent.known_of:,}")
    each = counts.spent.each
    if each is None:
        return (*seen, "not known", "not known", "", "")
    projected, budget = desk.rollout.projected_cost, desk.playbook.cost.budget_per_1000
    return (
        *seen,
        usd(counts.spent.total),
        usd(1000 * each),
        f"{each / projected:.2f}x" if projected else "",
        bar(1000 * each / budget) if budget else "",
    )


def _adjustments(desk: Desk) -> list[str]:
    rows: list[Row] = []
    for event in desk.events():
        if isinstance(event, CandidateChanged):
            rows.append(
                (moment(event.at), event.by, f"candidate version {event.version}", event.note)
            )
        elif isinstance(event, Noted):
            rows.append((moment(event.at), event.by, "remark", event.note))
    return table(("when", "who", "what", "detail"), rows, "None was recorded.")


FIRST_STEP: Final = 1
"""The place in the log of the step that a start enters by itself."""


def _decisions(desk: Desk) -> list[str]:
    kinds = (RolloutStarted, Approved, Paused, Resumed, RolledBack, StepEntered, Completed)
    words = {
        "RolloutStarted": "started it",
        "StepEntered": "went on",
        "Completed": "went to the end",
        "RolledBack": "rolled back",
    }
    rows: list[Row] = [
        (
            moment(event.at),
            event.by,
            words.get(type(event).__name__, type(event).__name__.lower()),
            event.reason + _alone(event),
        )
        for number, event in enumerate(desk.events())
        if isinstance(event, kinds) and event.by != "molt" and number != FIRST_STEP
    ]
    return table(("when", "who", "what", "why"), rows, "Molt decided everything by itself.")


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
            why = event.reason.partition("; waived:")[0]
            lines.append(f"Begun without {items} ({why}): is that settled by now?")
        if isinstance(event, QuestionAsked):
            lines.append(
                f"{moment(event.at)}, {event.reason}: was the limit, the traffic or the agent wrong?"
            )
        if isinstance(event, Approved) and not event.four_eyes:
            lines.append(f"{moment(event.at)}: {event.by} approved alone.")
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
