"""Work on recorded evidence that takes seconds: the command line's own, in a process beside control."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from molt.core.errors import OperatorError

SECONDS: Final = 120.0
"""What one piece of work may take; then it is ended."""
NICENESS: Final = 10
FRESH_SECONDS: Final = 30.0
"""Metrics over time are told again only when they are older than this."""


class Replays:
    """Runs `molt replay` on Molt's data directory, one at a time, at low priority.

    Control itself reads nothing and waits for nothing: rollbacks and decisions go on beside it.
    """

    def __init__(self, data: Path, seconds: float = SECONDS) -> None:
        self._data = data
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._told: dict[tuple[str, str | None], tuple[float, list[dict[str, Any]]]] = {}

    def recorded(self, rollout: str) -> bool:
        """Whether the evidence of this rollout was kept, so that decisions can be made again."""
        return (self._data / "journal" / f"{rollout}.journal").exists()

    async def what_if(self, rollout: str, plan: str) -> dict[str, Any]:
        """What the plan, YAML text, would have decided. Raises `OperatorError`."""
        with tempfile.TemporaryDirectory(prefix="molt-what-if-") as folder:
            file = Path(folder) / "plan.yaml"
            await asyncio.to_thread(file.write_text, plan, "utf-8")
            return await self._run(rollout, "--playbook", str(file))

    async def metrics(self, rollout: str, agent: str | None = None) -> list[dict[str, Any]]:
        """Each A/B metric with its interval, over time. Raises `OperatorError`."""
        clock = asyncio.get_running_loop().time
        at, rows = self._told.get((rollout, agent), (-FRESH_SECONDS, []))
        if clock() - at < FRESH_SECONDS:
            return rows
        found = await self._run(rollout, "--metrics", *(("--agent", agent) if agent else ()))
        self._told[(rollout, agent)] = clock(), found["metrics"]
        return found["metrics"]

    async def _run(self, rollout: str, *options: str) -> dict[str, Any]:
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
            return await self._result(process)

    async def _result(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        try:
            _yield_to_others(process.pid)
            out, said = await asyncio.wait_for(process.communicate(), self._seconds)
        except TimeoutError:
            raise OperatorError(
                f"It took longer than {self._seconds:g} s and was ended. "
                "In a terminal it may take its time: molt replay"
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise OperatorError(_last(said.decode("utf-8", "replace").splitlines()))
        return json.loads(out)


def _yield_to_others(pid: int) -> None:
    """Lower the priority; a process that is over already needs none."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
    except ProcessLookupError:
        return


def _last(lines: Sequence[str]) -> str:
    return next((line for line in reversed(lines) if line.strip()), "molt replay failed")
