"""What a person should hear of, beside the rollback procedure's own notice."""

from msgspec.structs import replace

from molt.control.desk import Desk
from molt.core.events import (
    AlarmRaised,
    AnomalySeen,
    AnyEvent,
    ApprovalAsked,
    Completed,
    Halved,
    IncidentOpened,
    QuestionAsked,
    Ruling,
    StepEntered,
)
from molt.ports import Notice


def notice_of(desk: Desk, event: AnyEvent) -> Notice | None:
    """The notice that `event` is worth, if any; it leads to its incident, else to the rollout."""
    notice = _notice_of(desk, event)
    incident = getattr(event, "incident", None)
    page = f"incidents/{incident}" if incident else f"rollouts/{desk.id}"
    return notice and replace(notice, page=page, rollout=desk.id)


def _notice_of(desk: Desk, event: AnyEvent) -> Notice | None:
    name = desk.id
    match event:
        case Halved():
            about = next((i.trigger for i in desk.rollout.incidents if i.id == event.incident), "")
            title = f"{name}: traffic halved"
            return Notice("critical", title, event.reason, event.incident, about=section(about))
        case IncidentOpened() if event.action in ("pause", "review"):
            title = f"{name}: {event.trigger} asks for {event.action}"
            body = f"{event.reason}\n{figures(event.ruling)}".rstrip()
            return Notice("warning", title, body, event.incident, about=section(event.trigger))
        case ApprovalAsked():
            title = (
                f"{name}: an approval is asked to leave {event.phase} at {desk.rollout.share:g}%"
            )
            body, key = f"{event.by}: {event.reason}", f"{desk.id}-approval"
            return Notice("warning", title, body, key, about="gate")
        case QuestionAsked():
            key = f"{desk.id}-question"
            return Notice("warning", f"{name}: a question", event.reason, key, about="gate")
        case AlarmRaised():
            title, key = f"{name}: {event.alarm}", f"{desk.id}-{event.alarm}"
            return Notice("warning", title, event.text, key, about="alarm")
        case AnomalySeen():
            more = f" (and {event.more} more)" if event.more else ""
            title, key = f"{name}: unlike before: {event.anomaly}", f"{desk.id}-{event.anomaly}"
            return Notice("warning", title, event.text + more, key, about="alarm")
        case StepEntered() | Completed():
            share = event.share if isinstance(event, StepEntered) else desk.rollout.share
            return Notice("info", f"{name}: at {share:g}%", event.reason, desk.id)
        case _:
            return None


def section(trigger: str) -> str:
    """The section of the runbook about a trigger, a gate or a person."""
    return trigger if trigger in KNOWN else "gate"


KNOWN = frozenset({"error_rate", "latency", "violation", "cost", "complaints", "person"})
SHOWN = 8


def figures(ruling: Ruling) -> str:
    """The numbers that a ruling was made from, in one line; the incident has all of them."""
    plain = {k: v for k, v in ruling.numbers.items() if type(v) in (int, float)}
    told = [(k, v) for k, v in plain.items() if not k.startswith("chance_")]
    shown = (f"{k.replace('_', ' ')} {v:.6g}" for k, v in told[:SHOWN])
    return ", ".join(shown)
