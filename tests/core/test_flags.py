"""The operator's flags are bounds, and the snapshot follows from the rollout inside them."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.core.assignment import CANDIDATE, assign
from molt.core.events import Aborted, Completed, Halved, RolledBack, RolloutStarted, StepEntered
from molt.core.evolve import evolve, replay
from molt.core.flags import FULL, Bounds, Limits, RolloutFlags, bound
from molt.core.rollout import Rollout
from molt.core.snapshot import derive, latency_cuts, snapshot

from .world import T0, plan, step, wf11

maybe = st.none() | st.booleans()
bounds_values = st.builds(
    Bounds,
    enabled=maybe,
    shadow_mode=maybe,
    traffic_percent=st.none() | st.integers(0, 100).map(float),
    agents=st.dictionaries(st.sampled_from(["guest", "admin", "research"]), st.booleans()),
    max_tokens_per_request=st.none() | st.integers(1, 9_000),
    max_tool_calls_per_request=st.none() | st.integers(0, 50),
    rate_limit_per_minute=st.none() | st.integers(1, 90),
)


def started(**more: Any) -> Rollout:
    playbook = wf11()
    return evolve(
        Rollout(),
        RolloutStarted(
            at=T0,
            rollout="r1",
            playbook=playbook.canonical(),
            playbook_hash=playbook.hash(),
            salt="salt",
            statistics_salt="other",
            agents=tuple(playbook.agents),
            **more,
        ),
    )


def entered(phase: Any, index: int, share: float, epoch: int = 1, **more: Any) -> StepEntered:
    return StepEntered(at=T0, phase=phase, step=index, share=share, epoch=epoch, **more)


SHADOW = evolve(started(), entered("shadow", 0, 0))
CANARY = evolve(SHADOW, entered("canary", 2, 5, 2, control_p50_ms=812.5, projected_cost=0.004))
FULL_TRAFFIC = evolve(CANARY, entered("progressive", 4, 100, 3))


def live(**changes: Any) -> RolloutFlags:
    return msgspec.structs.replace(derive(CANARY, wf11(), Bounds()), **changes)


# --- bounds


@pytest.mark.parametrize("by_operator", [None, True])
def test_the_rollout_decides_while_the_operator_allows_it(by_operator: bool | None):
    assert bound(live(), Bounds(enabled=by_operator)).enabled
    assert not bound(live(enabled=False), Bounds(enabled=by_operator)).enabled


def test_the_operator_can_switch_off_but_never_on():
    assert not bound(live(), Bounds(enabled=False)).enabled
    assert not bound(live(enabled=False), Bounds(enabled=True)).enabled


@pytest.mark.parametrize(
    ("percent", "share"), [(None, 500), (100, 500), (5, 500), (2.5, 250), (0, 0)]
)
def test_the_smaller_share_counts(percent: float | None, share: int):
    assert bound(live(), Bounds(traffic_percent=percent)).share == share


def test_shadow_when_either_says_so():
    assert bound(live(shadow=True), Bounds(shadow_mode=False)).shadow
    assert bound(live(), Bounds(shadow_mode=True)).shadow
    assert not bound(live(), Bounds(shadow_mode=False)).shadow
    assert not bound(live(), Bounds()).shadow


def test_an_agent_follows_the_plan_until_the_operator_says_otherwise():
    assert bound(live(), Bounds()).disabled_agents == ("research",)
    assert bound(live(), Bounds(agents={"research": True})).disabled_agents == ()
    off = bound(live(), Bounds(agents={"guest": False, "research": False}))
    assert off.disabled_agents == ("guest", "research")


def test_a_flag_of_an_agent_that_is_not_covered_changes_nothing():
    assert bound(live(), Bounds(agents={"stranger": False})) == live()


def test_limits_only_tighten():
    looser = Bounds(
        max_tokens_per_request=9_000, max_tool_calls_per_request=50, rate_limit_per_minute=100
    )
    assert bound(live(), looser).limits == Limits(4000, 10, 30)
    tighter = Bounds(
        max_tokens_per_request=500, max_tool_calls_per_request=0, rate_limit_per_minute=6
    )
    assert bound(live(), tighter).limits == Limits(500, 0, 6)


@given(bounds_values, st.integers(0, FULL), st.booleans(), st.booleans())
def test_bounds_never_widen_what_the_rollout_gives(
    bounds: Bounds, share: int, enabled: bool, shadow: bool
):
    before = live(share=share, enabled=enabled, shadow=shadow)
    after = bound(before, bounds)
    assert after.share <= before.share
    assert after.enabled <= before.enabled
    assert after.shadow >= before.shadow
    assert bound(after, bounds) == after


@given(bounds_values, bounds_values)
def test_two_sources_of_flags_bound_as_much_as_one_after_the_other(a: Bounds, b: Bounds):
    together, in_turn = bound(live(), a.within(b)), bound(bound(live(), a), b)
    for name in ("enabled", "shadow", "share", "limits"):
        assert getattr(together, name) == getattr(in_turn, name)
    assert a.within(b) == b.within(a)
    assert a.within(a) == a


def test_an_agent_needs_both_sources_when_both_speak():
    both = Bounds(agents={"guest": True, "admin": True}).within(Bounds(agents={"guest": False}))
    assert both.agents == {"guest": False, "admin": True}


# --- the snapshot, phase by phase


def test_in_shadow_everything_is_copied_and_nothing_answered_by_the_agent():
    flags = derive(SHADOW, wf11(), Bounds())
    assert (flags.enabled, flags.shadow, flags.share, flags.mirror) == (True, True, 0, FULL)


def test_in_canary_and_progressive_the_step_decides():
    flags = derive(CANARY, wf11(), Bounds())
    assert (flags.enabled, flags.shadow, flags.share, flags.epoch) == (True, False, 500, 2)
    assert derive(FULL_TRAFFIC, wf11(), Bounds()).share == FULL


def test_a_complete_rollout_keeps_its_traffic():
    done = evolve(FULL_TRAFFIC, Completed(at=T0))
    flags = derive(done, wf11(), Bounds())
    assert (flags.enabled, flags.shadow, flags.share) == (True, False, FULL)


def test_a_halved_rollout_has_half():
    halved = evolve(CANARY, Halved(at=T0, incident="i", share=2.5, epoch=3))
    assert derive(halved, wf11(), Bounds()).share == 250


def test_after_a_rollback_everybody_is_on_control():
    back = evolve(FULL_TRAFFIC, RolledBack(at=T0, incident="i", cause="c"))
    flags = derive(back, wf11(), Bounds())
    assert (flags.enabled, flags.share, flags.mirror) == (False, 0, 0)
    assert assign(flags, "guest", "anybody").arm != CANDIDATE


def test_the_operators_shadow_mode_mirrors_at_any_step():
    flags = derive(CANARY, wf11(), Bounds(shadow_mode=True))
    found = assign(flags, "guest", "anybody")
    assert (found.arm, found.reason, found.mirror) == ("control", "shadow", True)


def test_a_plan_without_shadow_can_still_be_put_in_shadow_by_the_operator():
    small = plan(("canary", [step(50)]))
    rollout = evolve(started(), entered("canary", 0, 50))
    rollout = msgspec.structs.replace(rollout, agents=("guest",))
    assert derive(rollout, small, Bounds()).mirror == 0
    assert assign(derive(rollout, small, Bounds(shadow_mode=True)), "guest", "a").mirror


def test_the_snapshot_carries_what_gateways_need_to_gather_evidence():
    flags = derive(CANARY, wf11(), Bounds())
    assert flags.tiers == (100, 200, 500, 1_000, 2_500, 5_000, 7_500, 10_000)
    assert flags.cuts == (812.5, 1_000, 2_000, 3_000, 5_000)
    assert flags.cost_cap == pytest.approx(20 * 0.004)
    assert flags.pin_idle_seconds == timedelta(minutes=30).total_seconds()
    assert flags.slot_seconds == 10
    assert flags.tools["guest"].permits("menu_search")
    assert not flags.tools["guest"].permits("approval_resolve")
    assert (flags.salt, flags.statistics_salt) == ("salt", "other")


def test_without_a_projection_one_request_has_no_cost_cap():
    assert derive(SHADOW, wf11(), Bounds()).cost_cap is None
    assert latency_cuts(SHADOW, wf11()) == (1_000, 2_000, 3_000, 5_000)


def test_only_rollouts_that_run_or_were_rolled_back_are_in_the_snapshot():
    aborted = replay([*_log(), Aborted(at=T0)])
    back = evolve(CANARY, RolledBack(at=T0, incident="i", cause="c"))
    rollouts = [(r, wf11()) for r in (started(), SHADOW, aborted, back)]
    flags = snapshot(7, T0, rollouts, Bounds(), limiter_epoch=2, ttl_seconds=60)
    assert (flags.version, flags.limiter_epoch, flags.ttl_seconds) == (7, 2, 60)
    assert [r.enabled for r in flags.rollouts] == [True, False]


def _log() -> list[Any]:
    playbook = wf11()
    return [
        RolloutStarted(
            at=T0,
            rollout="r2",
            playbook=playbook.canonical(),
            playbook_hash=playbook.hash(),
            salt="s",
            statistics_salt="t",
            agents=("guest",),
        ),
        entered("shadow", 0, 0),
    ]
