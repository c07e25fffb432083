"""What is to do once a rollout is complete: who, until when, and who signed that it is done."""

from datetime import date, datetime
from typing import Any

from molt.core.errors import Refused
from molt.core.events import AnyEvent, TaskAssigned, TaskSigned
from molt.core.playbook import Playbook
from molt.core.rollout import Phase, Rollout
from molt.core.scene import Scene


def tasks_of(rollout: Rollout, playbook: Playbook) -> list[dict[str, Any]]:
    """Every task of the plan, in its order, with its number from 1."""
    rows: list[dict[str, Any]] = []
    for number, text in enumerate(playbook.after, 1):
        kept = rollout.tasks.get(text)
        rows.append(
            {
                "number": number,
                "task": text,
                "owner": kept.owner if kept else "",
                "due": kept.due if kept else None,
                "signed_by": kept.signed_by if kept else "",
                "signed_at": kept.signed_at if kept else None,
                "note": kept.note if kept else "",
            }
        )
    return rows


def listed(rollout: Rollout, playbook: Playbook, now: datetime) -> dict[str, Any]:
    """All tasks, each with whether it is `overdue`, and whether the rollout is `closed`."""
    rows = tasks_of(rollout, playbook)
    return {
        "rollout": rollout.id,
        "closed": closed(rollout, playbook),
        "tasks": [row | {"overdue": overdue(row, now)} for row in rows],
    }


def closed(rollout: Rollout, playbook: Playbook) -> bool:
    """Whether the rollout is complete and all of its tasks are signed."""
    signed = all(row["signed_by"] for row in tasks_of(rollout, playbook))
    return rollout.phase is Phase.COMPLETE and signed


def overdue(row: dict[str, Any], now: datetime) -> bool:
    """Whether a task that nobody signed was due before today (UTC)."""
    due = row["due"]
    return bool(due and not row["signed_by"] and date.fromisoformat(due) < now.date())


def assign(scene: Scene, number: int, by: str, owner: str, due: date | None) -> list[AnyEvent]:
    """Give a task to somebody, with the day it is due."""
    task = _task(scene, number)
    if not owner:
        raise Refused("A task needs an owner: --owner NAME")
    day = due.isoformat() if due else None
    return [TaskAssigned(at=scene.now, by=by, task=task, owner=owner, due=day)]


def sign(scene: Scene, number: int, by: str, reason: str) -> list[AnyEvent]:
    """Sign that a task is done."""
    task = _task(scene, number)
    if scene.rollout.phase is not Phase.COMPLETE:
        phase = scene.rollout.phase.replace("_", " ")
        raise Refused(f"Tasks are signed once the rollout is complete; it is {phase}")
    kept = scene.rollout.tasks.get(task)
    if kept and kept.signed_by:
        raise Refused(f"{kept.signed_by} has signed {task!r} already")
    return [TaskSigned(at=scene.now, by=by, reason=reason, task=task)]


def _task(scene: Scene, number: int) -> str:
    after = scene.playbook.after
    if not 1 <= number <= len(after):
        listed = "; ".join(f"{n} {text}" for n, text in enumerate(after, 1)) or "none"
        raise Refused(f"No task {number}; the plan has: {listed}")
    return after[number - 1]
