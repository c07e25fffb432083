"""What a person should hear of, beside the rollback procedure's own notice."""

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
    StepEntered,
)
from molt.ports import Notice


def notice_of(desk: Desk, event: AnyEvent) -> Notice | None:
    """The notice that `event` is worth, if any."""
    name = desk.playbook.name
    match event:
        case Halved():
            return Notice("critical", f"{name}: traffic halved", event.reason, event.incident)
        case IncidentOpened() if event.action in ("pause", "review"):
            title = f"{name}: {event.trigger} asks for {event.action}"
            return Notice("warning", title, event.reason, event.incident)
        case ApprovalAsked():
            title = (
                f"{name}: an approval is asked to leave {event.phase} at {desk.rollout.share:g}%"
            )
            return Notice("warning", title, f"{event.by}: {event.reason}", f"{desk.id}-approval")
        case QuestionAsked():
            return Notice("warning", f"{name}: a question", event.reason, f"{desk.id}-question")
        case AlarmRaised():
            return Notice("warning", f"{name}: {event.alarm}", event.text, event.alarm)
        case AnomalySeen():
            more = f" (and {event.more} more)" if event.more else ""
            title, key = f"{name}: unlike before: {event.anomaly}", f"{desk.id}-{event.anomaly}"
            return Notice("warning", title, event.text + more, key)
        case StepEntered() | Completed():
            share = event.share if isinstance(event, StepEntered) else desk.rollout.share
            return Notice("info", f"{name}: at {share:g}%", event.reason, desk.id)
        case _:
            return None
