"""May control answer what the candidate could not?

Yes, if nothing can have been done twice:

- the request never reached the candidate, or its method is safe; or
- control says that the run has reported no action (asking fences the run: what it reports from then
  on is refused, so that the candidate does not act after all); or, where that cannot be asked,
- the candidate's own error answer says `x-agent-actions: none`.

Otherwise the user gets the candidate's error.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from molt.core.errors import UpstreamError
from molt.wire.exchange import Failure, find

log = structlog.get_logger(__name__)

SAFE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})
ACTIONS_HEADER: Final = b"x-agent-actions"

CloseRun = Callable[[str], Awaitable[bool]]
"""Fences a run; whether it has acted. Raises `UpstreamError` when that is not known."""


class Fallback:
    """Answers the proxy's question. Without `close_run`, runs report nothing to control."""

    def __init__(self, close_run: CloseRun | None) -> None:
        self._close_run = close_run
        self._asking: set[asyncio.Task[None]] = set()

    def ask(
        self, method: bytes, run: str, failure: Failure, resume: Callable[[bool], None]
    ) -> None:
        """Call `resume` with the answer, now or when control has given it."""
        if not failure.delivered or method in SAFE:
            resume(True)
        elif self._close_run is None or not run:
            resume(_says_no_action(failure))
        else:
            task = asyncio.get_running_loop().create_task(
                self._ask_control(self._close_run, run, failure, resume)
            )
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _ask_control(
        self, close_run: CloseRun, run: str, failure: Failure, resume: Callable[[bool], None]
    ) -> None:
        try:
            acted = await close_run(run)
        except UpstreamError as error:
            log.warning("run_not_closed", run=run, error=str(error))
            resume(_says_no_action(failure))
        else:
            resume(not acted)


def _says_no_action(failure: Failure) -> bool:
    said = find(failure.headers, ACTIONS_HEADER) or b""
    return said.strip().lower() == b"none"
