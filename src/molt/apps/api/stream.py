"""The live stream: every event, and one evidence record a second, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from molt.apps.api.auth import Viewer
from molt.apps.api.following import sse
from molt.apps.api.hub import Hub
from molt.control import view
from molt.control.controller import Controller

router = APIRouter(prefix="/api/v1", tags=["stream"])

KEEP_ALIVE_SECONDS = 10.0


@router.get("/stream", response_class=StreamingResponse)
async def stream(request: Request, _: Viewer) -> StreamingResponse:
    """Server-sent events: `event` for every fact, `evidence` once a second for every rollout,
    `requests` and `calls` for a sample of what goes by. Ends with the token or the session."""
    return sse(request, _messages(request.app.state.hub))


async def _messages(hub: Hub) -> AsyncIterator[bytes]:
    with hub.listening() as queue:
        yield b": connected\n\n"
        while True:
            try:
                yield (await asyncio.wait_for(queue.get(), KEEP_ALIVE_SECONDS)).wire
            except TimeoutError:
                yield b": still here\n\n"


def send_evidence(hub: Hub, controller: Controller) -> None:
    """Send each rollout's state to whoever listens; nothing is computed when nobody does."""
    if not hub.wanted("evidence"):
        return
    now = controller.clock.now()
    for desk in controller.desks.values():
        hub.send(
            "evidence",
            {"at": now, **view.state(desk, now, controller.availability, controller.operator)},
        )
