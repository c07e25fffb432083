"""What was measured, in forms that merge by addition.

A **slot** is a short stretch of time (10 s by default) x rollout x epoch x agent x arm x mode:
counts, cost, a latency histogram. **Bucket sums** are per epoch, tier, agent, arm, mode and
statistics bucket: the sums that A/B figures need. An **epoch** numbers the strata of a rollout: it
grows whenever the share or the candidate changes. Neither grows with the number of requests or
users, and both merge across gateways in any order.
"""

from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec

from molt.core.assignment import Arm

K = TypeVar("K", int, str)

Mode = Literal["live", "shadow"]
LIVE: Final = "live"
SHADOW: Final = "shadow"

REQUESTS: Final = "requests"
ERRORS: Final = "errors"
CONVERSATIONS: Final = "conversations"
COST: Final = "cost"
COST_CAPPED: Final = "cost_capped"
PRICED: Final = "priced"
"""Columns of bucket sums that gateways fill; `over(cut)` are further ones, and every outcome kind
is a column too (its count; `value(kind)` is the sum of its values)."""

GATEWAY_COLUMNS: Final = frozenset({REQUESTS, ERRORS, CONVERSATIONS, COST, COST_CAPPED, PRICED})


def over(cut_ms: float) -> str:
    """The column or tally of requests slower than `cut_ms` milliseconds."""
    return f"over:{cut_ms:g}"


def value(kind: str) -> str:
    """The column that sums the values of outcomes of `kind`."""
    return f"{kind}.value"


class Tally(msgspec.Struct, gc=False):
    """A count of events, and which of the 256 statistics buckets they came from.

    `buckets` is a 32-byte little-endian bitmap; its population count is a lower bound of the
    number of distinct subjects. Events without a subject set no bit.
    """

    count: int = 0
    buckets: bytes = bytes(32)

    def merged(self, other: "Tally") -> "Tally":
        """Both tallies together."""
        bits = int.from_bytes(self.buckets, "little") | int.from_bytes(other.buckets, "little")
        return Tally(self.count + other.count, bits.to_bytes(32, "little"))


class Spent(NamedTuple):
    """What requests cost in USD, told twice: `cost` by the usage that the answers of `priced` of
    them tell, `metered` by the model calls that the egress counted for all `requests`.

    The higher one counts: an agent may tell less than it used, or use models behind Molt's back.
    """

    cost: float = 0.0
    priced: int = 0
    metered: float = 0.0
    requests: int = 0

    @property
    def total(self) -> float:
        """At least this was spent."""
        return max(self.cost, self.metered)

    @property
    def told(self) -> float | None:
        """USD a request, by what answers tell; None where they do not."""
        return self.cost / self.priced if self.priced else None

    @property
    def each(self) -> float | None:
        """USD a request; None where it is not known."""
        return max((rate for rate, _ in self._rates()), default=None)

    @property
    def per_1000(self) -> float | None:
        """USD for 1,000 requests; None where it is not known."""
        return None if self.each is None else 1000 * self.each

    @property
    def known_of(self) -> int:
        """How many requests `each` is the mean of."""
        return max(self._rates(), default=(0.0, 0))[1]

    def _rates(self) -> list[tuple[float, int]]:
        told = [(self.cost / self.priced, self.priced)] if self.priced else []
        counted = self.metered and self.requests
        return [*told, (self.metered / self.requests, self.requests)] if counted else told


class SlotKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """Where a slot belongs. `start` is unix seconds, a multiple of the slot length."""

    rollout: str
    epoch: int
    agent: str
    arm: Arm
    mode: Mode
    start: int


class Slot(msgspec.Struct, gc=False):
    """What happened in one slot.

    `errors` are answers with 4xx or 5xx and failures without an answer; requests refused by the
    limiter (`limited`) and those the client gave up (`aborted`) are counted apart and are not in
    `requests`. `fallbacks` were answered by control after the candidate failed. `statuses` counts
    by class, "0" for no answer. `latency` maps log-histogram index to count. Cost is in USD,
    as the answers of `priced` requests tell their usage; `metered` is what the egress counted.
    """

    key: SlotKey
    requests: int = 0
    errors: Tally = msgspec.field(default_factory=Tally)
    over: dict[str, Tally] = {}
    statuses: dict[str, int] = {}
    limited: int = 0
    aborted: int = 0
    fallbacks: int = 0
    mirrors_dropped: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    priced: int = 0
    metered: float = 0.0
    tool_calls: int = 0
    violations: int = 0
    latency: dict[int, int] = {}

    @property
    def spent(self) -> Spent:
        """What its requests cost."""
        return Spent(self.cost, self.priced, self.metered, self.requests)

    def merge(self, other: "Slot") -> None:
        """Add `other`, which must have the same key."""
        self.errors = self.errors.merged(other.errors)
        for name, tally in other.over.items():
            self.over[name] = self.over.get(name, Tally()).merged(tally)
        add_counts(self.statuses, other.statuses)
        add_counts(self.latency, other.latency)
        for name in _ADDITIVE:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_ADDITIVE: Final = (
    "requests", "limited", "aborted", "fallbacks", "mirrors_dropped", "tokens_in", "tokens_out",
    "cost", "priced", "metered", "tool_calls", "violations",
)  # fmt: skip


def add_counts(into: dict[K, int], other: dict[K, int]) -> None:
    """Add the counts of `other` to `into`, key by key."""
    for key, count in other.items():
        into[key] = into.get(key, 0) + count


class SumsKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """Where bucket sums belong. `tier` is the subject's tier in the plan (see `assignment`)."""

    rollout: str
    epoch: int
    tier: int
    agent: str
    arm: Arm
    mode: Mode


class BucketSums(msgspec.Struct, gc=False):
    """Per column, statistics bucket -> sum. Requests without a subject are not in here."""

    key: SumsKey
    columns: dict[str, dict[int, float]]

    def add(self, column: str, bucket: int, amount: float = 1.0) -> None:
        """Add `amount` to one column of one bucket."""
        sums = self.columns.setdefault(column, {})
        sums[bucket] = sums.get(bucket, 0.0) + amount


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """A subject that this gateway saw for the first time: for sample ratios and unknown subjects.

    `subject` is the keyed hash, never the id.
    """

    rollout: str
    epoch: int
    arm: Arm
    subject: str


class Violation(msgspec.Struct, frozen=True):
    """A forbidden tool call or model use, seen by Molt or reported by the user's systems."""

    rollout: str
    at: datetime
    agent: str
    tool: str
    source: Literal["observed", "reported", "enforced"]
    arm: Arm = "candidate"
    mode: Mode = LIVE
    run: str | None = None
    subject: str | None = None
    arguments: str | None = None
    detail: str | None = None


Disposition = Literal["executed", "read", "would_execute", "denied"]


class Call(msgspec.Struct, frozen=True):
    """One call of a model or a tool that went through the egress, and what became of it.

    `name` is the model or the tool; `via` the upstream or server behind it. `disposition` says
    what was done: a write was `executed`, a tool or model was `read` (nothing changed by it), a
    dry run `would_execute`, or the call was `denied` (`reason` says why). `arguments` is JSON text,
    redacted and bounded. `status` is the upstream's, 0 where it was not asked, or was asked and its
    answer not waited for. Tokens and cost are None where they are unknown.
    """

    id: str
    at: datetime
    kind: Literal["model", "tool"]
    name: str
    disposition: Disposition
    rollout: str | None = None
    run: str | None = None
    agent: str | None = None
    mode: Mode | None = None
    subject: str | None = None
    via: str | None = None
    arguments: str | None = None
    reason: str | None = None
    status: int = 0
    latency_ms: float = 0.0
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost: float | None = None
    model: str | None = None
    trace: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """A business fact about a subject, reported by the user's systems; `id` makes it idempotent.

    `bucket` is the subject's bucket, filled in when the outcome is taken in, since the subject id
    is kept only as a keyed hash.
    """

    id: str
    subject: str
    kind: str
    at: datetime
    value: float | None = None
    agent: str | None = None
    bucket: int | None = None


class Head(msgspec.Struct, frozen=True):
    """How far a writer's audit chain has come: its last record's number and hash (hex)."""

    writer: str
    seq: int
    hash: str


class Start(msgspec.Struct, frozen=True):
    """Where a writer's audit chain begins since retention removed what stood before.

    The first kept record: its segment, its number, the hash (hex) that it stands behind, its time;
    and when the earlier ones were removed. Times are RFC 3339.
    """

    writer: str
    segment: int
    seq: int
    previous: str
    at: str
    removed_at: str

    def __str__(self) -> str:
        return (
            f"writer {self.writer}: kept from record {self.seq}, of {self.at}; earlier ones were "
            f"removed by retention at {self.removed_at}"
        )


class Batch(msgspec.Struct):
    """What a gateway tells control, numbered so that a repeated batch counts once.

    `versions` are candidate versions seen since the last batch, per rollout. `last_candidate` is
    when the latest live request was handed to the candidate, per rollout. `applied` and
    `limiter_epoch` say which flags this gateway acts on: that is how a rollback is read back.
    `lost` counts observations dropped because control was away too long. `calls` are what runs did
    through the egress. `requests` are the audit records of a few of the `offered` requests, for
    people who watch; nothing decides on them.
    """

    gateway: str
    sequence: int
    sent_at: datetime
    applied: int
    limiter_epoch: int = 0
    slots: list[Slot] = []
    sums: list[BucketSums] = []
    seen: list[Seen] = []
    violations: list[Violation] = []
    versions: dict[str, str] = {}
    last_candidate: dict[str, datetime] = {}
    head: Head | None = None
    in_flight: int = 0
    lost: int = 0
    calls: list[Call] = []
    requests: list[dict[str, Any]] = []
    offered: int = 0
