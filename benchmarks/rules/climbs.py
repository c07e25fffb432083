"""Whole climbs of WF-11's live steps on generated users, judged hourly by Molt and by the peers.

Users differ in activity and in taste; both arms swing by the day and the week. Sums are drawn per
tier and statistics bucket, never per request: a bucket's users keep their activity and taste, so
their correlation is in the data. Five metrics run side by side; an effect lowers them all, or one.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from benchmarks.rules import peers
from benchmarks.rules.peers import Floats, Look

from molt.core.stats import power
from molt.core.stats.inferiority import inferiority
from molt.core.stats.ratio import difference
from molt.core.stats.strata import Stratum

BUCKETS: Final = 256
SHARES: Final = (0.01, 0.02, 0.05, 0.10, 0.25, 0.50, 0.75)
PACE: Final = (48, 48, 72, 48, 72, 72, 48)
"""Hours of each step, as WF-11 plans them; holds are 24 h, the longest wait 7 days."""
LONGEST: Final = 7 * 24
KAYENTA_EVERY: Final = 6
"""Hours between its judgements."""
ALPHA: Final = 0.05


class World(NamedTuple):
    """`attempts` a day and user; `lift` of the harmed metrics (all, or the first only) from `onset`
    hours on; `weekend` multiplies every rate at weekends, on both arms. `at_margin` sets the lift to
    the margin of the present step. `metrics` are compared side by side."""

    users: int
    lift: float = 0.0
    onset: float = 0.0
    weekend: float = 1.0
    every_metric: bool = False
    at_margin: bool = False
    attempts: float = 1.0
    metrics: int = 5


class Course(NamedTuple):
    """What one rule did: `verdict` promoted, rolled_back or asked, the hours to it, orders lost."""

    verdict: str
    hours: float
    lost: float


class _People:
    """Users by tier and bucket: how much they do, and how often it ends well, per metric."""

    def __init__(self, rng: np.random.Generator, world: World) -> None:
        edges = np.diff([0.0, *SHARES, 1.0])
        users = rng.multinomial(world.users, np.repeat(edges / BUCKETS, BUCKETS))
        users = users.reshape(len(edges), BUCKETS)
        self.activity = rng.gamma(0.7 * np.maximum(users, 1e-9)) / 0.7 * (users > 0)
        # The mean of so many users' tastes, each Beta(5.4, 3.6) (a correlation of 0.1 between two
        # attempts of one user); the more active weigh more.
        effective = np.maximum(users, 1) * 0.7 / 1.7
        self.taste = [rng.beta(5.4 * effective, 3.6 * effective) for _ in range(world.metrics)]


def _mood(hour: int, weekend: float) -> tuple[float, float]:
    """How much is done, and how well it ends, at that hour."""
    busy = 1 + 0.6 * math.sin(2 * math.pi * (hour % 24 - 13) / 24)
    day = (hour // 24 + 3) % 7
    return busy, weekend if day >= 5 else 1.0


class Climb:
    """One seed of a world: hourly looks, the same data for every rule while all are at it."""

    def __init__(self, world: World, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.world, metrics = world, range(world.metrics)
        self.people = _People(self.rng, world)
        self.hour = self.step = self.entered = 0
        self.done: list[list[Stratum]] = [[] for _ in metrics]
        self.lost = 0.0
        self.shadow = [self._week(m) for m in metrics]
        self.pre: list[list[Stratum]] = [[self._before(m)] for m in metrics]
        self.sums = np.zeros((world.metrics, 4, BUCKETS))
        self.total = np.zeros((world.metrics, 4, BUCKETS))
        self.points: list[list[tuple[float, float]]] = [[] for _ in metrics]

    def _week(self, metric: int) -> tuple[Floats, Floats]:
        """What the same users did in the week of shadow, by tier and bucket: for CUPED."""
        n = self.rng.poisson(self.people.activity * self.world.attempts * 7)
        return n.astype(float), self.rng.binomial(n, self.people.taste[metric]).astype(float)

    def _before(self, metric: int) -> Stratum:
        """The shadow week, split into the arms of the present step."""
        n, y = self.shadow[metric]
        inside = self.step + 1
        return Stratum(n[:inside].sum(0), y[:inside].sum(0), n[inside:].sum(0), y[inside:].sum(0))

    @property
    def margin(self) -> float:
        """Relative, of the present step."""
        following = SHARES[self.step + 1] if self.step + 1 < len(SHARES) else 1.0
        return power.step_margin(0.02, following)

    def play(self) -> None:
        """An hour of both arms."""
        world, inside = self.world, self.step + 1
        busy, mood = _mood(self.hour, world.weekend)
        lift = -self.margin if world.at_margin else world.lift
        harmed = world.metrics if world.every_metric or world.at_margin else 1
        for m in range(world.metrics):
            n = self.rng.poisson(self.people.activity * busy * world.attempts / 24)
            rate = self.people.taste[m] * mood
            if m < harmed and self.hour >= world.onset:
                rate = rate.copy()
                rate[:inside] *= 1 + lift
                self.lost -= lift * float(n[:inside].sum()) * 0.6 * (m == 0)
            y = self.rng.binomial(n, np.minimum(rate, 1.0))
            now = np.stack(
                [n[:inside].sum(0), y[:inside].sum(0), n[inside:].sum(0), y[inside:].sum(0)]
            )
            self.sums[m] += now
            self.total[m] += now
            totals = now.sum(1)
            with np.errstate(invalid="ignore", divide="ignore"):
                self.points[m].append((totals[1] / totals[0], totals[3] / totals[2]))
        self.hour += 1

    def strata(self, metric: int) -> list[Stratum]:
        """Every step's sums up to now."""
        return [*self.done[metric], Stratum(*self.sums[metric].copy())]

    def climb(self) -> bool:
        """On to the next step; False at the top."""
        for m in range(self.world.metrics):
            self.done[m].append(Stratum(*self.sums[m].copy()))
        self.step += 1
        self.entered = self.hour
        self.sums = np.zeros_like(self.sums)
        for m in range(self.world.metrics):
            self.pre[m].append(self._before(m))
        return self.step < len(SHARES)


def molt(world: World, seed: int) -> Course:
    """Molt's decision on one seed."""
    climb, fail, settle = Climb(world, seed), math.log(world.metrics / ALPHA), -math.log(ALPHA)
    while True:
        climb.play()
        held = climb.hour - climb.entered
        found = [
            inferiority(
                climb.strata(m),
                margin=climb.margin,
                higher_is_better=True,
                binary=True,
                pre=climb.pre[m],
            )
            for m in range(world.metrics)
        ]
        if any(f is not None and f.log_e_harm >= fail for f in found):
            return Course("rolled_back", climb.hour, climb.lost)
        passed = all(f is not None and f.log_e_within >= settle for f in found)
        if passed and held >= PACE[climb.step]:
            if not climb.climb():
                return Course("promoted", climb.hour, climb.lost)
        elif held >= LONGEST:
            return Course("asked", climb.hour, climb.lost)


# --- peers on the same kind of climb


def _look(climb: Climb, metric: int) -> Look:
    d = difference([Stratum(*climb.total[metric])], binary=True)
    totals = climb.total[metric].sum(axis=1).tolist()
    points: Floats = np.array(climb.points[metric][-24 * 7 :])
    return Look(*totals, d.variance if d else 0.0, points)


PEERS: Final = {
    "Argo-style threshold": lambda look, margin: peers.argo_ab(look, margin),
    "peeked z-test": lambda look, margin: peers.peeked_z(look),
    "GrowthBook sequential": lambda look, margin: peers.growthbook_sequential(look),
    "Kayenta Mann-Whitney": lambda look, margin: peers.kayenta_mann_whitney(look),
}


def others(world: World, seed: int) -> dict[str, Course]:
    """What each peer's rule does: back at the first fail, on at the planned pace while it passes."""
    climb, courses = Climb(world, seed), dict[str, Course]()
    while True:
        climb.play()
        looks = [_look(climb, m) for m in range(world.metrics)]
        for name, rule in PEERS.items():
            if "Kayenta" in name and climb.hour % KAYENTA_EVERY:
                continue
            if name not in courses and any(
                rule(look, climb.margin) == "fail"
                for look in looks
                if look.candidate_n and look.control_n
            ):
                courses[name] = Course("rolled_back", climb.hour, climb.lost)
        if len(courses) == len(PEERS):
            return courses
        if climb.hour - climb.entered >= PACE[climb.step] and not climb.climb():
            promoted = Course("promoted", climb.hour, climb.lost)
            return {name: courses.get(name, promoted) for name in PEERS}
