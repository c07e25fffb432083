"""Work on recorded evidence is done by a process of its own, which is not waited for without end."""

import asyncio
from pathlib import Path

import pytest

from molt.apps.console import background
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
        async def _result(
            self, process: asyncio.subprocess.Process, *_: object
        ) -> dict[str, object]:
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


def test_metrics_that_take_long_say_how_far_they_are_and_are_not_told_again_at_once(
    tmp_path: Path,
) -> None:
    begun = 0

    class Slow(Replays):
        async def _result(self, process, seconds, heard):  # type: ignore[no-untyped-def]
            nonlocal begun
            begun += 1
            process.kill()
            await process.communicate()
            heard(0.4)
            await self.gate.wait()
            return {"metrics": [{"metric": "orders"}]}

    async def asked() -> None:
        replays = Slow(tmp_path)
        replays.gate = asyncio.Event()  # type: ignore[attr-defined]
        first = replays.so_far("a", None, 20)
        waiting = asyncio.create_task(first)
        while (told := await replays.so_far("a", None, 0.01)).progress != 0.4:
            assert told.rows == []
        replays.gate.set()  # type: ignore[attr-defined]
        assert await waiting == ([{"metric": "orders"}], None)
        assert await replays.so_far("a", None, 0) == ([{"metric": "orders"}], None)

    asyncio.run(asyncio.wait_for(asked(), 20))
    assert begun == 1


def test_what_a_process_says_of_its_progress_is_heard(tmp_path: Path) -> None:
    heard: list[float] = []

    async def run() -> list[str]:
        stream = asyncio.StreamReader()
        stream.feed_data(b"progress 0.25\nnot found\nprogress 1.0\n")
        stream.feed_eof()
        return await background._said(stream, heard.append)

    assert asyncio.run(run()) == ["not found"]
    assert heard == [0.25, 1.0]
