"""Virtual time moves only when asked, and wakes sleepers in the order they are due."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from molt.adapters.clocks import SystemClock, VirtualClock
from molt.ports import Clock


def test_both_clocks_are_clocks() -> None:
    clocks: list[Clock] = [SystemClock(), VirtualClock()]
    assert all(clock.now().tzinfo is UTC for clock in clocks)


async def test_the_system_clock_follows_real_time() -> None:
    clock = SystemClock()
    began, wall = clock.monotonic(), clock.now()
    await clock.sleep(0.01)
    assert clock.monotonic() - began >= 0.009
    assert abs((datetime.now(UTC) - wall).total_seconds()) < 5


@given(delays=st.lists(st.integers(1, 50), max_size=12))
def test_sleepers_wake_in_due_order_at_their_own_time(delays: list[int]) -> None:
    async def scene() -> list[tuple[float, int]]:
        clock, woken = VirtualClock(), []

        async def sleeper(index: int, delay: int) -> None:
            await clock.sleep(delay)
            woken.append((clock.monotonic(), index))

        tasks = [asyncio.create_task(sleeper(i, d)) for i, d in enumerate(delays)]
        await clock.advance(100)
        await asyncio.gather(*tasks)
        assert clock.monotonic() == 100
        return woken

    expected = sorted((float(delay), index) for index, delay in enumerate(delays))
    assert asyncio.run(scene()) == expected


async def test_a_loop_that_sleeps_again_and_again_runs_at_every_due_time() -> None:
    clock, seen = VirtualClock(), []

    async def every_second() -> None:
        while True:
            await clock.sleep(1)
            await asyncio.gather(*(asyncio.sleep(0) for _ in range(5)))
            seen.append(clock.monotonic())

    task = asyncio.create_task(every_second())
    await clock.advance(3.5)
    assert seen == [1, 2, 3]
    await clock.advance_to(clock.now() + timedelta(seconds=0.5))
    assert seen == [1, 2, 3, 4]
    task.cancel()


async def test_time_stands_still_while_nobody_moves_it() -> None:
    clock = VirtualClock(datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2))))
    task = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0.01)
    assert clock.now() == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert not task.done()
    assert clock.next_due == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert clock.next_due is None


async def test_a_running_clock_jumps_over_weeks_at_once() -> None:
    clock = VirtualClock()
    async with clock.running():
        await asyncio.wait_for(clock.sleep(28 * 86400), 10)
        assert clock.now() == datetime(2026, 2, 2, tzinfo=UTC)
        await asyncio.gather(clock.sleep(5), clock.sleep(3))
    assert clock.monotonic() == 28 * 86400 + 5


def test_it_works_on_the_loop_of_the_data_plane() -> None:
    async def scene() -> float:
        clock = VirtualClock()
        async with clock.running():
            await asyncio.wait_for(clock.sleep(3600), 10)
        return clock.monotonic()

    assert uvloop.run(scene()) == 3600


def test_a_start_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="expected an aware datetime"):
        VirtualClock(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the mistake
