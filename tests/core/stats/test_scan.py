"""How soon a sliding count is passed by chance, against simulation."""

import math

import numpy as np
import pytest

from molt.core.stats.scan import log_quiet


def simulated(events: int, expected: float, windows: int, runs: int = 1500) -> float:
    """In how many runs some window of length 1 holds so many events."""
    rng, hits = np.random.default_rng(7), 0
    for _ in range(runs):
        times = np.sort(rng.uniform(0, windows, rng.poisson(expected * windows)))
        hits += bool((times[events - 1 :] - times[: len(times) - events + 1] < 1).any())
    return hits / runs


@pytest.mark.parametrize(
    ("events", "expected", "windows"),
    [(11, 3.0, 336), (11, 3.3, 72), (2, 0.05, 50), (5, 1.0, 20), (3, 0.2, 100)],
)
def test_the_chance_is_that_of_simulated_counts(events: int, expected: float, windows: int):
    chance = -math.expm1(windows * log_quiet(events, expected))
    assert chance == pytest.approx(simulated(events, expected, windows), abs=0.035)


def test_a_single_event_is_told_exactly():
    assert log_quiet(1, 0.3) == -0.3


def test_without_events_all_is_quiet():
    assert log_quiet(11, 0.0) == 0.0


def test_more_traffic_is_never_quieter_and_a_higher_limit_never_louder():
    means = [0.1, 0.5, 1, 2, 4, 8, 16, 32, 64]
    chances = [log_quiet(11, mean) for mean in means]
    assert chances == sorted(chances, reverse=True)
    limits = [log_quiet(k, 3.0) for k in range(2, 40)]
    assert limits == sorted(limits)
