"""Questions of the form "what would this plan have decided?", asked of recorded evidence."""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from molt.apps.console.background import Replays
from molt.control.desk import Desk
from molt.core.errors import MoltError
from molt.core.events import (
    Completed,
    Halved,
    IncidentOpened,
    QuestionAsked,
    RolledBack,
    StepEntered,
)
from molt.core.playbook import Playbook

KEPT: Final = 20
DECISIVE: Final = (StepEntered, Completed, RolledBack, Halved, QuestionAsked, IncidentOpened)


class Question:
    """One plan held against one rollout's evidence: `stays` once it is answered, or `problem`."""

    def __init__(self, key: str, rollout: str, plan: Playbook, text: str) -> None:
        self.key = key
        self.rollout = rollout
        self.plan = plan
        self.text = text
        self.stays: Sequence[dict[str, Any]] | None = None
        self.problem = ""

    @property
    def open(self) -> bool:
        """Whether it is still being worked on."""
        return self.stays is None and not self.problem


class Questions:
    """The latest questions and their answers; they wait for one another."""

    def __init__(self, replays: Replays) -> None:
        self._replays = replays
        self._asked: dict[str, Question] = {}
        self._work: set[asyncio.Task[None]] = set()

    def get(self, key: str) -> Question | None:
        """A question that was asked lately."""
        return self._asked.get(key)

    def ask(self, desk: Desk, plan: Playbook, text: str) -> Question:
        """Begin to answer it, unless the very same is being answered already."""
        asked = f"{desk.id}\n{plan.hash()}\n{desk.rollout.version}"
        key = hashlib.sha256(asked.encode()).hexdigest()[:16]
        if (known := self._asked.get(key)) is not None and not known.problem:
            return known
        question = self._asked[key] = Question(key, desk.id, plan, text)
        for old in list(self._asked)[:-KEPT]:
            del self._asked[old]
        task = asyncio.ensure_future(self._answer(question))
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return question

    async def _answer(self, question: Question) -> None:
        try:
            found = await self._replays.what_if(question.rollout, question.text)
            question.stays = found["stays"]
        except (MoltError, OSError, ValueError, KeyError) as error:
            question.problem = str(error) or type(error).__name__


def decisions(desk: Desk, stays: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each stay with what was decided in it `then`, from the log: type, time and reason."""
    rows: list[dict[str, Any]] = []
    events = [e for e in desk.events() if isinstance(e, DECISIVE)]
    for stay in stays:
        first = datetime.fromisoformat(stay["entered_at"])
        last = datetime.fromisoformat(stay["left_at"]) if stay["left_at"] else None
        then = [
            {"at": e.at, "type": type(e).__name__, "reason": e.reason, "by": e.by}
            for e in events
            if first < e.at and (last is None or e.at <= last)
        ]
        rows.append(stay | {"then": then, "differs": differs(stay, then)})
    return rows


def differs(stay: dict[str, Any], then: Sequence[dict[str, Any]]) -> bool:
    """Whether the other plan would have come back, or not gone on, where Molt did otherwise."""
    back = any(
        d["type"] in ("RolledBack", "Halved", "IncidentOpened") and d["by"] == "molt" for d in then
    )
    on = any(d["type"] in ("StepEntered", "Completed") for d in then)
    if bool(stay["stopped_at"]) != back:
        return True
    return on and not back and not stay["passed_at"]
