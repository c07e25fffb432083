"""An agent that is to die finishes what it has done, so that somebody else can answer all the rest."""

import asyncio
import contextlib

from molt.apps.demo.bar.crash import SETTLE, Answered, Crash
from molt.apps.demo.bar.run import Run


def run() -> Run:
    return Run(agent="guest", memory=None)  # type: ignore[arg-type]


async def test_it_dies_in_the_middle_of_runs_but_never_between_an_action_and_its_answer():
    ended, settled = asyncio.Event(), asyncio.Event()
    crash = Crash(ended.set)
    acting, thinking = run(), run()
    await crash.before_action(acting)
    crash.order()
    cut_off = asyncio.create_task(crash.before_action(thinking))
    async with asyncio.timeout(10):
        await crash.before_action(acting)
        asyncio.get_running_loop().call_later(SETTLE, settled.set)  # fires after crash's own
        await settled.wait()
        assert not ended.is_set()
        crash.answered(acting)
        await ended.wait()
    assert not cut_off.done()
    cut_off.cancel()


async def test_nothing_ends_that_was_not_ordered_to():
    crash = Crash(lambda: None)
    first = run()
    async with asyncio.timeout(10):
        await crash.before_action(first)
        crash.answered(first)
        await crash.before_action(run())


async def test_an_answer_that_broke_off_is_owed_no_longer():
    ended = asyncio.Event()
    crash = Crash(ended.set)
    acting = run()

    async def breaks_off(scope, receive, send):
        scope["state"]["run"] = acting
        await crash.before_action(acting)
        crash.order()
        raise ConnectionResetError

    async def nothing(*_):
        return None

    with contextlib.suppress(ConnectionResetError):
        await Answered(breaks_off, crash)({"type": "http", "state": {}}, nothing, nothing)
    async with asyncio.timeout(10):
        await ended.wait()
