"""Flags made ready for requests: per agent, everything a decision needs, computed once."""

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from molt.core.assignment import Arm, Reason, bucket_of, statistics_bucket_of, tier_of
from molt.core.evidence import LIVE, SHADOW, Mode, over
from molt.core.flags import Flags, RolloutFlags
from molt.core.policy import forbidden
from molt.gateway.pins import Conversation, Pins
from molt.link.tokens import claim
from molt.wire.exchange import Exchange

if TYPE_CHECKING:
    from molt.gateway.pairs import OpenPair

MOST_VERDICTS: Final = 1000
"""Sequences of calls whose verdict is kept per agent; making names up costs time, not memory."""


class Running:
    """What a gateway keeps of one rollout from one snapshot to the next.

    `in_flight` are the live exchanges that the candidate is working on; `last_candidate` is when
    the latest was handed to it, in unix seconds (0 for never).
    """

    __slots__ = ("in_flight", "last_candidate", "pins")

    def __init__(self, idle_seconds: float) -> None:
        self.pins = Pins(idle_seconds)
        self.in_flight: set[Exchange] = set()
        self.last_candidate = 0.0


class Route:
    """One agent under one snapshot. Observations are folded under the route that decided them."""

    __slots__ = (
        "_tiers", "_verdicts", "agent", "claims", "cuts", "epoch", "flags", "is_live", "limit",
        "limited", "names", "rollout", "running", "slot_seconds",
    )  # fmt: skip

    def __init__(self, flags: RolloutFlags, agent: str, running: Running) -> None:
        self.flags = flags
        self.agent = agent
        self.running = running
        self.rollout = flags.rollout
        self.epoch = flags.epoch
        self.names = {"rollout": flags.rollout, "epoch": flags.epoch, "agent": agent}
        self.limit = flags.limits.rate_limit_per_minute
        # What is switched off is left alone: then Molt only forwards.
        self.limited = flags.enabled and agent not in flags.disabled_agents
        self.is_live = self.limited and not flags.shadow and flags.share > 0
        self.slot_seconds = max(1, round(flags.slot_seconds))
        self._tiers = flags.tiers
        self.cuts = tuple((cut, over(cut)) for cut in sorted(flags.cuts))
        self.claims: dict[Mode, str] = {
            LIVE: claim(flags.rollout, agent, "candidate", LIVE),
            SHADOW: claim(flags.rollout, agent, "candidate", SHADOW),
        }
        self._verdicts: dict[tuple[str, ...], tuple[str, ...]] = {}

    def forbidden(self, tools: tuple[str, ...]) -> tuple[str, ...]:
        """Those of `tools` that this agent must not call, in order."""
        verdict = self._verdicts.get(tools)
        if verdict is None:
            verdict = forbidden(self.flags.tools, self.agent, tools)
            if len(self._verdicts) < MOST_VERDICTS:
                self._verdicts[tools] = verdict
        return verdict

    def tier(self, subject: str, bucket: int) -> int:
        """The tier of a subject; `bucket` is its bucket, or negative when it was not needed."""
        if bucket < 0:
            bucket = bucket_of(self.flags.salt, subject)
        return tier_of(self._tiers, bucket)

    def statistics_bucket(self, subject: str) -> int:
        """The subject's statistics bucket."""
        return statistics_bucket_of(self.flags.statistics_salt, subject)


class Decided(msgspec.Struct, eq=False):
    """What was decided for one request; the proxy carries it as the exchange's token.

    `assigned` is the arm by the hash alone; `arm` may differ from it by a pin. `begins` tells that
    a conversation begins, `said_all` that a stream came to its last event. `route` is None when no
    rollout covers the request. `pair` collects both answers, where they are to be compared; the
    reason `twin` is that of control's second copy.
    """

    route: Route | None
    arm: Arm
    reason: Reason | Literal["limited", "twin"]
    mode: Mode = LIVE
    assigned: Arm = "control"
    bucket: int = -1
    subject: str | None = None
    session: str | None = None
    run: str = ""
    trace: bytes = b""
    begins: bool = False
    conversation: Conversation | None = None
    said_all: bool = False
    pair: "OpenPair | None" = None


class Routes:
    """The routes of the snapshot in force, by agent. State that outlives snapshots is kept."""

    def __init__(self) -> None:
        self.running: dict[str, Running] = {}
        self.by_agent: dict[str, Route] = {}

    def apply(self, flags: Flags) -> None:
        """Decide by `flags` from now on."""
        for rollout in flags.rollouts:
            running = self.running.get(rollout.rollout)
            if running is None:
                self.running[rollout.rollout] = Running(rollout.pin_idle_seconds)
            else:
                running.pins.idle_after(rollout.pin_idle_seconds)
        gone = self.running.keys() - {rollout.rollout for rollout in flags.rollouts}
        for name in gone:
            if not self.running[name].in_flight:
                del self.running[name]
        # The first rollout that covers an agent counts, as in `rollout_for`.
        self.by_agent = {
            agent: Route(rollout, agent, self.running[rollout.rollout])
            for rollout in reversed(flags.rollouts)
            for agent in rollout.agents
        }
