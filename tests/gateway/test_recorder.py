"""Every exchange leaves one audit record, and one observation where a rollout covers it."""

from typing import Any

import pytest

from molt.gateway.observations import Pricing
from molt.gateway.recorder import FEW, Recorder
from molt.gateway.routes import Decided, Route, Running
from molt.wire.usage import Usage

from .world import FlatPrices, MemoryAudit, ended, exchange, hashed, rollout

ROUTE = Route(rollout(), "guest", Running(1800.0))
WALL, MONOTONIC = 1_800_000_000.0, 100.0
FORBIDDEN = Usage("m", 1, 1, ("approval_resolve",))


class World:
    """A recorder with its surroundings."""

    def __init__(self) -> None:
        self.audit = MemoryAudit()
        self.hurried = self.crowded = 0
        self.now = MONOTONIC
        self.recorder = Recorder(
            audit=self.audit,
            pricing=Pricing(FlatPrices()),
            hash_subject=hashed,
            hurry=self._hurry,
            crowd=self._crowd,
            wall=lambda: WALL + self.now - MONOTONIC,
            monotonic=lambda: self.now,
        )

    def _hurry(self) -> None:
        self.hurried += 1

    def _crowd(self) -> None:
        self.crowded += 1

    def record(self, decided: Decided | None, **end: Any) -> None:
        done = ended(exchange(target=b"/chat?secret=1"), **end)
        done.token = decided
        self.recorder.record(done)

    def folded(self) -> list[dict[str, Any]]:
        while not self.recorder.fold():
            pass
        self.audit.flush()
        return self.audit.records


@pytest.fixture
def world() -> World:
    return World()


def decided(arm: Any = "candidate", subject: str | None = "u1", **more: Any) -> Decided:
    return Decided(ROUTE, arm, "in_share", assigned=arm, subject=subject, bucket=7, **more)


def test_a_request_is_on_record_with_who_asked_as_a_hash(world: World):
    world.record(
        decided(session="s1", run="run7", trace=b"ab" * 16),
        usage=Usage("m", 10, 5, ("menu_search",), "measured"),
    )
    assert world.folded() == [
        {
            "at": "2027-01-15T08:00:00.500Z",
            "kind": "request",
            "rollout": "r",
            "epoch": 3,
            "agent": "guest",
            "run": "run7",
            "arm": "candidate",
            "mode": "live",
            "reason": "in_share",
            "subject": hashed("u1"),
            "session": hashed("s1"),
            "trace": "ab" * 16,
            "method": "POST",
            "path": "/chat",
            "status": 200,
            "latency_ms": 500.0,
            "tokens_in": 10,
            "tokens_out": 5,
            "tools": ("menu_search",),
            "cost": 15.0,
        }
    ]


def test_a_fall_back_is_on_record_with_its_cause(world: World):
    world.record(decided(), fell_back=True, failure="timeout", failed_at=100.2)
    (record,) = world.folded()
    assert (record["arm"], record["fallback"], record["status"]) == ("candidate", "timeout", 200)


def test_what_no_rollout_covers_is_on_record_and_nowhere_else(world: World):
    world.record(Decided(None, "control", "no_rollout"))
    world.record(None, status=400, outcome="bad_request")
    assert [r.get("reason") for r in world.folded()] == ["no_rollout", None]
    assert world.audit.records[1]["outcome"] == "bad_request"
    assert not world.recorder.has_evidence


def test_each_exchange_is_folded_once_however_small_the_slices(world: World):
    for _ in range(1000):
        world.record(decided())
        if not world.recorder.fold(seconds=-1.0):
            world.record(decided("control"))
    world.folded()
    evidence = world.recorder.take()
    assert sum(s.requests for s in evidence.slots) == len(world.audit.records)
    assert len(world.audit.records) >= 1000


def test_a_slice_ends_when_its_time_is_over(world: World):
    for _ in range(100):
        world.record(decided())
    assert not world.recorder.fold(seconds=-1.0)
    assert world.recorder.fold(seconds=10.0)


def test_folding_is_asked_for_when_a_few_exchanges_wait(world: World):
    for _ in range(FEW - 1):
        world.record(decided("control"))
    assert not world.crowded
    world.record(decided("control"))
    assert world.crowded == 1
    world.folded()
    world.record(decided("control"))
    assert world.crowded == 1


def test_an_exchange_that_cannot_be_folded_takes_no_other_with_it(world: World):
    world.record(decided(), usage=Usage("m", 1, 1))
    world.record(decided(), usage=Usage("!", 1, 1))
    world.record(decided(), usage=Usage("m", 1, 1))
    world.folded()
    evidence = world.recorder.take()
    assert evidence.slots[0].requests == 2
    assert evidence.lost == 1


def test_a_subject_is_reported_once_with_the_arm_of_its_hash(world: World):
    for _ in range(3):
        world.record(Decided(ROUTE, "control", "pinned", assigned="candidate", subject="u1"))
    world.record(decided("control", "u2"))
    world.folded()
    seen = [(s.subject, s.arm, s.epoch) for s in world.recorder.take().seen]
    assert seen == [(hashed("u1"), "candidate", 3), (hashed("u2"), "control", 3)]


def test_a_violation_names_run_and_tool_and_hurries(world: World):
    world.record(decided(run="run7"), usage=FORBIDDEN)
    assert world.hurried == 1
    world.folded()
    evidence = world.recorder.take()
    (violation,) = evidence.violations
    assert (violation.tool, violation.run, violation.source) == (
        "approval_resolve",
        "run7",
        "observed",
    )
    assert (violation.rollout, violation.agent, violation.mode) == ("r", "guest", "live")
    assert violation.at.timestamp() == WALL + 0.5
    assert evidence.slots[0].violations == 1


def test_a_violation_in_a_shadow_copy_counts_too(world: World):
    world.record(decided(mode="shadow"), usage=FORBIDDEN, mirror=True)
    world.folded()
    evidence = world.recorder.take()
    assert evidence.violations[0].mode == "shadow"
    assert evidence.seen == []  # the copy's subject was seen with its original


def test_controls_calls_are_nobodys_violation(world: World):
    world.record(decided("control"), usage=FORBIDDEN)
    world.folded()
    assert world.hurried == 0
    assert world.recorder.take().violations == []


def test_the_first_error_after_a_quiet_time_hurries_and_the_next_do_not(world: World):
    world.record(decided(), status=500)
    world.record(decided(), status=500, seconds=1.0)
    assert world.hurried == 1
    world.record(decided(), status=500, seconds=10.0)
    assert world.hurried == 2
    world.record(decided("control"), status=500, seconds=100.0)
    assert world.hurried == 2


def test_observations_belong_to_the_flags_they_were_decided_with(world: World):
    world.record(decided())
    later = Route(rollout(epoch=4), "guest", ROUTE.running)
    world.record(Decided(later, "candidate", "in_share", subject="u1"))
    world.folded()
    assert [s.key.epoch for s in world.recorder.take().slots] == [3, 4]


def test_versions_are_reported_until_taken(world: World):
    world.recorder.version_seen("r", "1")
    world.recorder.version_seen("r", "2")
    assert world.recorder.has_evidence
    assert world.recorder.take().versions == {"r": "2"}
    assert world.recorder.take().versions == {}
