"""Subject -> bucket -> arm, and why.

A subject's bucket is `xxh3_64(salt + 0x1f + subject) mod 10000`; it goes to the candidate while its
bucket is below the share. The salt belongs to the rollout and survives abort and restart, so
whoever was in at 1% is in at 5%. A second hash with an independent salt gives the statistics
bucket.
"""

from bisect import bisect_right
from typing import Final, Literal

import msgspec
from xxhash import xxh3_64_intdigest

from molt.core.flags import FULL, Flags, RolloutFlags

Arm = Literal["control", "candidate"]
CONTROL: Final = "control"
CANDIDATE: Final = "candidate"

STATISTICS_BUCKETS: Final = 256

Reason = Literal[
    "no_flags",
    "stale_flags",
    "audit_failed",
    "no_rollout",
    "disabled",
    "agent_disabled",
    "no_subject",
    "shadow",
    "in_share",
    "out_of_share",
    "pinned",
    "full",
]


def bucket_of(salt: str, subject: str) -> int:
    """The bucket of `subject`, 0..9999."""
    return xxh3_64_intdigest(f"{salt}\x1f{subject}".encode()) % FULL


def statistics_bucket_of(salt: str, subject: str) -> int:
    """The statistics bucket of `subject`, 0..255, independent of its assignment."""
    return xxh3_64_intdigest(f"{salt}\x1f{subject}".encode()) % STATISTICS_BUCKETS


def tier_of(tiers: tuple[int, ...], bucket: int) -> int:
    """The index of the first share in `tiers` that includes `bucket`; `len(tiers)` if none does."""
    return bisect_right(tiers, bucket)


class Assignment(msgspec.Struct, frozen=True, gc=False):
    """Which arm answers, why, and whether the candidate gets a shadow copy."""

    arm: Arm
    reason: Reason
    bucket: int = -1
    mirror: bool = False


_NO_ROLLOUT: Final = Assignment(CONTROL, "no_rollout")
_DISABLED: Final = Assignment(CONTROL, "disabled")
_AGENT_DISABLED: Final = Assignment(CONTROL, "agent_disabled")
_NO_SUBJECT: Final = Assignment(CONTROL, "no_subject")


def assign(flags: RolloutFlags, agent: str, subject: str | None) -> Assignment:
    """Decide one request of `agent`. Everything doubtful goes to control.

    Without a subject there is nothing to randomise: control, unless the share is 100%.
    """
    if not flags.enabled:
        return _DISABLED
    if agent in flags.disabled_agents:
        return _AGENT_DISABLED
    if flags.shadow:
        return _in_shadow(flags, subject)
    if subject is None:
        return Assignment(CANDIDATE, "full") if flags.share >= FULL else _NO_SUBJECT
    bucket = xxh3_64_intdigest(f"{flags.salt}\x1f{subject}".encode()) % FULL
    if bucket < flags.share:
        return Assignment(CANDIDATE, "in_share", bucket)
    return Assignment(CONTROL, "out_of_share", bucket)


def _in_shadow(flags: RolloutFlags, subject: str | None) -> Assignment:
    """Control answers; the copy goes out by the independent hash, so a partial mirror is unbiased."""
    if subject is None:
        return Assignment(CONTROL, "shadow", mirror=flags.mirror >= FULL)
    bucket = bucket_of(flags.salt, subject)
    mirrored = bucket_of(flags.statistics_salt, subject) < flags.mirror
    return Assignment(CONTROL, "shadow", bucket, mirrored)


_UNWATCHED: Final = frozenset({"no_flags", "stale_flags", "audit_failed"})


def pinned(flags: RolloutFlags, arm: Arm, agent: str, fresh: Assignment) -> Assignment:
    """Keep a conversation on the arm where it began, as long as that arm may still answer.

    A rollback, a disabled agent, or a return to shadow moves everybody at once, and so does an agent
    that nobody watches or whose actions cannot be kept on record.
    """
    if arm == fresh.arm or fresh.reason in _UNWATCHED:
        return fresh
    if arm == CONTROL:
        return Assignment(CONTROL, "pinned", fresh.bucket)
    live = flags.enabled and not flags.shadow and flags.share > 0
    if live and agent not in flags.disabled_agents:
        return Assignment(CANDIDATE, "pinned", fresh.bucket)
    return fresh


def rollout_for(flags: Flags, agent: str) -> RolloutFlags | None:
    """The rollout that covers `agent`; rollouts side by side cover disjoint sets."""
    return next((r for r in flags.rollouts if agent in r.agents), None)


def explain(flags: Flags, agent: str, subject: str | None) -> Assignment:
    """Decide one request from a whole snapshot, as a gateway without pins would."""
    rollout = rollout_for(flags, agent)
    return _NO_ROLLOUT if rollout is None else assign(rollout, agent, subject)
