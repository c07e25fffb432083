"""Faults do what they say, and the way of the evidence never changes a decision."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from tests.apps.simulate.worlds import plan, scenario

from molt.apps.simulate.curves import DAY, curve_of
from molt.apps.simulate.delivery import Channel
from molt.apps.simulate.latencies import latencies_of
from molt.apps.simulate.run import DATA, START, run
from molt.apps.simulate.scenario import Arrivals, Latency
from molt.apps.simulate.stream import Interval
from molt.apps.simulate.timeline import Timeline
from molt.core.events import AlarmRaised, AnyEvent, IncidentOpened, RulingsChanged

SHORT: dict[str, Any] = {"days": 0.12}


def stream(**more: Any) -> tuple[list[Interval], list[AnyEvent]]:
    intervals: list[Interval] = []
    course = run(scenario(**{**SHORT, **more}), plan(), 2, listener=intervals.append)
    return intervals, course.events


def decided(**more: Any) -> list[tuple[Any, ...]]:
    """What moved traffic or opened an incident, and when."""
    _, events = stream(**more)
    return [(type(e), e.at) for e in events if not isinstance(e, RulingsChanged)]


@pytest.mark.parametrize(
    "more",
    [
        {"gateways": 5},
        {"faults": [{"kind": "duplicated", "share": "100%"}]},
    ],
    ids=["five gateways", "every batch twice"],
)
def test_parts_and_repeats_never_change_a_decision(more: dict[str, Any]) -> None:
    effects = [{"metric": "error_rate", "to": "30%", "onset": "80m"}]
    assert decided(effects=effects, **more) == decided(effects=effects)


def test_late_evidence_is_decided_on_when_it_comes() -> None:
    effects = [{"metric": "error_rate", "to": "60%", "onset": "80m"}]
    _, prompt = stream(effects=effects, days=0.1)
    late_by = {"kind": "late", "by": "2m", "onset": "70m"}
    _, late = stream(effects=effects, days=0.1, faults=[late_by])
    first, then = (
        next(e.at for e in events if isinstance(e, IncidentOpened)) for events in (prompt, late)
    )
    assert (then - first).total_seconds() >= 60


def test_late_evidence_is_looked_at_every_minute_not_at_every_slot() -> None:
    late = run(scenario(days=0.1, faults=[{"kind": "late", "by": "2m"}]), plan(), 2)
    assert 100 < late.looks < 1.5 * 0.1 * 1440


def test_a_retrying_user_fails_from_one_bucket() -> None:
    fault = {"kind": "retrying_user", "requests_per_minute": 20, "onset": "90m"}
    intervals, _ = stream(faults=[fault], days=0.1)
    buckets = np.concatenate([i.span.candidate.error_at[1] for i in intervals[-20:]])
    assert np.bincount(buckets).max() > 0.5 * len(buckets)


def test_a_forbidden_call_takes_traffic_back_at_once() -> None:
    _, events = stream(faults=[{"kind": "violation", "onset": "100m"}])
    opened = next(e for e in events if isinstance(e, IncidentOpened))
    assert opened.trigger == "violation"


def test_lost_newcomers_are_noticed() -> None:
    users = {"count": 8000, "new_per_day": "100%"}
    fault = {"kind": "sample_ratio", "share": "90%"}
    _, events = stream(users=users, faults=[fault], days=0.4)
    assert any(isinstance(e, AlarmRaised) and e.alarm == "sample_ratio" for e in events)


def test_a_dearer_agent_is_noticed() -> None:
    _, events = stream(effects=[{"metric": "cost", "size": "6x", "step": 5, "onset": "10m"}])
    assert any(isinstance(e, IncidentOpened) and e.trigger == "cost" for e in events)


def test_curves_are_one_on_average_over_a_week() -> None:
    times = np.arange(0, 7 * DAY, 60.0)
    curve = curve_of(Arrivals(weekend="-40%"), DATA)  # pyright: ignore[reportArgumentType]
    assert curve(times).mean() == pytest.approx(1, abs=1e-3)


@pytest.mark.skipif(not DATA.is_dir(), reason="the recorded data are not beside the project")
@pytest.mark.parametrize(
    "name", ["azure_llm_2023", "ragpulse", "servegen", "mooncake_conversation"]
)
def test_recorded_traces_are_read_and_rescaled(name: str) -> None:
    curve = curve_of(Arrivals(trace=name), DATA)
    rates = curve(np.arange(0, 7 * DAY, 60.0))
    assert rates.mean() == pytest.approx(1, abs=0.15)
    assert rates.std() > 0.05


@pytest.mark.skipif(not DATA.is_dir(), reason="the recorded data are not beside the project")
@pytest.mark.parametrize("name", ["llmperf_latency", "burstgpt3_first_rows"])
def test_recorded_latencies_keep_their_shape_around_the_median(name: str) -> None:
    found = latencies_of(Latency(recorded=name), DATA)  # pyright: ignore[reportArgumentType]
    assert found.share_over(800) == pytest.approx(0.5, abs=0.06)
    assert 0 <= found.share_over(5000) < found.share_over(1000) <= found.share_over(400)


def test_reordered_evidence_leads_to_the_same_decisions_within_its_delay() -> None:
    effects = [{"metric": "error_rate", "to": "60%", "onset": "80m"}]
    reordered = {"kind": "reordered", "by": "1m", "onset": "70m"}
    prompt = decided(effects=effects, days=0.1)
    shuffled = decided(effects=effects, days=0.1, gateways=3, faults=[reordered])
    assert [kind for kind, _ in shuffled] == [kind for kind, _ in prompt]
    delays = [(b - a).total_seconds() for (_, a), (_, b) in zip(prompt, shuffled, strict=True)]
    assert all(-120 <= delay <= 120 for delay in delays)


def test_reordered_batches_overtake_each_other_and_none_is_lost() -> None:
    world = scenario(faults=[{"kind": "reordered", "by": "10m"}])
    channel = Channel(world, Timeline(START.timestamp(), world.timed()), seed=1)
    for minute in range(40):
        channel.send(START + timedelta(minutes=minute))
    assert channel.next_due() is not None
    arrived = [b.sequence for b in channel.arrived(START + timedelta(hours=1))]
    assert arrived != sorted(arrived)
    assert sorted(arrived) == list(range(1, 41))


def test_an_effect_with_a_tenure_wears_off_for_those_who_have_been_in_for_so_long() -> None:
    effect = {"metric": "orders", "size": "+50%", "tenure": "1h"}
    intervals, _ = stream(effects=[effect])
    live = [i for i in intervals if i.regime.mode == "live"]
    began = live[0].start

    def rate(arm: str, inside: bool) -> float:
        sums = [
            columns
            for i in live
            if (i.start < began + timedelta(minutes=55)) == inside
            and not timedelta(minutes=55) <= i.start - began < timedelta(minutes=65)
            for columns in i.sums[arm].values()
        ]
        done, left = (sum(float(c[name].sum()) for c in sums) for name in ("ordered", "left"))
        return done / (done + left)

    assert rate("candidate", inside=True) > 1.25 * rate("control", inside=True)
    assert rate("candidate", inside=False) < 1.15 * rate("control", inside=False)
