"""A fact of the log in one line, as people read it."""

from typing import Any

import msgspec

from molt.core.events import (
    AnyEvent,
    CandidateChanged,
    Halved,
    IncidentOpened,
    RolloutStarted,
    StepEntered,
)

SAID = ("reason", "note", "text", "proof", "error", "cause")
NAMED = ("phase", "alarm", "task", "step", "difference")
SHOWN = ("phase", "share", "step", "alarm", "incident", "owner", "due")


def told_of(event: AnyEvent) -> str:
    """What it is about, and what was said of it; else which of its rulings are open."""
    data: dict[str, Any] = msgspec.to_builtins(event)
    said = next((data[name] for name in SAID if data.get(name)), "") or _what(data)
    if isinstance(event, StepEntered):
        about = f"{event.phase} at {event.share:g}%"
    elif isinstance(event, RolloutStarted) and event.waived:
        about, said = "waived " + ", ".join(event.waived), event.reason
    elif isinstance(event, CandidateChanged):
        about, said = f"version {event.version}", event.note
    elif isinstance(event, Halved):
        about = f"to {event.share:g}%"
    elif isinstance(event, IncidentOpened):
        about = event.trigger
        said = ", ".join(
            [said, *(f"{name} {value}" for name, value in event.detail.items() if value)]
        )
    else:
        about = next((data[name] for name in NAMED if isinstance(data.get(name), str)), "")
    return f"{about}: {said}" if about and said and not said.startswith(about) else said or about


def _what(data: dict[str, Any]) -> str:
    if rulings := data.get("rulings"):
        open_ = [r["name"].replace("_", " ") for r in rulings if r["verdict"] != "pass"]
        return f"open: {', '.join(open_)}" if open_ else "all conditions met"
    return ", ".join(f"{k} {data[k]}" for k in SHOWN if data.get(k) not in (None, ""))
