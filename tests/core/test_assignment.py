"""Who goes where, and why: uniform, sticky, monotone, and never doubtful."""

from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from molt.core.assignment import (
    CANDIDATE,
    CONTROL,
    STATISTICS_BUCKETS,
    Assignment,
    Reason,
    assign,
    bucket_of,
    explain,
    pinned,
    rollout_for,
    statistics_bucket_of,
    tier_of,
)
from molt.core.flags import FULL, Flags, RolloutFlags

SUBJECTS = [f"guest-{i}" for i in range(20_000)]

FLAGS = RolloutFlags(
    rollout="r",
    epoch=3,
    agents=("guest", "research"),
    enabled=True,
    shadow=False,
    share=2_500,
    mirror=0,
    salt="salt",
    statistics_salt="other salt",
    tiers=(100, 2_500, 10_000),
    cuts=(),
    disabled_agents=("research",),
)

subjects = st.text(max_size=40)
shares = st.integers(0, FULL)


def flags(**changes: object) -> RolloutFlags:
    return msgspec.structs.replace(FLAGS, **changes)


def chi_square(counts: list[int]) -> float:
    expected = sum(counts) / len(counts)
    return sum((n - expected) ** 2 for n in counts) / expected


# --- buckets


def test_the_bucket_is_the_documented_hash():
    assert bucket_of("s", "guest-1") == xxh3_64_intdigest(b"s\x1fguest-1") % 10_000
    assert bucket_of("s", "zoë") == xxh3_64_intdigest("s\x1fzoë".encode()) % 10_000


@given(st.text(max_size=20), subjects)
def test_buckets_are_in_range_and_always_the_same(salt: str, subject: str):
    assert 0 <= bucket_of(salt, subject) < FULL
    assert bucket_of(salt, subject) == bucket_of(salt, subject)
    assert 0 <= statistics_bucket_of(salt, subject) < STATISTICS_BUCKETS


def test_buckets_are_uniform():
    counts = [0] * 100
    for subject in SUBJECTS:
        counts[bucket_of("salt", subject) // 100] += 1
    assert chi_square(counts) < 150  # the 99.9% quantile with 99 degrees of freedom is 148


def test_statistics_buckets_are_uniform_inside_an_arm():
    counts = [0] * STATISTICS_BUCKETS
    for subject in SUBJECTS:
        if bucket_of("salt", subject) < 5_000:
            counts[statistics_bucket_of("other salt", subject)] += 1
    assert chi_square(counts) < 330  # 255 degrees of freedom, 99.9%


def test_another_salt_draws_other_subjects():
    both = sum(bucket_of("a", s) < 1_000 and bucket_of("b", s) < 1_000 for s in SUBJECTS)
    assert both == pytest.approx(len(SUBJECTS) / 100, rel=0.3)


@pytest.mark.parametrize(
    ("bucket", "tier"), [(0, 0), (99, 0), (100, 1), (2_499, 1), (2_500, 2), (9_999, 2)]
)
def test_the_tier_is_the_first_share_that_includes_the_bucket(bucket: int, tier: int):
    assert tier_of((100, 2_500, 10_000), bucket) == tier


def test_whoever_no_share_includes_is_in_the_last_tier():
    assert tier_of((100, 2_500), 2_500) == 2


# --- arms


@given(subjects, shares, shares)
def test_whoever_was_in_stays_in_when_the_share_grows(subject: str, one: int, other: int):
    smaller, larger = sorted((one, other))
    if assign(flags(share=smaller), "guest", subject).arm == CANDIDATE:
        assert assign(flags(share=larger), "guest", subject).arm == CANDIDATE


@pytest.mark.parametrize("percent", [1, 2, 5, 10, 25, 50, 75])
def test_the_candidate_gets_its_share_of_subjects(percent: int):
    share = flags(share=percent * 100)
    taken = sum(assign(share, "guest", s).arm == CANDIDATE for s in SUBJECTS)
    expected = len(SUBJECTS) * percent / 100
    assert abs(taken - expected) < 4 * expected**0.5


@given(subjects)
def test_a_share_of_zero_takes_nobody_and_a_full_one_everybody(subject: str):
    assert assign(flags(share=0), "guest", subject).arm == CONTROL
    assert assign(flags(share=FULL), "guest", subject).arm == CANDIDATE


@given(subjects, shares)
def test_an_answer_in_the_share_says_so(subject: str, share: int):
    bucket = bucket_of("salt", subject)
    expected = ("candidate", "in_share") if bucket < share else ("control", "out_of_share")
    assert assign(flags(share=share), "guest", subject) == Assignment(*expected, bucket)


def test_disabled_goes_to_control_without_a_copy():
    assert assign(flags(enabled=False, shadow=True, mirror=FULL), "guest", "a") == Assignment(
        CONTROL, "disabled"
    )


def test_a_disabled_agent_goes_to_control_whatever_the_share():
    assert assign(flags(share=FULL), "research", "a") == Assignment(CONTROL, "agent_disabled")
    assert not assign(flags(shadow=True, mirror=FULL), "research", "a").mirror


def test_without_a_subject_only_a_full_share_reaches_the_candidate():
    assert assign(flags(share=FULL - 1), "guest", None) == Assignment(CONTROL, "no_subject")
    assert assign(flags(share=FULL), "guest", None) == Assignment(CANDIDATE, "full")


# --- shadow


@given(subjects, st.integers(0, FULL))
def test_in_shadow_control_always_answers(subject: str, share: int):
    found = assign(flags(shadow=True, share=share, mirror=FULL), "guest", subject)
    assert (found.arm, found.reason, found.mirror) == (CONTROL, "shadow", True)


def test_a_partial_mirror_is_drawn_independently_of_the_arms():
    shadow = flags(shadow=True, mirror=3_000)
    first = [s for s in SUBJECTS if bucket_of("salt", s) < 1_000]
    mirrored = sum(assign(shadow, "guest", s).mirror for s in first)
    assert mirrored == pytest.approx(0.3 * len(first), rel=0.15)


def test_requests_without_a_subject_are_mirrored_only_when_all_are():
    assert assign(flags(shadow=True, mirror=FULL), "guest", None).mirror
    assert not assign(flags(shadow=True, mirror=FULL - 1), "guest", None).mirror


# --- conversations


def _outside(share: int) -> str:
    return next(s for s in SUBJECTS if bucket_of("salt", s) >= share)


def _inside(share: int) -> str:
    return next(s for s in SUBJECTS if bucket_of("salt", s) < share)


def test_a_conversation_on_control_stays_there_when_its_subject_gets_in():
    fresh = assign(FLAGS, "guest", _inside(2_500))
    assert pinned(FLAGS, CONTROL, "guest", fresh) == Assignment(CONTROL, "pinned", fresh.bucket)


def test_a_conversation_on_the_candidate_survives_a_halving():
    fresh = assign(FLAGS, "guest", _outside(2_500))
    assert pinned(FLAGS, CANDIDATE, "guest", fresh) == Assignment(CANDIDATE, "pinned", fresh.bucket)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"enabled": False}, "disabled"),
        ({"shadow": True}, "shadow"),
        ({"share": 0}, "out_of_share"),
        ({"disabled_agents": ("guest",)}, "agent_disabled"),
    ],
)
def test_a_rollback_moves_every_conversation_at_once(changes: dict[str, object], reason: str):
    now = flags(**changes)
    fresh = assign(now, "guest", _inside(2_500))
    answer = pinned(now, CANDIDATE, "guest", fresh)
    assert (answer.arm, answer.reason) == (CONTROL, reason)


def test_a_pin_on_the_arm_that_was_drawn_changes_nothing():
    fresh = assign(FLAGS, "guest", _inside(2_500))
    assert pinned(FLAGS, CANDIDATE, "guest", fresh) == fresh


# --- several rollouts


def test_each_agent_is_decided_by_the_rollout_that_covers_it():
    other = flags(rollout="other", agents=("admin",), share=0)
    both = Flags(version=1, made_at=datetime(2026, 1, 1, tzinfo=UTC), rollouts=(FLAGS, other))
    assert rollout_for(both, "admin") is other
    assert explain(both, "guest", _inside(2_500)).reason == "in_share"
    assert explain(both, "admin", _inside(2_500)).reason == "out_of_share"
    assert explain(both, "stranger", "a") == Assignment(CONTROL, "no_rollout")


def test_every_reason_is_explained_where_people_look_it_up():
    page = Path(__file__).parents[2] / "docs" / "concepts.md"
    text = page.read_text(encoding="utf-8")
    assert not [reason for reason in get_args(Reason) if f"`{reason}`" not in text]
