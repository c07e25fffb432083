"""The engine: the controller in a generated world."""

from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest
from tests.apps.simulate.worlds import plan, scenario

from molt.adapters.memory.store import MemoryStore
from molt.apps.simulate.course import Course
from molt.apps.simulate.run import ROLLOUT, Simulation, run
from molt.apps.simulate.stream import Interval
from molt.core.events import AlarmRaised, Approved, Halved, RolledBack, StepEntered


def play(seed: int = 1, **more: object) -> Course:
    return run(scenario(**more), plan(), seed)


def json_of(course: Course) -> bytes:
    return msgspec.json.encode([course.as_data(), course.records])


def test_a_healthy_candidate_is_promoted_on_time() -> None:
    course = play()
    assert course.verdict == "promoted"
    assert course.hours == pytest.approx(8 + 20 / 60, abs=0.6)
    assert course.failed_orders == 0


def test_two_runs_with_one_seed_are_byte_equal() -> None:
    assert json_of(play()) == json_of(play())


def test_another_seed_is_another_world() -> None:
    assert json_of(play(1)) != json_of(play(2))


async def test_what_the_store_holds_does_not_grow_with_the_days_unless_one_is_given() -> None:
    store = MemoryStore()
    kept = await Simulation(scenario(days=0.1), plan(), 1, store=store).run()
    own = Simulation(scenario(days=0.1), plan(), 1)
    course = await own.run()
    assert await own.store.slots(ROLLOUT) == []
    assert await own.store.sums(ROLLOUT) == []
    assert json_of(course) == json_of(kept)
    assert await store.slots(ROLLOUT)
    assert await store.sums(ROLLOUT)


def test_a_harmful_candidate_is_rolled_back_and_its_cost_is_counted() -> None:
    course = play(effects=[{"metric": "orders", "size": "-60%"}])
    assert course.verdict == "rolled_back"
    assert course.failed_orders > 0


def test_errors_are_found_by_the_trigger_at_slot_resolution() -> None:
    course = play(effects=[{"metric": "error_rate", "to": "40%", "step": 20}])
    back = next(e for e in course.events if isinstance(e, RolledBack))
    assert "errors" in back.reason
    assert course.hours_after_onset is not None
    assert course.hours_after_onset < 0.5


@pytest.mark.parametrize("rate", ["8%", "40%"])
def test_looking_at_every_slot_decides_the_same(rate: str) -> None:
    more = {"effects": [{"metric": "error_rate", "to": rate, "onset": "100m"}], "days": 0.3}
    adaptive = play(**more)
    every = play(**more, looks={"mode": "every_slot"})
    assert json_of(every) == json_of(adaptive)
    assert every.looks > adaptive.looks


def test_operators_approve_after_their_delay() -> None:
    course = play(operators={"approve_after": "3h"})
    approved = next(e for e in course.events if isinstance(e, Approved))
    entered = next(e for e in course.events if isinstance(e, StepEntered) and e.share == 50)
    assert approved.at - entered.at >= timedelta(hours=5)


def test_slowness_halves_the_traffic() -> None:
    course = play(faults=[{"kind": "slow", "factor": 12, "step": 20, "lasts": "40m"}])
    assert any(isinstance(e, Halved) for e in course.events)


def test_silence_is_an_alarm_and_no_promotion() -> None:
    course = play(faults=[{"kind": "no_data", "arm": "both", "step": 20}])
    assert course.verdict == "inconclusive"
    assert any(isinstance(e, AlarmRaised) and e.alarm == "blind" for e in course.events)


def test_the_listener_gets_the_whole_stream() -> None:
    intervals: list[Interval] = []
    course = run(scenario(), plan(), 1, listener=intervals.append)
    assert sum(int(i.span.candidate.requests.sum()) for i in intervals) > 1000
    assert intervals[0].start == course.started_at
    assert all(a.end == b.start for a, b in pairwise(intervals))


def test_a_bar_whose_share_holds_no_user_yet_is_played_like_any_other() -> None:
    few = scenario(users={"count": 10}, arrivals={"requests_per_day": 2000}, days=0.2)
    for seed in range(4):
        assert run(few, plan(), seed).verdict == "inconclusive"
