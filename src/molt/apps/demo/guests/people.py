"""Who the guests are: user ids with unequal activity, and the moods that decide about outcomes.

Every draw of one conversation comes from its own seeded generator, so that a conversation's luck
depends neither on timing nor on who serves it: human noise is the same in both arms.
"""

import bisect
import itertools
import random
from dataclasses import dataclass

SPREAD = 0.8
"""Sigma of the lognormal activity: a tenth of the users do about a third of the talking."""
MOST = 5.0
"""The most active user, in multiples of the mean: nobody comes near a per-user rate limit."""
GUEST_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Mood:
    """What one guest will do, whoever serves: drawn before the first sentence.

    `leaves` - walks away in mid-order; `calls_staff` - asks for a person at the end; the last five
    are thresholds in [0, 1) that decide about signals, complaints and tickets.
    """

    leaves: bool
    calls_staff: bool
    tells: float
    pleased: float
    complains: float
    writes_ticket: float


class Population:
    """`users` guests with unequal activity, and the people who run the bar."""

    def __init__(self, users: int, seed: int) -> None:
        draw = random.Random(f"{seed}/people")
        weights = [draw.lognormvariate(0.0, SPREAD) for _ in range(users)]
        mean = sum(weights) / users
        self._cumulated = list(itertools.accumulate(min(weight, MOST * mean) for weight in weights))

    def guest(self, draw: random.Random) -> str:
        """The user id of the next visitor."""
        point = draw.random() * self._cumulated[-1]
        return f"guest-{bisect.bisect(self._cumulated, point):06d}"

    @staticmethod
    def worker(agent: str, draw: random.Random) -> str:
        """The user id of somebody who works with `agent`."""
        return f"{agent}-{draw.randrange(40):02d}"


def mood(draw: random.Random) -> Mood:
    """One guest's mood."""
    return Mood(
        leaves=draw.random() < 0.06,
        calls_staff=draw.random() < 0.35,
        tells=draw.random(),
        pleased=draw.random(),
        complains=draw.random(),
        writes_ticket=draw.random(),
    )
