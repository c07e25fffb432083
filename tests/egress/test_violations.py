"""Violations reach control once, however it behaves, and the run is over here at once."""

from molt.link.tokens import Run

from .conftest import World, until

RUN = Run("run1", "r", "guest", "candidate", "live", 2_000_000_000, "5ub7ec7")


async def test_it_is_written_when_the_report_returns(world: World):
    assert await world.egress.violations.report(RUN, "menu_drop", arguments="{}", detail="why")
    (violation,) = world.control.reported.values()
    assert (violation.rollout, violation.tool, violation.detail) == ("r", "menu_drop", "why")
    assert (violation.run, violation.subject) == ("run1", "5ub7ec7")
    assert world.egress.callers.standing_of(RUN).standing == "withdrawn"


async def test_while_control_is_away_it_is_told_again_until_it_is_kept_once(world: World):
    world.control.refuse = 503
    assert not await world.egress.violations.report(RUN, "menu_drop")
    assert world.egress.callers.standing_of(RUN).standing == "withdrawn"
    assert world.egress.violations.waiting == 1
    world.control.refuse = 0
    await until(lambda: not world.egress.violations.waiting)
    assert len(world.control.reported) == 1


async def test_a_rollout_that_control_does_not_know_is_not_asked_for_again(world: World):
    world.control.refuse = 404
    assert not await world.egress.violations.report(RUN, "menu_drop")
    assert world.egress.violations.waiting == 0
