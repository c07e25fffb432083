"""The people of a scenario: they approve after a while, and answer reviews and questions."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from molt.apps.simulate.scenario import Operators
from molt.core import commands
from molt.core.events import AnyEvent
from molt.core.rollout import ACTIVE, Rollout
from molt.core.scene import Scene

Command = Callable[[Scene], list[AnyEvent]]

BY = "operator"


class Intent(NamedTuple):
    """What somebody is going to do, about what, and when."""

    about: tuple[str, object]
    at: datetime
    command: Command


class People:
    """Decides what the operators do next; `None` while there is nothing to do."""

    def __init__(self, policy: Operators) -> None:
        self._policy = policy
        self._intent: Intent | None = None
        self._given_up: set[tuple[str, object]] = set()

    def next(self, rollout: Rollout, now: datetime) -> Intent | None:
        """The next action, fixed when its occasion was first seen."""
        occasion = self._occasion(rollout)
        if occasion is None or occasion[0] in self._given_up:
            self._intent = None
            return None
        about, delay, command = occasion
        if self._intent is None or self._intent.about != about:
            self._intent = Intent(about, now + delay, command)
        return self._intent

    def refused(self, intent: Intent, now: datetime, again: timedelta) -> None:
        """The command was refused; it is tried again later."""
        self._intent = intent._replace(at=now + again)

    def _occasion(self, rollout: Rollout) -> tuple[tuple[str, object], timedelta, Command] | None:
        policy, halt = self._policy, rollout.halt
        if halt is not None:
            answer = {
                "review": policy.review,
                "paused": policy.pause,
                "halved": policy.halved,
                "question": policy.question,
            }[halt.kind]
            delay = policy.question_after if halt.kind == "question" else policy.review_after
            command = _answer(answer, halt.kind)
            return None if command is None else ((halt.kind, halt.at), delay, command)
        waiting = [r.name for r in rollout.rulings if r.verdict != "pass"]
        if rollout.phase in ACTIVE and waiting == ["approval"] and rollout.approved is None:
            approve = partial(commands.approve, by=BY, reason="all other gates have passed")
            return ("approval", rollout.epoch), policy.approve_after, approve
        return None


def _answer(answer: str, kind: str) -> Command | None:
    reason = f"answer to: {kind}"
    match answer:
        case "resume":
            return partial(commands.resume, by=BY, reason=reason)
        case "roll_back":
            return partial(commands.roll_back, by=BY, reason=reason)
        case "promote":
            return partial(commands.promote, by=BY, reason=reason)
        case _:
            return None
