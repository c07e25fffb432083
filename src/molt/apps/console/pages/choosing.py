"""Which rollout a page is about."""

from collections.abc import Sequence

from fastapi import Request

from molt.control.controller import Controller
from molt.control.desk import Desk


def desks(request: Request) -> Sequence[Desk]:
    """All rollouts, the latest first."""
    controller: Controller = request.app.state.controller
    return list(reversed(controller.desks.values()))


def chosen(request: Request, rollout: str | None) -> Desk | None:
    """The rollout that was asked for, else the latest; None when there is none at all."""
    controller: Controller = request.app.state.controller
    if rollout:
        return controller.desk(rollout)
    return next(iter(desks(request)), None)
