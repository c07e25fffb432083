"""One module per page; each has a `router`."""

from typing import Final

from fastapi import APIRouter

from molt.apps.console.pages import commands, rollout

ROUTERS: Final[tuple[APIRouter, ...]] = (rollout.router, commands.router)
