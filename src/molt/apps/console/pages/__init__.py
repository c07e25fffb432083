"""One module per page; each has a `router`."""

from typing import Final

from fastapi import APIRouter

from molt.apps.console.pages import (
    analytics,
    audit,
    commands,
    incidents,
    monitoring,
    oncall,
    people,
    playbook,
    rollout,
    shadow,
    tasks,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    rollout.router,
    commands.router,
    tasks.router,
    oncall.router,
    monitoring.router,
    analytics.router,
    shadow.router,
    incidents.router,
    playbook.router,
    audit.router,
    people.router,
)
