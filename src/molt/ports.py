"""What Molt needs from the world, as protocols; `async` starts here.

Contract suites in `tests/contract/` hold every adapter to them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from molt.core.assignment import Arm
from molt.core.events import AnyEvent, Recorded
from molt.core.evidence import Batch, BucketSums, Call, Head, Outcome, Seen, Slot, Violation
from molt.core.flags import Bounds, Flags
from molt.core.pairs import Action, Outline, Pair, Verdict


class Clock(Protocol):
    """Wall time labels, monotonic time measures."""

    def now(self) -> datetime:
        """The present instant, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never step."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class EventStore(Protocol):
    """One append-only, hash-chained log per rollout."""

    async def rollouts(self) -> Sequence[str]:
        """The ids of all rollouts, oldest first."""
        ...

    async def load(self, rollout: str, after: int = 0) -> Sequence[Recorded]:
        """The records of one log with `seq > after`, in order; empty when there is none."""
        ...

    async def append(
        self, rollout: str, events: Sequence[AnyEvent], *, expected_version: int
    ) -> Sequence[Recorded]:
        """Add all `events` behind record `expected_version`, or raise `VersionConflict`, adding none.

        Raises `StoreUnavailable` when the store cannot be written.
        """
        ...


class EvidenceStore(Protocol):
    """Slots, bucket sums, outcomes and seen subjects; merging is addition."""

    async def ingest(self, batch: Batch) -> Sequence[Seen] | None:
        """Fold `batch` in, in one transaction; None when this (gateway, sequence) was known.

        Returns those of `batch.seen` that no gateway had reported before.
        """
        ...

    async def add_outcomes(
        self, rollout: str, outcomes: Sequence[Outcome], sums: Sequence[BucketSums]
    ) -> None:
        """Keep `outcomes` and fold the `sums` made from them, in one transaction.

        Does nothing when all ids are known; raises `VersionConflict`, adding nothing, when some are.
        """
        ...

    async def known_outcomes(self, rollout: str, ids: Sequence[str]) -> set[str]:
        """Which of `ids` have been kept already."""
        ...

    async def known_subjects(self, rollout: str, subjects: Sequence[str]) -> set[str]:
        """Which of these subject hashes have been seen."""
        ...

    async def slots(self, rollout: str, since: int = 0, until: int | None = None) -> Sequence[Slot]:
        """Slots of one rollout with `since <= start < until` (unix seconds), in order of start."""
        ...

    async def sums(self, rollout: str) -> Sequence[BucketSums]:
        """All bucket sums of one rollout."""
        ...

    async def new_subjects(self, rollout: str) -> Mapping[int, tuple[int, int]]:
        """Per epoch, how many subjects were first seen on (candidate, control)."""
        ...

    async def outcomes(
        self, rollout: str, since: datetime, kinds: Sequence[str] | None = None
    ) -> Sequence[Outcome]:
        """Outcomes of one rollout that happened at `since` or later, in order of time."""
        ...

    async def calls_of(self, run: str) -> Sequence[Call]:
        """What one run did through the egress, in order of time."""
        ...

    async def calls(
        self, rollout: str, since: datetime, until: datetime, at_most: int = 1000
    ) -> Sequence[Call]:
        """The calls of one rollout with `since <= at < until`, in order of time, the last `at_most`."""
        ...

    async def fold(self, now: datetime) -> None:
        """Merge slots older than a day to minutes, older than two weeks to hours."""
        ...


class PairStore(Protocol):
    """Pairs of answers from shadow, what control did beside them, and what was seen before."""

    async def add_pairs(self, pairs: Sequence[Pair]) -> None:
        """Keep `pairs`, still to be compared; those whose id is known stay as they are."""
        ...

    async def due_pairs(self, rollout: str, before: datetime, at_most: int) -> Sequence[Pair]:
        """Pairs from before that time that are still to be compared, the oldest first."""
        ...

    async def settle_pairs(self, pairs: Sequence[Pair], sums: Sequence[BucketSums]) -> None:
        """Keep `pairs` as they are now, compared, and fold `sums`, in one transaction.

        Pairs that have been forgotten meanwhile stay forgotten.
        """
        ...

    async def outlines(self, rollout: str) -> Sequence[Outline]:
        """All pairs kept of a rollout, in brief, the newest first."""
        ...

    async def pairs(self, rollout: str, ids: Sequence[str]) -> Sequence[Pair]:
        """Those of `ids` that are kept, in the order of `ids`."""
        ...

    async def add_actions(self, rollout: str, actions: Sequence[Action]) -> int:
        """Keep actions, each once; how many were new. The pairs that they may belong to are due again."""
        ...

    async def actions_of(self, pairs: Sequence[Pair]) -> Sequence[Action]:
        """The actions that may belong to one of `pairs`, all of one rollout, in order; see `Pair.owns`."""
        ...

    async def forget_pairs(self, rollout: str, before: datetime, keep: int) -> None:
        """Drop pairs and actions from before that time, and all but the newest `keep` pairs."""
        ...

    async def sight(self, rollout: str, names: Sequence[str], at: datetime) -> Sequence[str]:
        """Note that `names` were seen; those that never had been."""
        ...


class Portion(msgspec.Struct):
    """Evidence of one rollout as it was taken in. `timed` are (time, kind, arm, epoch) of outcomes
    whose times rules look at."""

    slots: list[Slot] = []
    sums: list[BucketSums] = []
    seen: list[Seen] = []
    violations: list[Violation] = []
    timed: list[tuple[datetime, str, Arm, int]] = []

    def add(self, other: "Portion") -> None:
        """Add what was taken in afterwards, in its order."""
        for name in self.__struct_fields__:
            setattr(self, name, [*getattr(self, name), *getattr(other, name)])


class Frame(msgspec.Struct):
    """What was taken in since the frame before, when the log stood at `version`; then, if `looked`,
    it was decided at `at`, and `decided` events came of it. `restarted` says that evidence before it may be missing."""

    at: datetime
    version: int
    portion: Portion
    looked: bool = True
    decided: int = 0
    restarted: bool = False


class Journal(Protocol):
    """Where frames go, so that decisions can be made again."""

    def write(self, rollout: str, frame: Frame) -> None:
        """Append one frame; raises `OSError` when it cannot be kept."""
        ...


class Judge(Protocol):
    """Gives an opinion of a pair of answers."""

    async def judge(self, pair: Pair) -> Verdict:
        """What it says; raises a `MoltError` when it says nothing usable."""
        ...


class SettingStore(Protocol):
    """Small values by name."""

    async def setting(self, key: str) -> str | None:
        """The value; None when it was never set."""
        ...

    async def set_setting(self, key: str, value: str) -> None:
        """Keep a value, replacing the one before."""
        ...


class FlagStore(Protocol):
    """The flags snapshot with a version that only grows."""

    async def load_flags(self) -> Flags | None:
        """The last snapshot published."""
        ...

    async def save_flags(self, flags: Flags) -> None:
        """Keep `flags`, or raise `VersionConflict` unless its version is higher than the kept one."""
        ...


class HeadStore(Protocol):
    """Heads of audit chains, kept apart from the chains."""

    async def save_heads(self, heads: Sequence[Head]) -> None:
        """Keep each head that is further than the kept one."""
        ...

    async def heads(self) -> Mapping[str, Head]:
        """The kept heads by writer."""
        ...


class FlagSink(Protocol):
    """Where a new snapshot goes: the gateways."""

    async def publish(self, flags: Flags) -> None:
        """Hand `flags` to every connected gateway, without waiting for them."""
        ...

    def applied(self) -> Mapping[str, "Applied"]:
        """What each gateway that was heard of lately acts on."""
        ...


class Applied(msgspec.Struct, frozen=True):
    """What one gateway last reported."""

    gateway: str
    version: int
    limiter_epoch: int
    heard_at: datetime
    last_candidate: dict[str, datetime] = {}
    in_flight: int = 0


class BoundsSource(Protocol):
    """The operator's flags file."""

    @property
    def place(self) -> str:
        """Where people find it."""
        ...

    def read(self) -> Bounds:
        """The bounds as they stand; raises `OperatorError` when malformed."""
        ...

    def set(self, key: str, value: str) -> None:
        """Write one flag, leaving everything else in the file as it was."""
        ...


class AuditSink(Protocol):
    """A writer of one audit chain."""

    def append(self, record: Mapping[str, object]) -> None:
        """Queue one record; O(1)."""
        ...

    def flush(self) -> None:
        """Write what is queued; raises `OSError` when it cannot be kept."""
        ...

    def head(self) -> Head:
        """The last record written."""
        ...


class Notice(msgspec.Struct, frozen=True):
    """What a person must hear of. `key` groups notices about the same thing; `about` is the section
    of the runbook."""

    severity: Literal["info", "warning", "critical"]
    title: str
    body: str
    key: str
    link: str | None = None
    about: str = ""
    page: str = ""
    """The page of the console that it is about, such as `incidents/ID`."""
    rollout: str = ""
    """Whose plan's runbook has the section."""


class Delivery(msgspec.Struct, frozen=True):
    """Whether a notice got through, to whom, or why not; without attempts there was nobody to tell."""

    delivered: bool
    detail: str
    attempts: int = 1


class Alert(msgspec.Struct, frozen=True):
    """Notices about one thing, as one: the latest of them, how often, and who is on it.

    `state` is `new`, `sent`, `undelivered` (tried again at `next_try`), `held` by quiet hours, or
    `logged` where no target is configured.
    """

    id: str
    key: str
    severity: Literal["info", "warning", "critical"]
    title: str
    body: str
    first_at: datetime
    last_at: datetime
    about: str = ""
    count: int = 1
    state: Literal["new", "sent", "undelivered", "held", "logged"] = "new"
    detail: str = ""
    attempts: int = 0
    rounds: int = 0
    next_try: datetime | None = None
    acked_by: str = ""
    acked_at: datetime | None = None
    ack_note: str = ""
    page: str = ""
    rollout: str = ""


class Notifier(Protocol):
    """The way to on-call."""

    async def notify(self, notice: Notice) -> Delivery:
        """Deliver with retries; never raises."""
        ...


class Prices(Protocol):
    """What a model use costs."""

    def cost(self, model: str | None, input_tokens: int, output_tokens: int) -> float | None:
        """USD, or None when the price is unknown: unknown is never zero."""
        ...
