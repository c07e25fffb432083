"""Work on recorded evidence is done by a process of its own, which is not waited for without end."""

import asyncio
from pathlib import Path

import pytest

from molt.apps.console.background import Replays
from molt.core.errors import OperatorError


def test_what_cannot_be_replayed_says_why(tmp_path: Path) -> None:
    replays = Replays(tmp_path)
    assert not replays.recorded("r")
    with pytest.raises(OperatorError, match="Start `molt serve` once"):
        asyncio.run(replays.metrics("r"))


def test_what_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="took longer than 0 s and was ended"):
        asyncio.run(Replays(tmp_path, seconds=0.0).metrics("r"))


def test_one_piece_of_work_waits_for_the_other(tmp_path: Path) -> None:
    running, most = 0, 0

    class Counted(Replays):
        async def _result(self, process: asyncio.subprocess.Process) -> dict[str, object]:
            nonlocal running, most
            running += 1
            most = max(most, running)
            process.kill()
            await process.communicate()
            running -= 1
            return {"metrics": []}

    async def both() -> None:
        replays = Counted(tmp_path)
        await asyncio.gather(replays.metrics("a"), replays.metrics("b"))

    asyncio.run(both())
    assert most == 1
