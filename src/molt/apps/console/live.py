"""Parts of pages that stay true: rendered again whenever a fact or new evidence comes in."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from typing import Final

from molt.apps.api.hub import Hub, Message

BEAT_SECONDS: Final = 5.0
EVENT: Final = "event"
EVIDENCE: Final = "evidence"


def as_event(html: str) -> bytes:
    """HTML as one unnamed server-sent event, which htmx puts into the page."""
    return b"".join(b"data: %b\n" % line.encode() for line in html.splitlines()) + b"\n"


async def fragments(
    hub: Hub,
    draw: Callable[[], str],
    concerns: Callable[[Message], bool],
    kinds: Collection[str] = (EVENT, EVIDENCE),
) -> AsyncIterator[bytes]:
    """The fragment now, and again after every message that `concerns` it, as it then is.

    Messages that wait together make one fragment: a browser that is slow gets fewer, never older.
    """
    with hub.listening(kinds) as queue:
        yield as_event(draw())
        while True:
            try:
                wanted = concerns(await asyncio.wait_for(queue.get(), BEAT_SECONDS))
            except TimeoutError:
                yield as_event(draw())
                continue
            while not queue.empty():
                wanted = concerns(queue.get_nowait()) or wanted
            if wanted:
                yield as_event(draw())
