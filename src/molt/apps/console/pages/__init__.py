"""One module per page; each has a `router`."""

from typing import Final

from fastapi import APIRouter

from molt.apps.console.pages import commands, monitoring, rollout

ROUTERS: Final[tuple[APIRouter, ...]] = (
    rollout.router,
    commands.router,
    monitoring.router,
)
