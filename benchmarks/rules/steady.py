"""Rules that ask whether something stayed the same: engagement, the median latency, rare events.

One step at a share, looked at hourly for seven days; a world says what the agent really does.
"""

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from molt.core.stats import equivalence, exposure, latency, ratio

Floats = NDArray[np.float64]
BUCKETS: Final = 256
HOURS: Final = 7 * 24
SPREAD: Final = 0.45
"""Of log latency."""


class World(NamedTuple):
    """`change` is the factor on the figure; the share is the candidate's."""

    what: str
    change: float
    share: float
    users: int = 20_000
    per_day: float = 2.0


class Fate(NamedTuple):
    """When the rule passed and when it failed first, in hours; infinity: never within a week."""

    passed: float
    failed: float


def _busy(hour: int) -> float:
    weekend = 0.6 if (hour // 24) % 7 >= 5 else 1.0
    return weekend * (1 + 0.6 * math.sin(2 * math.pi * (hour % 24 - 13) / 24)) / 24


def _people(rng: np.random.Generator, world: World) -> tuple[Floats, Floats]:
    """How active the users of each arm and bucket are together (two rows)."""
    shares = np.array([world.share, 1 - world.share])[:, None] * np.ones(BUCKETS) / BUCKETS
    users = rng.multinomial(world.users, shares.ravel()).reshape(2, BUCKETS)
    return rng.gamma(0.7 * np.maximum(users, 1e-9)) / 0.7 * (users > 0), users


def _watch(judge: Callable[[int], tuple[bool, bool]]) -> Fate:
    passed = failed = math.inf
    for hour in range(HOURS):
        good, bad = judge(hour)
        passed = min(passed, hour + 1) if good else passed
        failed = min(failed, hour + 1) if bad else failed
    return Fate(passed, failed)


def engagement(world: World, rng: np.random.Generator) -> Fate:
    """Requests a conversation, each user with a habit of its own; equivalence within 10%."""
    active, users = _people(rng, world)
    # Conversations hold 1 + Poisson(1.4) requests on average, by a habit shared per user.
    habit = rng.gamma(4 * np.maximum(users, 1)) / (4 * np.maximum(users, 1))
    n, y = np.zeros((2, BUCKETS)), np.zeros((2, BUCKETS))
    factor = np.array([world.change, 1.0])[:, None]

    def judge(hour: int) -> tuple[bool, bool]:
        talks = rng.poisson(active * world.per_day * _busy(hour))
        n[:] += talks
        # Mean 2.4 a conversation, moved as a whole; counts of requests are whole numbers.
        y[:] += talks + rng.poisson(talks * np.maximum(2.4 * factor * habit - 1, 0.0))
        d = ratio.difference([ratio.Stratum(n[0].copy(), y[0].copy(), n[1].copy(), y[1].copy())])
        if d is None or d.control == 0:
            return False, False
        e = equivalence.equivalence(d, 0.10 * abs(d.control))
        return e.within >= -math.log(0.05), e.outside >= -math.log(0.05 / 2)

    return _watch(judge)


def median_latency(world: World, rng: np.random.Generator) -> Fate:
    """The share slower than control's median, frozen from its last day, margin +10%."""
    active, users = _people(rng, world)
    pace = rng.normal(0, 0.2 / np.sqrt(np.maximum(users, 1)))
    asked = max(200, int(world.users * world.per_day * (1 - world.share)))
    before = latency.binned(800 * np.exp(rng.normal(0, SPREAD, min(asked, 20_000))))
    cut = latency.quantile(before, 0.5) or 800.0
    now = latency.binned(800 * np.exp(rng.normal(0, SPREAD, min(asked, 20_000))))
    margin = max(latency.share_of_slowdown(now, 0.10) or 0.0, 0.02)
    shift = np.array([math.log(world.change), 0.0])[:, None]
    slower = _above((math.log(cut / 800) - shift - pace) / SPREAD)
    n, y = np.zeros((2, BUCKETS)), np.zeros((2, BUCKETS))

    def judge(hour: int) -> tuple[bool, bool]:
        requests = rng.poisson(active * world.per_day * _busy(hour))
        n[:] += requests
        y[:] += rng.binomial(requests, slower)
        s = ratio.Stratum(n[0].copy(), y[0].copy(), n[1].copy(), y[1].copy())
        d = ratio.difference([s], binary=True)
        if d is None or min(d.candidate_n, d.control_n) < 30:
            return False, False
        e = equivalence.equivalence(d, margin)
        worse = d.estimate > 0 and e.outside >= math.log(2 / 0.05)
        return e.below_upper >= -math.log(0.05), worse

    return _watch(judge)


def _above(z: Floats) -> Floats:
    from scipy.special import ndtr

    return 1 - ndtr(z)


def rare_events(world: World, rng: np.random.Generator) -> Fate:
    """Tickets, two in 1,000 requests, three times as many at weekends: pass below 2x, fail above
    1.25x."""
    mine = others = asked = rest = 0.0

    def judge(hour: int) -> tuple[bool, bool]:
        nonlocal mine, others, asked, rest
        requests = world.users * world.per_day * _busy(hour)
        rate = 0.002 * (3 if (hour // 24) % 7 >= 5 else 1)
        asked += rng.poisson(requests * world.share)
        rest += rng.poisson(requests * (1 - world.share))
        mine += rng.poisson(requests * world.share * rate * world.change)
        others += rng.poisson(requests * (1 - world.share) * rate)
        rows = [exposure.Exposure(mine, asked, others, rest)]
        if not asked or not rest or not mine + others:
            return False, False
        return (
            exposure.log_e_ratio_below(rows, 2.0) >= -math.log(0.05),
            exposure.log_e_ratio_above(rows, 1.25) >= -math.log(0.01),
        )

    return _watch(judge)


RULES: Final = {
    "engagement": engagement,
    "median latency": median_latency,
    "rare events": rare_events,
}
WORLDS: Final = {
    "engagement unchanged, at 5%": World("engagement", 1.0, 0.05),
    "engagement at its margin, -10%": World("engagement", 0.9, 0.05),
    "engagement at its margin, +10%": World("engagement", 1.1, 0.05),
    "engagement -25%": World("engagement", 0.75, 0.05),
    "median latency unchanged, at 50%": World("median latency", 1.0, 0.5),
    "median latency at its margin, +10%": World("median latency", 1.1, 0.5),
    "median latency +30%": World("median latency", 1.3, 0.5),
    "tickets unchanged, at 5%": World("rare events", 1.0, 0.05),
    "tickets at the tolerated 1.25x": World("rare events", 1.25, 0.05),
    "tickets at the limit of 2x": World("rare events", 2.0, 0.05),
    "tickets 4x": World("rare events", 4.0, 0.05),
}


def fate(world: World, seed: int) -> Fate:
    """One seed of a world."""
    return RULES[world.what](world, np.random.default_rng(seed))
