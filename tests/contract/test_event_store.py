"""What every `EventStore` promises."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from molt.core.errors import VersionConflict
from molt.core.events import (
    AnyEvent,
    IncidentOpened,
    Noted,
    Paused,
    RolloutStarted,
    Ruling,
    StepEntered,
)

AT = datetime(2026, 3, 2, 12, 0, 0, 123456, tzinfo=UTC)


def note(text: str, at: datetime = AT) -> Noted:
    return Noted(at=at, by="ann", note=text)


EVERY_SHAPE: list[AnyEvent] = [
    RolloutStarted(
        at=AT,
        by="ann",
        rollout="r1",
        playbook='{"name": "wf-11", "note": "naïve ☕"}',
        playbook_hash="ab" * 32,
        salt="s1",
        statistics_salt="s2",
        agents=("guest", "research"),
    ),
    StepEntered(
        at=AT,
        phase="canary",
        step=1,
        share=2.5,
        epoch=3,
        control_p50_ms=812.25,
        rulings=(Ruling("error_rate", "pass", "fine", {"rate": 0.001, "n": 4000}),),
    ),
    IncidentOpened(
        at=AT,
        incident="i1",
        trigger="error_rate",
        action="roll_back",
        ruling=Ruling("error_rate", "fail", "too many"),
        quiet_until=AT - timedelta(seconds=10),
        detail={"window": [1, 2.5, "x", None]},
    ),
    Paused(at=AT, by="bob", reason="looking into it"),
]


async def test_events_come_back_as_they_were_numbered_from_one(store):
    written = await store.append("r1", EVERY_SHAPE, expected_version=0)

    loaded = await store.load("r1")

    assert [record.event for record in loaded] == EVERY_SHAPE
    assert [record.seq for record in loaded] == [1, 2, 3, 4]
    assert list(loaded) == list(written)


async def test_every_record_has_a_hash_of_its_own_that_depends_on_those_before(store):
    await store.append("r1", [note("a"), note("x")], expected_version=0)
    await store.append("r1", [note("x")], expected_version=2)
    await store.append("r2", [note("b"), note("x")], expected_version=0)

    hashes = [r.hash for r in [*await store.load("r1"), *await store.load("r2")]]

    assert len(set(hashes)) == 5
    assert all(len(h) == 64 for h in hashes)


async def test_a_log_grows_by_several_appends_and_can_be_read_from_any_record_on(store):
    await store.append("r1", [note("1"), note("2")], expected_version=0)
    await store.append("r1", [note("3")], expected_version=2)

    assert [r.seq for r in await store.load("r1", after=1)] == [2, 3]
    assert list(await store.load("r1", after=3)) == []
    assert list(await store.load("unknown")) == []


@pytest.mark.parametrize("expected", [0, 1, 3])
async def test_an_append_at_another_version_conflicts_says_what_changed_and_adds_nothing(
    store, expected
):
    await store.append("r1", [note("1"), Paused(at=AT, by="bob")], expected_version=0)

    with pytest.raises(VersionConflict) as conflict:
        await store.append("r1", [note("late")], expected_version=expected)

    assert "is at version 2" in str(conflict.value)
    assert ("Paused by bob" in str(conflict.value)) is (expected < 2)
    assert len(await store.load("r1")) == 2


async def test_an_append_to_a_log_that_is_not_there_yet_conflicts_unless_it_expects_none(store):
    with pytest.raises(VersionConflict):
        await store.append("r1", [note("1")], expected_version=1)
    assert list(await store.rollouts()) == []


async def test_of_many_appends_at_once_exactly_one_wins_each_version(store):
    async def add(writer: int) -> int:
        won = 0
        for version in range(10):
            try:
                await store.append("r1", [note(str(writer))], expected_version=version)
                won += 1
            except VersionConflict:
                pass
        return won

    wins = await asyncio.gather(*(add(writer) for writer in range(5)))

    assert sum(wins) == 10
    assert [r.seq for r in await store.load("r1")] == list(range(1, 11))


async def test_appending_nothing_adds_nothing_but_still_checks_the_version(store):
    assert list(await store.append("r1", [], expected_version=0)) == []
    assert list(await store.rollouts()) == []
    with pytest.raises(VersionConflict):
        await store.append("r1", [], expected_version=1)


async def test_rollouts_are_listed_oldest_first(store):
    await store.append("b", [note("x", AT)], expected_version=0)
    await store.append("c", [note("x", AT + timedelta(hours=1))], expected_version=0)
    await store.append("a", [note("x", AT + timedelta(minutes=1))], expected_version=0)
    await store.append("b", [note("y", AT + timedelta(hours=2))], expected_version=1)

    assert list(await store.rollouts()) == ["b", "a", "c"]


async def test_logs_that_nobody_touched_verify(store):
    assert await store.verify_events() is None
    await store.append("r1", EVERY_SHAPE, expected_version=0)
    await store.append("r1", [note("later")], expected_version=4)
    await store.append("r2", [note("other")], expected_version=0)
    assert await store.verify_events() is None
