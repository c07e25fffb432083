"""The snapshot that decides every request, and how it is derived.

A gateway holds one `Flags` value and nothing else; its `version` only grows. Operator flags are
bounds: the rollout moves inside them (enabled = both, percent = the smaller, shadow = either).
"""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple, TypeVar

import msgspec

from molt.core.policy import ToolPolicy

N = TypeVar("N", int, float)

FULL = 10_000
"""Buckets in all; one bucket is 0.01% of subjects."""


class Bounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the operator allows; None says nothing."""

    enabled: bool | None = None
    shadow_mode: bool | None = None
    traffic_percent: float | None = None
    agents: dict[str, bool] = {}
    max_tokens_per_request: int | None = None
    max_tool_calls_per_request: int | None = None
    rate_limit_per_minute: int | None = None

    @property
    def ceiling(self) -> float:
        """The largest share in percent that may be live: 0 when off or in shadow."""
        if self.enabled is False or self.shadow_mode is True:
            return 0.0
        return 100.0 if self.traffic_percent is None else self.traffic_percent

    def within(self, other: "Bounds") -> "Bounds":
        """The tighter of two bounds in every field."""
        return Bounds(
            enabled=_both(self.enabled, other.enabled),
            shadow_mode=_either(self.shadow_mode, other.shadow_mode),
            traffic_percent=_smaller(self.traffic_percent, other.traffic_percent),
            agents={
                name: self.agents.get(name, True) and other.agents.get(name, True)
                for name in self.agents.keys() | other.agents.keys()
            },
            max_tokens_per_request=_smaller(
                self.max_tokens_per_request, other.max_tokens_per_request
            ),
            max_tool_calls_per_request=_smaller(
                self.max_tool_calls_per_request, other.max_tool_calls_per_request
            ),
            rate_limit_per_minute=_smaller(self.rate_limit_per_minute, other.rate_limit_per_minute),
        )

    def holding_back(self, share: float, agents: Collection[str]) -> list["Held"]:
        """What of it keeps a step of `share` percent of these agents back; empty while nothing does."""
        if self.enabled is False:
            return [Held("MOLTBOT_ENABLED", "true", "the operator has switched it off")]
        if agents and all(self.agents.get(agent) is False for agent in agents):
            return [
                Held(f"MOLTBOT_{a.upper()}_ENABLED", "true", f"the operator has switched {a} off")
                for a in agents
            ]
        if self.ceiling >= share:
            return []
        if self.shadow_mode is True:
            return [Held("MOLTBOT_SHADOW_MODE", "false", "the operator keeps it in shadow")]
        allowed = f"the operator allows {self.ceiling:g}% of this step's {share:g}%"
        return [Held("MOLTBOT_TRAFFIC_PERCENT", "100", allowed)]


class Held(NamedTuple):
    """A flag that keeps a step back, the value that lifts it, and what it does in words."""

    flag: str
    lifted: str
    text: str


def _both(a: bool | None, b: bool | None) -> bool | None:
    return b if a is None else a if b is None else a and b


def _either(a: bool | None, b: bool | None) -> bool | None:
    return b if a is None else a if b is None else a or b


def _smaller(a: N | None, b: N | None) -> N | None:
    return b if a is None else a if b is None else min(a, b)


class Limits(msgspec.Struct, frozen=True):
    """Safety limits of one run and one subject."""

    max_tokens_per_request: int = 4000
    max_tool_calls_per_request: int = 10
    rate_limit_per_minute: int = 30


class Comparing(msgspec.Struct, frozen=True):
    """Which mirrored requests a gateway keeps both answers of. `sample` and `twice` count in
    ten-thousandths; `max_body` is bytes."""

    sample: int = FULL
    twice: int = 0
    twice_methods: tuple[str, ...] = ("GET", "HEAD")
    max_body: int = 16 * 1024


class RolloutFlags(msgspec.Struct, frozen=True):
    """How requests of one rollout's agents are decided.

    `share` counts buckets (0..10000). `tiers` are the plan's shares in rising order: a subject's
    tier is the first that includes it, which lets evidence compare the same people before and
    after they switched. `cuts` are latencies in milliseconds; observations slower than each are
    counted exactly. `cost_cap` bounds in USD what one request may weigh in cost evidence.
    """

    rollout: str
    epoch: int
    agents: tuple[str, ...]
    enabled: bool
    shadow: bool
    share: int
    mirror: int
    salt: str
    statistics_salt: str
    tiers: tuple[int, ...]
    cuts: tuple[float, ...]
    disabled_agents: tuple[str, ...] = ()
    limits: Limits = Limits()
    tools: dict[str, ToolPolicy] = {}
    pin_idle_seconds: float = 1800.0
    slot_seconds: float = 10.0
    cancel_in_flight: bool = False
    cost_cap: float | None = None
    comparing: Comparing | None = None


class Flags(msgspec.Struct, frozen=True):
    """One snapshot of all rollouts; a gateway applies it only if `version` is higher than its own.

    `limiter_epoch` grows when rate-limiter state must be cleared.
    """

    version: int
    made_at: datetime
    rollouts: tuple[RolloutFlags, ...] = ()
    limiter_epoch: int = 0
    ttl_seconds: float = 600.0


def bound(flags: RolloutFlags, bounds: Bounds) -> RolloutFlags:
    """`flags` moved inside what the operator allows.

    An agent that the plan leaves disabled is enabled by the operator's own flag for it.
    """
    share = flags.share
    if bounds.traffic_percent is not None:
        share = min(share, round(bounds.traffic_percent * FULL / 100))
    limits = Limits(
        max_tokens_per_request=_tightest(
            flags.limits.max_tokens_per_request, bounds.max_tokens_per_request
        ),
        max_tool_calls_per_request=_tightest(
            flags.limits.max_tool_calls_per_request, bounds.max_tool_calls_per_request
        ),
        rate_limit_per_minute=_tightest(
            flags.limits.rate_limit_per_minute, bounds.rate_limit_per_minute
        ),
    )
    return msgspec.structs.replace(
        flags,
        enabled=flags.enabled and bounds.enabled is not False,
        shadow=flags.shadow or bounds.shadow_mode is True,
        share=share,
        disabled_agents=tuple(
            a for a in flags.agents if not bounds.agents.get(a, a not in flags.disabled_agents)
        ),
        limits=limits,
    )


def _tightest(own: int, allowed: int | None) -> int:
    return own if allowed is None else min(own, allowed)
