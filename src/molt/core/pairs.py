"""A pair: what control answered to one mirrored request, and what the candidate answered.

`RawPair` is what a gateway hands over and nobody keeps. A `Pair` is what is kept: read, redacted,
bounded, and compared.
"""

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

PAIRS: Final = "pairs:"
"""Prefix of the columns of bucket sums that count compared pairs; what follows is the sorted kinds
of their differences, joined by `+`. That way the counts stay right when a kind is accepted later."""

DROPPED: Final = "pairs_dropped"
"""The column of pairs that were not kept, because too many came at once."""

TWINS: Final = "twins"
"""The column of pairs whose request went to control twice."""

TWIN: Final = "twin:"
TWINNED: Final = "twinned:"
"""Prefixes of columns by field: how often control differed from itself, and how often the candidate
differed from control in the same pairs."""


ACTION_GRACE: Final = timedelta(seconds=2)
"""How long after its answer an action of control still belongs to a pair, when only its subject
says so; and how far the clock of a reporting system may be behind."""

REOPENS: Final = timedelta(minutes=5)
"""How far back an action that names its subject looks for its pair."""


ACTED: Final = "acted:"
"""Prefix of the columns that count actions, in the order of `Tally`."""


class RawSide(msgspec.Struct, array_like=True):
    """One answer as it passed. `outcome` is the proxy's; `cut` says that the body is not all."""

    status: int
    outcome: str
    latency_ms: float
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost: float | None = None
    content_type: str = ""
    encoding: str = ""
    body: bytes = b""
    cut: bool = False


class RawPair(msgspec.Struct, array_like=True):
    """One mirrored request. `id` is its run, `at` when it came, `bucket` its statistics bucket.

    `who` are the ids of subject and session, by those names, so that they can be taken out of the
    bodies; `subject` is the keyed hash.
    """

    id: str
    rollout: str
    epoch: int
    agent: str
    at: datetime
    subject: str | None
    bucket: int
    trace: str
    method: str
    path: str
    request_type: str
    request: bytes | None
    control: RawSide
    candidate: RawSide
    twin: RawSide | None = None
    who: dict[str, str] = {}


class RawPairs(msgspec.Struct, array_like=True):
    """What a gateway sends at once; `dropped` are pairs that it did not keep, by rollout and epoch."""

    gateway: str
    pairs: list[RawPair] = []
    dropped: list[tuple[str, int, str, int]] = []
    """(rollout, epoch, agent, how many)"""


class Call(msgspec.Struct, frozen=True):
    """A tool and what it was called with."""

    tool: str
    arguments: dict[str, Any] = {}


class Side(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer as it is kept. `mark` says why nothing could be read of the body.

    `calls` is None where nothing is known about them.
    """

    status: int
    outcome: str = "ok"
    latency_ms: float = 0.0
    tokens: int | None = None
    cost: float | None = None
    text: str | None = None
    data: Any = None
    calls: tuple[Call, ...] | None = None
    mark: str = ""

    @property
    def answered(self) -> bool:
        """Whether a whole answer came."""
        return self.outcome == "ok" and self.status > 0


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """One way in which the two answers differ. `kind` is a family, for calls with the tool behind a
    colon (`call_missing:place_order`). `size` is 0 to 1."""

    kind: str
    text: str
    control: Any = None
    candidate: Any = None
    paths: tuple[str, ...] = ()
    size: float = 1.0


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """Actions of one pair: what control did, what the candidate would have done, how many of these
    are the same tool, and how many of those have equal arguments."""

    control: int = 0
    candidate: int = 0
    matched: int = 0
    equal: int = 0


class Verdict(msgspec.Struct, frozen=True):
    """What a judge said of a pair: evidence beside the comparison, never the comparison itself."""

    score: float
    reason: str
    model: str
    at: datetime
    cost: float | None = None


class Action(msgspec.Struct, frozen=True):
    """Something that control did, reported by your systems. `id` makes it idempotent.

    It belongs to the pair of the same `trace`, else to the one whose `subject` was being served
    `at` that time.
    """

    id: str
    at: datetime
    tool: str
    arguments: dict[str, Any] = {}
    trace: str | None = None
    subject: str | None = None


class Pair(msgspec.Struct, frozen=True, omit_defaults=True):
    """One mirrored request, as it is kept. `differences` is None until it has been compared.

    `noise` names fields that differ here, and no more than control differs from itself. `counted` is
    the column of bucket sums that it was counted in; `acted` is None where calls are not known.
    """

    id: str
    rollout: str
    epoch: int
    agent: str
    at: datetime
    bucket: int
    subject: str | None = None
    trace: str = ""
    method: str = "POST"
    path: str = "/"
    request: Any = None
    control: Side = Side(0)
    candidate: Side = Side(0)
    twin: Side | None = None
    differences: tuple[Difference, ...] | None = None
    noise: tuple[str, ...] = ()
    judged: Verdict | None = None
    counted: str = ""
    acted: Tally | None = None

    @property
    def action_window(self) -> tuple[datetime, datetime]:
        """From when to when an action of its subject belongs to it."""
        worked = timedelta(milliseconds=self.control.latency_ms)
        return self.at - ACTION_GRACE, self.at + worked + ACTION_GRACE

    def owns(self, action: Action) -> bool:
        """Whether control did this in the request of this pair.

        By its trace; without one, by its subject while control was at work, and a little around it.
        """
        if action.trace is not None:
            return action.trace == self.trace
        since, until = self.action_window
        return (
            action.subject is not None
            and action.subject == self.subject
            and since <= action.at <= until
        )

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of its differences."""
        return frozenset(d.kind for d in self.differences or ())


class Outline(msgspec.Struct, frozen=True):
    """What lists and summaries need of a pair. `score` is how far apart the answers are."""

    id: str
    agent: str
    at: datetime
    kinds: tuple[str, ...] | None
    score: float
