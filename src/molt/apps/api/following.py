"""Streams of server-sent events that end when whoever follows them is let in no more."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from fastapi import Request
from fastapi.responses import StreamingResponse

from molt.apps.api.auth import still_let_in
from molt.core.errors import MoltError

CHECK_SECONDS: Final = 1.0


def sse(request: Request, frames: AsyncIterator[bytes]) -> StreamingResponse:
    """Server-sent events that nothing on the way may keep back; over with the token or session."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    following = _while_let_in(request, frames)
    return StreamingResponse(following, media_type="text/event-stream", headers=headers)


async def _while_let_in(request: Request, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """`frames`, until the token is revoked or the session has ended, noticed within a second.

    A session that nobody uses is not ended by it: a screen on the wall goes on.
    """
    over = asyncio.create_task(_over(request))
    coming: asyncio.Future[bytes | None] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(anext(frames, None))
            await asyncio.wait({over, coming}, return_when=asyncio.FIRST_COMPLETED)
            if over.done() or (frame := await coming) is None:
                return
            yield frame
    finally:
        over.cancel()
        if coming is not None:
            coming.cancel()


async def _over(request: Request) -> None:
    """Wait until they are let in no more; while the store is away, nobody is shut out by that."""
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        try:
            if not await still_let_in(request):
                return
        except MoltError:
            continue
