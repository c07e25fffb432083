"""The `down` fault: the process dies without a word, but not between what it did and saying so.

An agent that dies after it has acted and before it has answered leaves a user with an error, whatever
stands in front of it: to do the same again would be worse. The fault is about what can be saved.
"""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from molt.apps.demo.bar.run import Run

EXIT: Final = 70

SETTLE: Final = 0.05
"""Seconds for what was written to leave the process."""

PATIENCE: Final = 10.0
"""Seconds after which it dies, whoever still waits for an answer."""


class Crash:
    """Knows which runs have acted and owe an answer; ends the process when there is none."""

    def __init__(self, end: Callable[[], object] | None = None) -> None:
        self._end = end or partial(os._exit, EXIT)
        self._ordered = False
        self._owed: set[int] = set()

    def order(self) -> None:
        """From now on no run begins to act, and the process ends as soon as none owes an answer."""
        self._ordered = True
        loop = asyncio.get_running_loop()
        loop.call_later(SETTLE, self._end_if_nobody_waits)
        loop.call_later(PATIENCE, self._end)

    async def before_action(self, run: Run) -> None:
        """Returns when `run` may act: at once, or never."""
        if self._ordered and id(run) not in self._owed:
            await asyncio.Event().wait()
        self._owed.add(id(run))

    def answered(self, run: Run) -> None:
        """The whole answer of `run` is written, or nobody waits for it any more."""
        self._owed.discard(id(run))
        if self._ordered:
            asyncio.get_running_loop().call_later(SETTLE, self._end_if_nobody_waits)

    def _end_if_nobody_waits(self) -> None:
        if not self._owed:
            self._end()


class Answered:
    """Tells a `Crash` of every run whose request is over."""

    def __init__(self, app: ASGIApp, crash: Crash) -> None:
        self._app = app
        self._crash = crash

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        try:
            await self._app(scope, receive, send)
        finally:
            run = scope.get("state", {}).get("run")
            if run is not None:
                self._crash.answered(run)
