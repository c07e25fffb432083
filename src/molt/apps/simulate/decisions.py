"""The decisions of a run as rows: time, step, rule, e-value, users, estimate and interval."""

from typing import Any, Final

from molt.apps.simulate.course import Course
from molt.core.events import (
    AlarmCleared,
    AlarmRaised,
    AnyEvent,
    Approved,
    Completed,
    Halved,
    IncidentOpened,
    Paused,
    QuestionAsked,
    Resumed,
    ReviewAsked,
    RolledBack,
    Ruling,
    RulingsChanged,
    StepEntered,
)

_WORDS: Final[dict[type, str]] = {
    StepEntered: "step",
    Completed: "complete",
    RolledBack: "roll_back",
    Halved: "halve",
    Paused: "pause",
    ReviewAsked: "review",
    QuestionAsked: "question",
    Approved: "approve",
    Resumed: "resume",
    AlarmRaised: "alarm",
    AlarmCleared: "alarm_over",
    RulingsChanged: "rulings",
}


def decision_rows(course: Course, *, every_ruling: bool = False) -> list[dict[str, Any]]:
    """One row per decision; `every_ruling` adds changes of rulings that decided nothing yet."""
    rows: list[dict[str, Any]] = []
    place = ("", 0.0)
    opened: Ruling | None = None
    for event in course.events:
        if isinstance(event, StepEntered):
            place = (event.phase, event.share)
        if isinstance(event, Halved):
            place = (place[0], event.share)
        if isinstance(event, IncidentOpened):
            opened = event.ruling
            continue
        word = _WORDS.get(type(event))
        if word is None or (word == "rulings" and not every_ruling):
            continue
        hours = (event.at - course.started_at).total_seconds() / 3600
        row: dict[str, Any] = {
            "at": event.at.isoformat(),
            "hours": round(hours, 4),
            "decision": word,
            "phase": place[0],
            "share": place[1],
            "by": event.by,
            "reason": event.reason or getattr(event, "text", ""),
            "rules": [_shown(ruling) for ruling in _rulings(event, opened)],
        }
        rows.append(row)
    return rows


def _rulings(event: AnyEvent, opened: Ruling | None) -> list[Ruling]:
    if isinstance(event, RolledBack | Halved | Paused | ReviewAsked):
        return [opened] if opened else []
    return list(getattr(event, "rulings", ()))


def _shown(ruling: Ruling) -> dict[str, Any]:
    """A ruling with the numbers that a reader looks for, under the same names for all rules."""
    numbers = ruling.numbers
    evidence = {k: round(v, 3) for k, v in numbers.items() if k.startswith("log_e")}
    shown: dict[str, Any] = {"rule": ruling.name, "verdict": ruling.verdict}
    if evidence:
        shown["log_e"] = evidence
    users = numbers.get("candidate_n", numbers.get("requests"))
    if users is not None:
        shown["units"] = round(users)
    for name in ("estimate", "low", "high", "margin", "limit"):
        value = numbers.get(name)
        if isinstance(value, float | int):
            shown[name] = round(value, 6)
    estimate = numbers.get("difference", numbers.get("rate"))
    if isinstance(estimate, float):
        shown["estimate"] = round(estimate, 6)
    return shown
