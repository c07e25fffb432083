"""The retrospective of a rollout that goes on."""

from datetime import timedelta

from molt.control.retro_course import course

from .house import House


async def test_a_step_that_is_not_over_is_not_said_to_be_ahead_of_its_plan(house: House) -> None:
    await house.clock.advance(60)
    (here,) = [row for row in course(house.desk, house.clock.now()) if "not over yet" in row]
    assert here.startswith("| canary")
    later = house.clock.now() + timedelta(days=30)
    assert not [row for row in course(house.desk, later) if "not over yet" in row]
