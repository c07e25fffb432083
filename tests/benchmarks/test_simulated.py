"""Small sizes of the decision benchmark: how often the rules are wrong where nothing is, and at margins."""

import math

import pytest
from benchmarks.rules import climbs, slots, steady

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("what", "change", "share"),
    [
        ("engagement", 0.9, 0.05),
        ("engagement", 1.1, 0.05),
        ("median latency", 1.1, 0.5),
        ("rare events", 2.0, 0.05),
    ],
)
def test_what_lies_at_its_margin_rarely_passes(what: str, change: float, share: float):
    fates = [steady.fate(steady.World(what, change, share), seed) for seed in range(20)]
    assert sum(f.passed < math.inf for f in fates) <= 3


@pytest.mark.parametrize("what", list(steady.RULES))
def test_what_has_not_changed_rarely_fails(what: str):
    fates = [steady.fate(steady.World(what, 1.0, 0.1), seed) for seed in range(20)]
    assert sum(f.failed < math.inf for f in fates) <= 3


@pytest.mark.parametrize(
    "world",
    [
        slots.World(20, 0.02, outage=True),
        slots.World(60, 0.01, outage=True),
        slots.World(60, 0.02),
        slots.World(60, 0.04),
    ],
)
def test_a_week_below_the_limit_is_left_alone(world: slots.World):
    weeks = [slots.stream(world, slots.WEEK, seed) for seed in range(3)]
    assert sum(slots.molt(week, 0.05, 5) < math.inf for week in weeks) == 0


@pytest.mark.parametrize(
    ("world", "within"),
    [(slots.World(6, onset=0.2), 25), (slots.World(0.6, onset=1.0), 30)],
)
def test_faults_at_little_traffic_are_found_in_time(world: slots.World, within: int):
    waits = [slots.minutes_to_find(world, seed, hours=3)["Molt"] for seed in range(20)]
    assert sorted(waits)[17] <= within


def test_five_metrics_and_hourly_looks_rarely_send_a_harmless_agent_back():
    courses = [climbs.molt(climbs.World(3_000, weekend=0.9), seed) for seed in range(8)]
    assert sum(c.verdict == "rolled_back" for c in courses) <= 2
    assert not any(c.verdict == "promoted" for c in courses), "3,000 users cannot prove 2%"


def test_five_percent_of_lost_orders_never_reach_everybody():
    courses = [climbs.molt(climbs.World(3_000, lift=-0.05), seed) for seed in range(6)]
    assert not any(c.verdict == "promoted" for c in courses)
