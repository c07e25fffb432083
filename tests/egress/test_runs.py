"""Who is calling is proven by the token, and what they may do follows the flags at once."""

import pytest

from molt.egress.runs import Callers
from molt.link.tokens import Runs, claim

from ..gateway.world import flags

KEY = b"k" * 32
NOW = 1_800_000_000.0


class World:
    """Callers under a clock that moves by hand."""

    def __init__(self) -> None:
        self.clock = 0.0
        self.callers = Callers(KEY, wall=lambda: NOW + self.clock, monotonic=lambda: self.clock)
        self.signed = Runs(KEY, lifetime_seconds=3600)

    def say(self, **changes) -> None:
        """New flags from control."""
        self.callers.apply(flags(self.callers.version + 1, **changes))
        self.callers.heard(self.clock)

    def token(self, mode="live", agent="guest", rollout="r", key=KEY) -> bytes:
        runs = Runs(key, lifetime_seconds=3600)
        return runs.token(runs.new_id(), claim(rollout, agent, "candidate", mode), NOW, "5ub")


@pytest.fixture
def world() -> World:
    made = World()
    made.say()
    return made


def test_a_live_run_may_act(world: World):
    caller = world.callers.identify(world.token())
    assert caller.standing == "live"
    assert caller.run is not None
    assert (caller.run.agent, caller.run.subject, caller.mode) == ("guest", "5ub", "live")
    assert caller.forbids("menu_drop")
    assert not caller.forbids("menu_search")


def test_a_shadow_run_never_acts(world: World):
    assert world.callers.identify(world.token("shadow")).standing == "shadow"


@pytest.mark.parametrize("token", [None, b"", b"v1.made.up"])
def test_without_a_token_nobody_is_trusted(world: World, token: bytes | None):
    caller = world.callers.identify(token)
    assert (caller.standing, caller.run, caller.mode) == ("unknown", None, None)


def test_a_forged_or_changed_or_expired_token_is_not_trusted(world: World):
    token = world.token()
    assert world.callers.identify(world.token(key=b"j" * 32)).standing == "unknown"
    assert world.callers.identify(token.replace(b"guest", b"admin")).standing == "unknown"
    assert world.callers.identify(token.replace(b".live.", b".shadow.")).standing == "unknown"
    world.clock = 3600
    assert world.callers.identify(token).standing == "unknown"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"enabled": False}, "switched off"),
        ({"disabled_agents": ("guest",)}, "agent guest is switched off"),
        ({"agents": ("admin",)}, "agent guest is switched off"),
        ({"rollout": "another"}, "switched off"),
        ({"shadow": True}, "no longer live"),
        ({"share": 0}, "no longer live"),
    ],
)
def test_a_live_run_ends_when_the_flags_say_so(world: World, changes: dict[str, object], why: str):
    token, told = world.token(), []
    run = world.callers.identify(token).run
    with world.callers.watching(run, told.append):
        world.say(**changes)
    caller = world.callers.identify(token)
    assert caller.standing == "withdrawn"
    assert why in (caller.reason or "")
    assert why in told[0]


def test_a_halved_share_leaves_runs_alone(world: World):
    world.say(share=1)
    assert world.callers.identify(world.token()).standing == "live"


def test_a_shadow_run_goes_on_in_shadow_and_ends_when_it_is_switched_off(world: World):
    token = world.token("shadow")
    world.say(shadow=True, share=0)
    assert world.callers.identify(token).standing == "shadow"
    world.say(enabled=False)
    assert world.callers.identify(token).standing == "withdrawn"


def test_when_control_is_silent_for_too_long_no_run_goes_on(world: World):
    token, told = world.token(), []
    run = world.callers.identify(token).run
    with world.callers.watching(run, told.append):
        world.clock = 601
        assert "silent" in (world.callers.identify(token).reason or "")
        world.callers.sweep()
    assert "silent" in told[0]


def test_without_flags_no_run_is_let_in():
    world = World()
    assert world.callers.identify(world.token()).standing == "withdrawn"


def test_a_revoked_run_does_nothing_more_and_others_go_on(world: World):
    token, other = world.token(), world.token()
    run = world.callers.identify(token).run
    assert run is not None
    world.callers.revoke(run)
    assert world.callers.identify(token).standing == "withdrawn"
    assert world.callers.identify(other).standing == "live"
    world.callers.sweep()
    assert world.callers.identify(token).standing == "withdrawn"


def test_the_trace_goes_on(world: World):
    parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert world.callers.identify(world.token(), parent).trace == parent[3:35].decode()
    assert world.callers.identify(world.token(), b"nonsense").trace is None


def test_a_run_that_has_acted_may_finish_its_answer_after_a_rollback_but_not_act(world: World):
    token, other, told = world.token(), world.token(), []
    run = world.callers.identify(token).run
    assert run is not None
    world.callers.acts(run)
    with world.callers.watching(run, told.append):
        world.say(enabled=False)
    caller = world.callers.identify(token)
    assert (caller.standing, caller.finishing) == ("withdrawn", True)
    assert told == []
    assert not world.callers.identify(other).finishing, "control can still answer for this one"
    world.callers.revoke(run)
    assert not world.callers.identify(token).finishing, "a violation ends it all the same"


def test_where_the_playbook_cancels_what_is_in_flight_nobody_finishes(world: World):
    token = world.token()
    run = world.callers.identify(token).run
    assert run is not None
    world.callers.acts(run)
    world.say(enabled=False, cancel_in_flight=True)
    assert not world.callers.identify(token).finishing
