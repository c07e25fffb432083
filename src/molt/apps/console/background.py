"""Work on recorded evidence that takes seconds: the command line's own, in a process beside control."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from molt.core.errors import OperatorError

_Asked = tuple[str, str | None]
Heard = Callable[[float], None]

SECONDS: Final = 120.0
"""What one piece of work may take; then it is ended."""
NICENESS: Final = 10
METRICS: Final = 15.0
"""Metrics over time may take so many times `SECONDS`: nobody waits for them without seeing how far."""
FRESH_SECONDS: Final = 30.0
"""Metrics over time are told again only when they are older than this,"""
COST: Final = 20.0
"""and older than so many times what it took to tell them."""


class Told(NamedTuple):
    """The metrics over time as last told, and how far the telling is that goes on now (0..1)."""

    rows: list[dict[str, Any]]
    progress: float | None


class Replays:
    """Runs `molt replay` on Molt's data directory, one at a time, at low priority.

    Control itself reads nothing and waits for nothing: rollbacks and decisions go on beside it.
    """

    def __init__(self, data: Path, seconds: float = SECONDS) -> None:
        self._data = data
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._last: dict[_Asked, tuple[float, list[dict[str, Any]]]] = {}
        self._telling: dict[_Asked, asyncio.Task[None]] = {}
        self._progress: dict[_Asked, float] = {}

    def recorded(self, rollout: str) -> bool:
        """Whether the evidence of this rollout was kept, so that decisions can be made again."""
        return (self._data / "journal" / f"{rollout}.journal").exists()

    async def what_if(self, rollout: str, plan: str) -> dict[str, Any]:
        """What the plan, YAML text, would have decided. Raises `OperatorError`."""
        with tempfile.TemporaryDirectory(prefix="molt-what-if-") as folder:
            file = Path(folder) / "plan.yaml"
            await asyncio.to_thread(file.write_text, plan, "utf-8")
            return await self._run(rollout, self._seconds, "--playbook", str(file))

    async def metrics(self, rollout: str, agent: str | None = None) -> list[dict[str, Any]]:
        """Each A/B metric with its interval, over time. Raises `OperatorError`."""
        return (await self.so_far(rollout, agent, None)).rows

    async def so_far(self, rollout: str, agent: str | None, seconds: float | None) -> Told:
        """The metrics as last told; when that is old they are told anew, which is waited for
        `seconds` at most (None: to its end). Raises `OperatorError`.
        """
        asked = (rollout, agent)
        clock = asyncio.get_running_loop().time
        fresh_until, rows = self._last.get(asked, (clock(), []))
        if clock() < fresh_until:
            return Told(rows, None)
        task = self._telling.get(asked)
        if task is None:
            self._progress[asked] = 0.0
            task = self._telling[asked] = asyncio.create_task(self._tell(asked))
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            return Told(rows, self._progress[asked])
        self._telling.pop(asked, None)
        task.result()
        return Told(self._last[asked][1], None)

    async def _tell(self, asked: _Asked) -> None:
        rollout, agent = asked
        clock = asyncio.get_running_loop().time

        def heard(progress: float) -> None:
            self._progress[asked] = progress

        began, of_agent = clock(), ("--agent", agent) if agent else ()
        options = ("--metrics", "--progress", *of_agent)
        found = await self._run(rollout, METRICS * self._seconds, *options, heard=heard)
        fresh = max(FRESH_SECONDS, COST * (clock() - began))
        self._last[asked] = clock() + fresh, found["metrics"]

    async def _run(
        self, rollout: str, seconds: float, *options: str, heard: Heard = lambda progress: None
    ) -> dict[str, Any]:
        async with self._turn:
            command = ("-m", "molt.apps.cli", "replay", "--rollout", rollout)
            where = ("--dir", str(self._data), "--json")
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                *options,
                *where,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            return await self._result(process, seconds, heard)

    async def _result(
        self, process: asyncio.subprocess.Process, seconds: float, heard: Heard
    ) -> dict[str, Any]:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            _yield_to_others(process.pid)
            async with asyncio.timeout(seconds):
                reading = process.stdout.read(), _said(process.stderr, heard)
                out, said = await asyncio.gather(*reading)
                await process.wait()
        except TimeoutError:
            raise OperatorError(
                f"It took longer than {seconds:g} s and was ended. "
                "In a terminal it may take its time: molt replay"
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise OperatorError(_last(said))
        return json.loads(out)


async def _said(stream: asyncio.StreamReader, heard: Heard) -> list[str]:
    """The lines of `stream`; those that say how far it is are told apart."""
    lines: list[str] = []
    async for line in stream:
        text = line.decode("utf-8", "replace")
        if text.startswith("progress "):
            heard(float(text.removeprefix("progress ")))
        else:
            lines.append(text.rstrip())
    return lines


def _yield_to_others(pid: int) -> None:
    """Lower the priority; a process that is over already needs none."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
    except ProcessLookupError:
        return


def _last(lines: Sequence[str]) -> str:
    return next((line for line in reversed(lines) if line.strip()), "molt replay failed")
