"""Keeps control and the gateway workers running: each may die without the other.

A process that dies after it was ready is started again, with a growing pause when it keeps dying.
One that never became ready at first start ends everything, with what it said. Children watch
their standard input: when the supervisor is gone, however it went, they end too.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import structlog

from molt.core.errors import OperatorError

log = structlog.get_logger(__name__)

READY_SECONDS = 30.0
STOP_SECONDS = 15.0
FIRST_PAUSE, LONGEST_PAUSE, STEADY = 0.1, 5.0, 10.0


class Program(NamedTuple):
    """A child: what it is called, and its command line behind the interpreter."""

    name: str
    arguments: Sequence[str]


class Child:
    """One supervised process."""

    def __init__(self, program: Program, environ: Mapping[str, str]) -> None:
        self.program = program
        self._environ = dict(environ)
        self.process: asyncio.subprocess.Process | None = None
        self.ready: dict[str, Any] = {}
        self.starts = 0

    async def start(self) -> dict[str, Any]:
        """Start it and wait until it says it is ready. Raises `OperatorError` if it does not."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self.program.arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=self._environ,
        )
        self.starts += 1
        assert self.process.stdout is not None
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), READY_SECONDS)
        except TimeoutError:
            self.process.kill()
            line = b""
        if not line:
            code = await self.process.wait()
            raise OperatorError(
                f"{self.program.name} did not start (exit code {code}); it says why above"
            )
        self.ready = json.loads(line)
        return self.ready

    async def wait(self) -> int:
        """Its exit code, once it has ended. Output after the ready line is passed on."""
        assert self.process is not None
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            sys.stderr.buffer.write(line)
        return await self.process.wait()

    async def stop(self) -> None:
        """Ask it to end; after a while, make it."""
        if self.process is None or self.process.returncode is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
        except TimeoutError:
            log.warning("killed", process=self.program.name)
            self.process.kill()
            await self.process.wait()


class Supervisor:
    """Runs programs until told to stop; they start in order and stop in reverse."""

    def __init__(
        self,
        programs: Sequence[Program],
        environ: Mapping[str, str],
        on_ready: Callable[[Child], None] = lambda _: None,
    ) -> None:
        self.children = [Child(program, environ) for program in programs]
        self._on_ready = on_ready
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start everything; if one does not come up, stop the others and raise."""
        try:
            for child in self.children:
                await child.start()
                self._on_ready(child)
        except OperatorError:
            await self._stop_children()
            raise
        self._tasks = [asyncio.create_task(self._keep(child)) for child in self.children]

    async def stop(self) -> None:
        """Stop everything, gateways before control, so that their last evidence arrives."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stop_children()

    async def _stop_children(self) -> None:
        for child in reversed(self.children):
            await child.stop()

    async def _keep(self, child: Child) -> None:
        pause, clock = FIRST_PAUSE, asyncio.get_running_loop().time
        while True:
            since = clock()
            code = await child.wait()
            log.error("process_ended", process=child.program.name, exit_code=code)
            if clock() - since > STEADY:
                pause = FIRST_PAUSE
            while True:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                try:
                    await child.start()
                    break
                except OperatorError as error:
                    log.error("restart_failed", process=child.program.name, error=str(error))
            self._on_ready(child)
