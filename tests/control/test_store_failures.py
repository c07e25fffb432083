"""A store that is full, locked or read-only: traffic goes on, nothing advances, and it is known."""

import sqlite3
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from tests.core.traffic import Load
from tests.core.world import HOUR, MINUTE, T0, plan, step

from molt.adapters.sql.store import SqlStore
from molt.core import commands
from molt.core.errors import Refused, StoreUnavailable, VersionConflict
from molt.core.events import AlarmRaised, BoundsChanged, Noted, Paused, RolledBack, StepEntered
from molt.core.evidence import Violation
from molt.core.rollout import Phase

from .conftest import OpenHouse
from .house import House, plain

HEALTHY = Load(600)
TEN_SECONDS = timedelta(seconds=10)


async def serve_and_break(house: House, *what: str) -> None:
    """An hour of evidence comes in, then the store fails."""
    await house.serve(HOUR - timedelta(minutes=1), HEALTHY, HEALTHY)
    house.store.broken.update(what)
    await house.clock.advance(60)


async def test_while_nothing_can_be_written_nothing_advances_and_flags_stay(house: House):
    before = house.flags
    await serve_and_break(house, "append")
    for _ in range(3):
        await house.controller.tick()
        await house.clock.advance(1)
    assert house.rollout.share == 5
    assert house.flags == before
    assert house.controller.store_problem == "the disk is full; free some space"


async def test_when_the_store_works_again_the_climb_goes_on(house: House):
    await serve_and_break(house, "append")
    await house.controller.tick()
    house.store.broken.clear()
    await house.controller.tick()
    assert house.rollout.share == 20
    assert house.share == 2_000
    assert house.controller.store_problem is None


async def test_a_rollout_with_nothing_to_write_does_not_hide_that_the_store_fails(
    open_house: OpenHouse,
):
    house = await open_house(plan(("canary", [step(5), step(20)])))
    await house.begin()
    quiet = plan(("shadow", [step(0, hold="99h")]), name="quiet", agents={"research": {}})
    await house.begin("r2", quiet)
    await serve_and_break(house, "append")
    await house.controller.tick()
    assert house.controller.store_problem


async def test_a_tick_without_anything_to_write_keeps_the_alarm(house: House):
    house.store.broken.add("append")
    house.flags_file.write_text("MOLTBOT_TRAFFIC_PERCENT=3\n")
    await house.controller.tick()
    assert house.controller.store_problem
    house.flags_file.write_text("")
    await house.controller.tick()
    assert house.controller.store_problem


async def test_a_command_that_cannot_be_written_changes_nothing(house: House):
    before = plain(house.rollout)
    house.store.broken.add("append")
    with pytest.raises(StoreUnavailable):
        await house.do(commands.pause, reason="lunch")
    assert plain(house.rollout) == before
    house.store.broken.clear()
    await house.do(commands.pause, reason="lunch")
    assert len(house.facts(Paused)) == 1


async def test_a_rollback_that_cannot_be_written_takes_traffic_back_all_the_same(house: House):
    house.store.broken.add("append")
    with pytest.raises(StoreUnavailable):
        await house.violate()
    assert house.share == 0
    assert house.rollout.phase is Phase.CANARY
    house.store.broken.clear()
    await house.controller.tick()
    assert house.rollout.phase is Phase.ROLLED_BACK
    assert house.share == 0
    assert len(house.facts(RolledBack)) == 1


async def test_the_operators_switch_works_without_a_store(house: House):
    house.store.broken.update({"append", "flags"})
    house.flags_file.write_text("MOLTBOT_ENABLED=false\n")
    await house.controller.tick()
    assert house.share == 0
    house.store.broken.clear()
    await house.controller.tick()
    assert house.share == 0
    assert [e.bounds["enabled"] for e in house.facts(BoundsChanged)] == [False]


async def test_a_store_away_for_longer_than_flags_may_live_takes_traffic_back(house: House):
    await serve_and_break(house, "append")
    for _ in range(11):
        await house.controller.tick()
        assert house.share == 500
        await house.clock.advance(60)
    await house.controller.tick()
    assert house.share == 0


async def test_evidence_that_cannot_be_kept_is_refused_so_that_the_gateway_sends_it_again(
    house: House,
):
    house.store.broken.add("ingest")
    batch = house.batch(slots=[house.violating_slot()])
    with pytest.raises(StoreUnavailable):
        await house.controller.ingest(batch)
    house.store.broken.clear()
    assert await house.controller.ingest(batch) is True
    assert house.rollout.phase is Phase.ROLLED_BACK
    assert await house.controller.ingest(batch) is False


async def test_a_violation_that_cannot_even_be_kept_takes_traffic_back_at_once(house: House):
    house.store.broken.update({"ingest", "append", "flags"})
    seen = Violation("r1", house.clock.now(), "guest", "drop_tables", "observed")
    batch = house.batch(slots=[house.violating_slot()], violations=[seen])
    with pytest.raises(StoreUnavailable):
        await house.controller.ingest(batch)
    assert house.share == 0
    house.store.broken.clear()
    await house.controller.tick()
    assert house.rollout.phase is Phase.ROLLED_BACK
    assert await house.controller.ingest(batch) is True
    assert len(house.facts(RolledBack)) == 1


async def test_a_rollback_still_owed_comes_before_what_anybody_asks(house: House):
    house.store.broken.add("append")
    with pytest.raises(StoreUnavailable):
        await house.do(commands.roll_back, reason="smoke")
    assert house.share == 0, "a person's rollback works without a store too"
    house.store.broken.clear()
    with pytest.raises(Refused):
        await house.do(commands.pause, reason="lunch")
    assert house.rollout.phase is Phase.ROLLED_BACK
    assert house.facts(RolledBack)[0].by == "ann"


async def test_an_owed_rollback_is_written_even_when_its_condition_is_over(house: House):
    await house.serve(10 * MINUTE, Load(1800), every=TEN_SECONDS)
    house.store.broken.add("append")
    for _ in range(6):
        with suppress(StoreUnavailable):
            await house.serve(MINUTE, Load(1800, errors=0.5), every=TEN_SECONDS)
    assert house.share == 0
    for _ in range(600):
        await house.clock.advance(60)
        await house.controller.tick()
    house.store.broken.clear()
    await house.controller.tick()
    assert house.rollout.phase is Phase.ROLLED_BACK
    assert house.share == 0


async def test_a_write_whose_answer_was_lost_is_found_in_the_log(house: House):
    await house.serve(HOUR - timedelta(minutes=1), HEALTHY, HEALTHY)
    await house.clock.advance(60)
    house.store.loses_answer = True
    await house.controller.tick()
    await house.controller.tick()
    assert house.rollout.share == 20
    assert house.share == 2_000
    assert len([e for e in house.facts(StepEntered) if e.share == 20]) == 1
    assert house.rollout.version == len(await house.store.load("r1"))
    await house.do(commands.pause, reason="it still takes commands")


async def test_the_flags_version_never_falls_back_even_when_it_could_not_be_kept(house: House):
    house.store.broken.add("flags")
    await house.do(commands.roll_back, reason="smoke")
    assert house.share == 0
    reached = house.flags.version
    house.store.broken.clear()
    await house.controller.tick()
    kept = await house.store.load_flags()
    assert kept is not None
    assert kept.version >= reached
    await house.restart()
    assert house.flags.version >= reached
    assert house.share == 0


async def test_gateways_ahead_of_a_restarted_control_are_overtaken(house: House):
    house.store.broken.add("flags")
    await house.do(commands.roll_back, reason="smoke")
    ahead = house.flags.version
    house.store.broken.clear()
    await house.restart()
    batch = house.batch()
    batch.applied = ahead + 5
    await house.controller.ingest(batch)
    assert house.flags.version > ahead + 5
    assert house.share == 0


async def test_somebody_elses_append_is_taken_in_and_decided_upon_again(house: House):
    await house.store.append(
        "r1", [Noted(at=T0, note="from elsewhere")], expected_version=house.rollout.version
    )
    with pytest.raises(VersionConflict):
        await house.do(commands.pause, reason="lunch")
    await house.do(commands.pause, reason="lunch")
    assert house.rollout.version == len(await house.store.load("r1"))


async def test_a_locked_database_stops_the_climb_and_nothing_else(
    open_house: OpenHouse, tmp_path: Path
):
    path = tmp_path / "molt.db"
    store = await SqlStore.open(path, busy_timeout=0.05)
    house = await open_house(plan(("canary", [step(5), step(20)])), store=store)
    await house.begin()
    await house.serve(HOUR - timedelta(minutes=1), HEALTHY, HEALTHY)
    await house.clock.advance(60)
    lock = sqlite3.connect(path)
    lock.execute("BEGIN EXCLUSIVE")
    await house.controller.tick()
    assert house.rollout.share == 5
    assert house.share == 500
    assert house.controller.store_problem
    lock.rollback()
    lock.close()
    await house.controller.tick()
    assert house.rollout.share == 20
    assert house.controller.store_problem is None
    await store.close()


async def test_alarms_of_the_flags_file_survive_a_store_that_fails(house: House):
    house.store.broken.add("append")
    house.flags_file.write_text("MOLTBOT_ENABLED=perhaps\n")
    await house.controller.tick()
    house.store.broken.clear()
    await house.controller.tick()
    assert [e.alarm for e in house.facts(AlarmRaised)] == ["flags_file"]
