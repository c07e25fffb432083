"""Rules of the kind "rate above X for D" on generated slots: false alarms, and time to find."""

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from benchmarks.rules import peers
from benchmarks.rules.peers import MINUTE, Ints

from molt.core.stats import sustained
from molt.core.triggers import HEALTHY_PART

DAY: Final = 24 * 60 * MINUTE
WEEK: Final = 7 * DAY
LEAD: Final = 11 * 60 * MINUTE
"""Healthy slots before an onset."""


class World(NamedTuple):
    """Traffic with a background rate of errors, and what happens to it.

    `users` share the requests; a request that fails is repeated at once `retries` times on average.
    """

    per_minute: float
    background: float = 0.01
    outage: bool = False
    onset: float | None = None
    users: int = 10_000
    retries: float = 0.0


class Stream(NamedTuple):
    """Slots of one world: requests, errors, and the statistics buckets that errors came from."""

    n: Ints
    x: Ints
    buckets: list[int]


def stream(world: World, slots: int, seed: int) -> Stream:
    """One seed of a world. `onset` is the error rate from slot `LEAD` on."""
    rng = np.random.default_rng(seed)
    n = rng.poisson(world.per_minute / MINUTE, slots)
    rate = np.full(slots, world.background)
    if world.outage:
        for day in range(slots // DAY):
            start = day * DAY + int(rng.integers(0, DAY - 3))
            rate[start : start + 3] = 1.0
    if world.onset is not None:
        rate[LEAD:] = world.onset
    x = rng.binomial(n, rate)
    again = rng.poisson(world.retries * x) if world.retries else np.zeros_like(x)
    bucket_of_user = rng.integers(0, 256, world.users)
    buckets = [0] * slots
    for i in np.flatnonzero(x).tolist():
        for user in rng.integers(0, world.users, x[i]).tolist():
            buckets[i] |= 1 << int(bucket_of_user[user])
    return Stream(n + again, x + again, buckets)


def molt(s: Stream, limit: float, minutes: int) -> float:
    """Molt's rule, the production code, looked at after every slot at which it could fire.

    No window fires whose pooled rate is not above the limit with three events: other slots are
    passed over, which changes no decision.
    """
    duration, healthy = minutes * MINUTE, HEALTHY_PART * limit
    upto_n = np.concatenate([[0], np.cumsum(s.n)])
    upto_x = np.concatenate([[0], np.cumsum(s.x)])
    ends = np.arange(1, len(s.n) + 1)
    possible = np.zeros(len(s.n), np.bool_)
    for doubling in range(sustained.DOUBLINGS):
        start = np.maximum(0, ends - (duration << doubling))
        requests, errors = upto_n[ends] - upto_n[start], upto_x[ends] - upto_x[start]
        chance = _chance(errors, requests, healthy)
        possible |= (errors > limit * requests) & (errors >= 3) & (chance <= sustained.MAX_CHANCE)
    longest = duration << (sustained.DOUBLINGS - 1)
    for end in (np.flatnonzero(possible) + 1).tolist():
        recent = slice(max(0, end - longest), end)
        windows = sustained.look(
            s.n[recent],
            s.x[recent],
            s.buckets[recent],
            duration=duration,
            limit=limit,
            healthy=healthy,
        )
        if sustained.fired(windows):
            return float(end - 1)
    return math.inf


def _chance(x: Ints, n: Ints, rate: float) -> peers.Floats:
    """The smaller tail if every event came from another subject: no larger than the rule's own."""
    from scipy.special import betainc, gammainc

    deff = sustained.DEFAULT_DEFF
    some = np.maximum(x, 1e-9)
    binomial = betainc(some / deff, np.maximum((n - x) / deff + 1, 1e-9), rate)
    poisson = gammainc(some, np.maximum(rate * n, 1e-12))
    return np.where(x > 0, np.minimum(binomial, poisson), 1.0)


def literal(s: Stream, limit: float, minutes: int) -> float:
    """The plain reading: the pooled rate of the last D above the limit, one request enough."""
    requests, errors = peers._windows(s.n, s.x, minutes * MINUTE)
    return peers._first((requests > 0) & (errors > limit * requests))


RULES: Final[dict[str, Callable[[Stream, float, int], float]]] = {
    "Molt": molt,
    "plain reading": literal,
    "Argo-style threshold": lambda s, x, d: peers.argo_threshold(s.n, s.x, x, d),
    "Flagger-style counter": lambda s, x, d: peers.flagger_counter(s.n, s.x, x, d),
    "Prometheus `for:`": lambda s, x, d: peers.prometheus_for(s.n, s.x, x, d),
}


def false_alarms(world: World, seed: int, minutes: int = 5, limit: float = 0.05) -> dict[str, bool]:
    """Which rules roll back within a week of this seed."""
    s = stream(world, WEEK, seed)
    return {name: rule(s, limit, minutes) < math.inf for name, rule in RULES.items()}


def minutes_to_find(
    world: World, seed: int, minutes: int = 5, limit: float = 0.05, hours: int = 24
) -> dict[str, float]:
    """Minutes from the onset to the rollback; 0 for one before it, infinity for none in time."""
    s = stream(world, LEAD + hours * 60 * MINUTE, seed)
    return {
        name: max(0.0, (rule(s, limit, minutes) + 1 - LEAD) / MINUTE)
        for name, rule in RULES.items()
    }
