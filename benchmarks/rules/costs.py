"""Is a fourfold cost found within a day, and is the projected cost left alone?"""

import math
from typing import Final, NamedTuple

import numpy as np

from molt.core.stats import cost
from molt.core.triggers import RECENTLY

CAP: Final = 20.0
USERS: Final = 300


class World(NamedTuple):
    """Requests a day, the spread of one request's cost (coefficient of variation, log-normal), and
    its multiple of the projection from the third day on."""

    per_day: int
    spread: float
    multiple: float


WORLDS: Final = {
    f"{m:g}x, {n:,} requests a day, spread {s:g}": World(n, s, m)
    for m in (1, 4)
    for n in (300, 3000)
    for s in (0.8, 3.0, 7.0)
}


def day(world: World, seed: int) -> dict[str, bool]:
    """Which rules pause within the third day: evidence alone, plain spans alone, and both."""
    rng = np.random.default_rng(seed)
    n = int(rng.poisson(3 * world.per_day))
    at = np.sort(rng.uniform(0, 3, n))
    sigma = math.sqrt(math.log(1 + world.spread**2))
    paid = rng.lognormal(-sigma * sigma / 2, sigma, n)
    paid[at >= 2] *= world.multiple
    user = rng.integers(0, USERS, n) % 256
    evidence = _evidence(at, paid, user)
    plain = _plain(at, paid)
    return {"Molt": evidence or plain, "evidence alone": evidence, "plain spans alone": plain}


def _evidence(at: np.ndarray, paid: np.ndarray, user: np.ndarray) -> bool:
    """Engine B on sums since the step began, looked at twice an hour."""
    for look in np.arange(2, 3, 1 / 48) + 1 / 48:
        seen = at < look
        n = np.bincount(user[seen], minlength=256).astype(float)
        y = np.bincount(user[seen], np.minimum(paid[seen], CAP), 256)
        found = cost.overrun(n, y, 1.0, 3.0)
        if found is not None and found.log_e >= math.log(200):
            return True
    return False


def _plain(at: np.ndarray, paid: np.ndarray) -> bool:
    """The plain reading over recent spans, after every request."""
    total = np.concatenate([[0.0], np.cumsum(paid)])
    here = np.arange(1, len(at) + 1)
    for span, enough in RECENTLY:
        first = np.searchsorted(at, at - span.total_seconds() / 86_400)
        count = here - first
        over = (count >= enough) & (total[1:] - total[first] > 3 * count) & (at >= 2)
        if over.any():
            return True
    return False
