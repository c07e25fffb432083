"""One rollout at work: its state, its plan, its evidence, its log."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from molt.core.assignment import Arm, bucket_of, statistics_bucket_of, tier_of
from molt.core.book import Book
from molt.core.events import AnyEvent, Recorded
from molt.core.evidence import (
    LIVE,
    BucketSums,
    Outcome,
    SumsKey,
    value,
)
from molt.core.evolve import evolve, replay
from molt.core.playbook import Playbook
from molt.core.rollout import Rollout, arm_at
from molt.core.scene import Scene
from molt.ports import EventStore, EvidenceStore, Portion

LATE = timedelta(days=7)
"""Outcomes older than this are refused."""


class Desk:
    """What the controller holds of one rollout; the event log alone can rebuild `rollout`."""

    def __init__(self, rollout: Rollout, records: Sequence[Recorded]) -> None:
        self.rollout = rollout
        self.playbook = Playbook.model_validate_json(rollout.playbook)
        self._timed = self.playbook.timed_outcomes()
        self.book = Book(self.playbook.timing.slot.total_seconds(), self._timed)
        self.records = list(records)
        self.quiet_until: datetime | None = None
        self.last_version_seen: dict[str, datetime] = {}
        self.untold: list[Portion] | None = None

    @classmethod
    async def load(
        cls, rollout_id: str, events: EventStore, evidence: EvidenceStore, now: datetime
    ) -> "Desk":
        """The desk as its stores have it."""
        records = await events.load(rollout_id)
        desk = cls(replay(r.event for r in records), records)
        for slot in await evidence.slots(rollout_id):
            desk.book.add_slot(slot)
        for sums in await evidence.sums(rollout_id):
            desk.book.add_sums(sums)
        for epoch, (candidate, control) in (await evidence.new_subjects(rollout_id)).items():
            desk.book.new_subjects[epoch] = [candidate, control]
        since = now - max(desk._timed.values(), default=timedelta(0))
        timed = await evidence.outcomes(rollout_id, since, list(desk._timed))
        desk.book.add_outcomes([(o, *desk.arm_of(o)) for o in timed])
        desk.book.forget(now)
        return desk

    @property
    def id(self) -> str:
        """The rollout's id."""
        return self.rollout.id

    def scene(self, now: datetime) -> Scene:
        """What a decision gets."""
        return Scene(self.rollout, self.playbook, self.book, now)

    def take(self, portion: Portion) -> None:
        """Take evidence in; where a journal is kept, it is told with the next look."""
        for slot in portion.slots:
            self.book.add_slot(slot)
        for sums in portion.sums:
            self.book.add_sums(sums)
        self.book.add_seen(portion.seen)
        if portion.violations:
            self.book.add_violations(portion.violations)
        self.book.add_times(portion.timed)
        if self.untold is not None:
            self.untold.append(portion)

    def apply(self, records: Sequence[Recorded]) -> None:
        """Take in records that were appended."""
        for record in records:
            self.rollout = evolve(self.rollout, record.event)
            self.records.append(record)

    def arm_of(self, outcome: Outcome) -> tuple[Arm, int]:
        """The (arm, epoch) that the outcome's subject was assigned to when it happened."""
        bucket = outcome.bucket
        if bucket is None:
            bucket = bucket_of(self.rollout.salt, outcome.subject)
        return arm_at(self.rollout, bucket, outcome.at)

    def sums_of(self, outcomes: Sequence[Outcome]) -> list[BucketSums]:
        """Bucket sums of outcomes: a count, and the sum of values, per kind."""
        by_key: dict[SumsKey, BucketSums] = {}
        for outcome in outcomes:
            arm, epoch = self.arm_of(outcome)
            tier = tier_of(self.playbook.tiers(), bucket_of(self.rollout.salt, outcome.subject))
            key = SumsKey(self.id, epoch, tier, outcome.agent or "", arm, LIVE)
            sums = by_key.setdefault(key, BucketSums(key, {}))
            bucket = statistics_bucket_of(self.rollout.statistics_salt, outcome.subject)
            sums.add(outcome.kind, bucket)
            if outcome.value is not None:
                sums.add(value(outcome.kind), bucket, outcome.value)
        return list(by_key.values())

    def events(self) -> list[AnyEvent]:
        """All facts of this rollout, in order."""
        return [record.event for record in self.records]
