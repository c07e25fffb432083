"""The generated evidence as raw arrays: what rules of any kind can be scored on.

A `Span` is what both arms did in consecutive slots; an `Interval` closes a stretch of them with
the sums per statistics bucket, the outcomes and the new subjects.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from molt.core.evidence import Mode

Ints = NDArray[np.int64]
Floats = NDArray[Any]


@dataclass(frozen=True)
class Regime:
    """How traffic is split: `share` and `mirror` in buckets of 10,000, as gateways have it."""

    epoch: int
    share: int
    mirror: int
    cuts: tuple[float, ...] = ()
    cost_cap: float | None = None

    @property
    def mode(self) -> Mode:
        """How the candidate is met: live, or in shadow."""
        return "shadow" if self.mirror and not self.share else "live"


@dataclass
class ArmSlots:
    """One arm's slots, aligned: requests, errors, requests over each latency that triggers look
    at, and outcomes whose time matters, by kind. `error_at` and `slow_at` list (slot, statistics
    bucket) of every single event."""

    requests: Ints
    errors: Ints
    error_at: tuple[Ints, Ints]
    slow: dict[float, Ints] = field(default_factory=dict)
    slow_at: dict[float, tuple[Ints, Ints]] = field(default_factory=dict)
    timed: dict[str, Ints] = field(default_factory=dict)


@dataclass
class Span:
    """Consecutive slots: `first` counts slots since 1970, `seconds` is the length of one."""

    first: int
    seconds: int
    candidate: ArmSlots
    control: ArmSlots

    def __len__(self) -> int:
        return len(self.candidate.requests)


@dataclass
class Interval:
    """Everything that happened from `start` to `end` under one regime.

    `sums` maps arm -> tier -> column -> amounts per statistics bucket. `latency` are histograms.
    `seen` counts new subjects per arm; `failed_orders` is how many orders the candidate lost that
    control would have had, in expectation; `spent` is in USD.
    """

    start: datetime
    end: datetime
    regime: Regime
    span: Span
    sums: dict[str, dict[int, dict[str, Floats]]]
    latency: dict[str, dict[int, int]]
    seen: dict[str, int]
    failed_orders: float = 0.0
    spent: float = 0.0
