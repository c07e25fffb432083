"""What every `FlagStore` and `HeadStore` promises, and small settings."""

import pytest

from molt.core.errors import VersionConflict
from molt.core.evidence import Head
from molt.core.flags import Flags, Limits, RolloutFlags
from molt.core.policy import ToolPolicy

from .evidence_values import AT


def flags(version: int) -> Flags:
    rollout = RolloutFlags(
        rollout="r1",
        epoch=3,
        agents=("guest",),
        enabled=True,
        shadow=False,
        share=250,
        mirror=0,
        salt="s",
        statistics_salt="t",
        tiers=(100, 200, 500),
        cuts=(2000.0, 130.5),
        limits=Limits(rate_limit_per_minute=7),
        tools={"guest": ToolPolicy()},
        cost_cap=0.25,
    )
    return Flags(version, AT, (rollout,), limiter_epoch=2)


async def test_a_new_store_has_no_flags(store):
    assert await store.load_flags() is None


async def test_the_last_flags_come_back_as_they_were(store):
    await store.save_flags(flags(1))
    await store.save_flags(flags(5))

    assert await store.load_flags() == flags(5)


@pytest.mark.parametrize("version", [4, 5])
async def test_flags_that_are_not_newer_conflict_and_change_nothing(store, version):
    await store.save_flags(flags(5))

    with pytest.raises(VersionConflict, match="kept 5"):
        await store.save_flags(Flags(version, AT))

    assert await store.load_flags() == flags(5)


async def test_heads_only_move_forward_each_by_itself(store):
    await store.save_heads([Head("a", 5, "a5"), Head("b", 1, "b1")])
    await store.save_heads([Head("a", 4, "a4"), Head("b", 3_000_000_000, "b3"), Head("c", 1, "c1")])
    await store.save_heads([Head("a", 5, "other")])
    await store.save_heads([])

    assert await store.heads() == {
        "a": Head("a", 5, "a5"),
        "b": Head("b", 3_000_000_000, "b3"),
        "c": Head("c", 1, "c1"),
    }


async def test_a_setting_is_what_it_was_last_set_to(store):
    assert await store.setting("x") is None
    await store.set_setting("x", "1")
    await store.set_setting("x", "2")
    await store.set_setting("y", "")

    assert await store.setting("x") == "2"
    assert await store.setting("y") == ""
