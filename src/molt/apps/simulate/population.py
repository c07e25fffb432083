"""Who asks: users with their activity, their own inclinations, their buckets.

Users are drawn one by one, then only their sums per statistics bucket are kept: with Poisson
processes those sums are all that the traffic depends on.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from molt.apps.simulate.processes import Process, Processes
from molt.apps.simulate.scenario import Users
from molt.apps.simulate.stream import Floats
from molt.core.assignment import STATISTICS_BUCKETS
from molt.core.flags import FULL


class Group(NamedTuple):
    """Some users together, per statistics bucket: their part of all requests, and per process
    that part weighted by their inclination."""

    activity: Floats
    inclined: dict[str, Floats]


class Population:
    """All users of a scenario."""

    def __init__(
        self,
        users: Users,
        processes: Processes,
        rng: np.random.Generator,
        *,
        days: float,
        requests_per_day: float,
    ) -> None:
        """The last two say how long newcomers go on joining, on the clock of requests."""
        n = users.count
        self.bucket = rng.integers(0, FULL, n)
        self.statistics_bucket = rng.integers(0, STATISTICS_BUCKETS, n)
        weight = _activity(users.activity, n, rng)
        self.activity = weight / weight.sum()
        self._own = {p.metric: _inclination(p, users.correlation, n, rng) for p in processes.all}
        joining = int(users.new_per_day * users.count * days)
        self._meet(users, rng, joining, days * requests_per_day)
        self._met = 0

    def _meet(self, users: Users, rng: np.random.Generator, joining: int, horizon: float) -> None:
        """When each user first asks, on the clock of all requests; newcomers join on the way."""
        joined = np.sort(rng.uniform(0, horizon, joining))
        weights = np.concatenate([self.activity, rng.choice(self.activity, joining)])
        starts = np.concatenate([np.zeros(users.count), joined])
        first = starts + rng.exponential(1.0, len(weights)) / np.maximum(weights, 1e-12)
        buckets = np.concatenate([self.bucket, rng.integers(0, FULL, joining)])
        order = np.argsort(first, kind="stable")
        self._first, self._first_bucket = first[order], buckets[order]

    def newcomers(self, upto: float) -> NDArray[np.int64]:
        """The assignment buckets of users first met until `upto` requests in all, each once."""
        end = int(np.searchsorted(self._first, upto, "right"))
        found = self._first_bucket[self._met : end]
        self._met = max(self._met, end)
        return found

    def group(self, who: NDArray[np.bool_], factors: dict[str, Floats] | None = None) -> Group:
        """The users that `who` selects; `factors` change their inclinations, user by user."""
        places, weights = self.statistics_bucket[who], self.activity[who]

        def total(amounts: Floats) -> Floats:
            return np.bincount(places, amounts, STATISTICS_BUCKETS)

        inclined: dict[str, Floats] = {}
        for name, own in self._own.items():
            mine = weights * own[who]
            if factors and name in factors:
                mine = mine * factors[name][who]
            inclined[name] = total(mine)
        return Group(total(weights), inclined)


def _activity(spread: float, n: int, rng: np.random.Generator) -> Floats:
    """Gamma with mean 1 and this coefficient of variation."""
    if spread == 0:
        return np.ones(n)
    shape = 1 / spread**2
    return np.maximum(rng.gamma(shape, 1 / shape, n), 1e-9)


def _inclination(process: Process, correlation: float, n: int, rng: np.random.Generator) -> Floats:
    """Each user's own probability (a choice), or factor on the base (anything else).

    A choice is Beta with intra-user correlation rho: variance rho p (1 - p).
    """
    if correlation == 0 or process.kind == "events":
        return np.full(n, process.rate.base if process.kind == "choice" else 1.0)
    if process.kind != "choice":
        shape = 1 / correlation
        return rng.gamma(shape, 1 / shape, n)
    p, strength = process.rate.base, (1 - correlation) / correlation
    if not 0 < p < 1:
        return np.full(n, p)
    return rng.beta(p * strength, (1 - p) * strength, n)
