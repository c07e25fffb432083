"""Observations add up to the slots and sums that a plain count gives."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.core.assignment import assign, bucket_of, statistics_bucket_of, tier_of
from molt.core.evidence import GATEWAY_COLUMNS, BucketSums, Slot
from molt.core.stats.latency import binned
from molt.gateway.observations import Observation
from molt.gateway.routes import Decided, Route, Running
from molt.gateway.tallies import Tallies

from .world import rollout

ROUTE = Route(rollout(cost_cap=2.0), "guest", Running(1800.0))

observations = st.builds(
    Observation,
    kind=st.sampled_from(["request", "request", "request", "limited", "aborted", "mirror_dropped"]),
    error=st.booleans(),
    fell_back=st.booleans(),
    status=st.sampled_from("0245"),
    latency_ms=st.sampled_from([1.0, 999.0, 1000.0, 1000.1, 2999.0, 5000.0]),
    tokens_in=st.integers(0, 9),
    tokens_out=st.integers(0, 9),
    cost=st.none() | st.sampled_from([0.0, 0.5, 7.0]),
    tool_calls=st.integers(0, 3),
    forbidden=st.sampled_from([(), ("x",)]),
)
requests = st.lists(
    st.tuples(
        observations,
        st.sampled_from(["control", "candidate"]),
        st.none() | st.sampled_from(["u1", "u2", "u3", "u4"]),
        st.sampled_from([100.0, 109.9, 110.0]),
        st.booleans(),
    ),
    max_size=40,
)


def folded(requests: Any) -> tuple[list[Slot], list[BucketSums]]:
    tallies = Tallies()
    for seen, arm, subject, ended, begins in requests:
        bucket = assign(ROUTE.flags, "guest", subject).bucket
        decided = Decided(ROUTE, arm, "in_share", subject=subject, bucket=bucket, begins=begins)
        tallies.add(seen, decided, ROUTE, ended)
    return tallies.take()


@given(requests)
def test_slots_hold_what_a_plain_count_gives(requests: Any):
    slots, _ = folded(requests)
    by_key = {(s.key.arm, s.key.start): s for s in slots}
    assert len(by_key) == len(slots)
    for (arm, start), slot in by_key.items():
        mine = [r for r in requests if r[1] == arm and start <= r[3] < start + 10]
        counted = [o for o, *_ in mine if o.kind == "request"]
        assert slot.requests == len(counted)
        assert slot.errors.count == sum(o.error for o in counted)
        assert slot.limited == sum(o.kind == "limited" for o, *_ in mine)
        assert slot.aborted == sum(o.kind == "aborted" for o, *_ in mine)
        assert slot.mirrors_dropped == sum(o.kind == "mirror_dropped" for o, *_ in mine)
        assert slot.fallbacks == sum(o.fell_back for o, *_ in mine)
        assert slot.statuses == Counter(o.status for o in counted)
        assert slot.latency == binned([o.latency_ms for o in counted])
        assert slot.priced == sum(o.cost is not None for o in counted)
        assert slot.cost == pytest.approx(sum(o.cost or 0 for o in counted))
        assert slot.violations == sum(len(o.forbidden) for o in counted)
        for cut in (1000, 3000):
            tally = slot.over.get(f"over:{cut}")
            assert (tally.count if tally else 0) == sum(o.latency_ms > cut for o in counted)
    assert sum(s.requests for s in slots) == sum(o.kind == "request" for o, *_ in requests)


def columns(seen: Observation, begins: bool) -> dict[str, float]:
    """What one request of a known subject adds to the sums."""
    found = {"conversations": 1.0} if begins else {}
    if seen.kind == "aborted":
        return found
    found |= {"requests": 1.0, "errors": float(seen.error)}
    found |= {f"over:{cut}": float(seen.latency_ms > cut) for cut in (1000, 3000)}
    if seen.cost is not None:
        found |= {"cost": seen.cost, "cost_capped": min(seen.cost, 2.0), "priced": 1.0}
    return found


@given(requests)
def test_sums_hold_what_a_plain_count_gives(requests: Any):
    _, sums = folded(requests)
    found: Counter[tuple[Any, ...]] = Counter()
    for entry in sums:
        for column, amounts in entry.columns.items():
            assert column in GATEWAY_COLUMNS or column.startswith("over:")
            for bucket, amount in amounts.items():
                found[(entry.key.arm, entry.key.tier, column, bucket)] += amount
    expected: Counter[tuple[Any, ...]] = Counter()
    for seen, arm, subject, _, begins in requests:
        if subject is not None and seen.kind in ("request", "aborted"):
            tier = tier_of(ROUTE.flags.tiers, bucket_of("salt", subject))
            bucket = statistics_bucket_of("other salt", subject)
            for column, amount in columns(seen, begins).items():
                expected[(arm, tier, column, bucket)] += amount
    assert +found == +expected


def test_tallies_tell_which_subjects_erred():
    seen = Observation("request", error=True, status="5", latency_ms=1.0)
    slots, _ = folded([(seen, "control", user, 100.0, False) for user in ("u1", "u2", "u2", None)])
    bits = int.from_bytes(slots[0].errors.buckets, "little")
    assert slots[0].errors.count == 4
    assert bits == sum(1 << statistics_bucket_of("other salt", u) for u in ("u1", "u2"))


def test_a_subject_that_was_not_hashed_to_decide_still_has_its_tier():
    disabled = Route(rollout(enabled=False), "guest", Running(1800.0))
    tallies = Tallies()
    for user in (f"u{n}" for n in range(50)):
        decided = Decided(disabled, "control", "disabled", subject=user)
        tallies.add(Observation("request", status="2"), decided, disabled, 100.0)
    _, sums = tallies.take()
    users = [f"u{n}" for n in range(50)]
    tiers = Counter(tier_of(ROUTE.flags.tiers, bucket_of("salt", u)) for u in users)
    found = {s.key.tier: sum(s.columns["requests"].values()) for s in sums}
    assert found == tiers


def test_taking_begins_anew():
    tallies = Tallies()
    tallies.add(Observation("limited"), Decided(ROUTE, "control", "limited"), ROUTE, 1.0)
    assert tallies
    tallies.take()
    assert not tallies
    assert tallies.take() == ([], [])
