"""Seeded simulations of how often the rules are wrong, and how soon they are right.

Each rule is looked at again and again, as a controller does; the bounds leave room for the number
of runs.
"""

import math

import numpy as np
import pytest

from molt.core.stats import bernoulli, cost, evalue, exposure, power, srm, sustained
from molt.core.stats.ratio import difference
from molt.core.stats.strata import Stratum

pytestmark = pytest.mark.slow

SHARES = (0.01, 0.02, 0.05, 0.10, 0.25, 0.50)
BUCKETS = 256


def rollout(
    seed: int, *, users: int, lift: float = 0.0, weekend: float = 1.0, valued: bool = False
):
    """Strata at every look (three a day) of a climb through SHARES, two days a step."""
    rng = np.random.default_rng(seed)
    bucket, position = rng.integers(0, BUCKETS, users), rng.random(users)
    activity = rng.gamma(0.7, 1 / 0.7, users)
    taste = rng.beta(3, 2, users)
    done: list[Stratum] = []
    for step, share in enumerate(SHARES):
        inside = position < share
        sums = np.zeros((4, BUCKETS))
        for look in range(6):
            mood = weekend if (2 * step + look // 3) % 7 >= 5 else 1.0
            n = rng.poisson(activity)
            y = rng.binomial(n, np.minimum(1, taste * mood * np.where(inside, 1 + lift, 1.0)))
            if valued:
                y = y * rng.lognormal(0, 1, users)
            for row, arm in ((0, inside), (2, ~inside)):
                sums[row] += np.bincount(bucket[arm], n[arm], BUCKETS)
                sums[row + 1] += np.bincount(bucket[arm], y[arm], BUCKETS)
            yield [*done, Stratum(*sums.copy())]
        done.append(Stratum(*sums))


def harm(strata: list[Stratum], *, binary: bool) -> float:
    """The evidence that the candidate is worse, as gates reckon it."""

    def one(rows: list[Stratum]) -> float:
        d = difference(rows, binary=binary)
        return 0.0 if d is None else evalue.log_e(-d.estimate, d.variance, 0.1 * abs(d.control))

    return evalue.averaged(one(strata), [one(strata[k:]) for k in range(1, len(strata))])


def called_harmful(runs: int, **world) -> float:
    binary = not world.get("valued", False)
    fails = sum(
        any(harm(s, binary=binary) >= math.log(20) for s in rollout(seed, **world))
        for seed in range(runs)
    )
    return fails / runs


@pytest.mark.parametrize("users", [300, 3000])
def test_a_harmless_agent_is_rarely_called_harmful_even_by_few_users(users):
    assert called_harmful(80, users=users) <= 0.09


def test_nor_when_weekends_are_bad_and_the_share_grows():
    assert called_harmful(80, users=3000, weekend=0.7) <= 0.09


def test_nor_on_a_skewed_metric():
    assert called_harmful(80, users=1000, valued=True) <= 0.09


def test_harm_of_a_fifth_is_found_on_the_way_up():
    assert called_harmful(20, users=10_000, lift=-0.2) >= 0.9


def test_an_agent_at_the_margin_rarely_passes():
    passed = 0
    for seed in range(80):
        for strata in rollout(seed, users=3000, lift=-0.2):
            d = difference(strata, binary=True)
            if d is None:
                continue
            margin = 0.2 * d.control
            if evalue.log_e(d.estimate, d.variance, margin, edge=-margin) >= math.log(20):
                passed += 1
                break
    assert passed / 80 <= 0.1


def test_an_interval_holds_the_truth_at_every_look():
    missed = 0
    for seed in range(80):
        for strata in rollout(seed, users=2000):
            d = difference(strata, binary=True)
            if d is not None:
                low, high = evalue.interval(d.estimate, d.variance, 0.1, 0.05)
                if not low <= 0 <= high:
                    missed += 1
                    break
    assert missed / 80 <= 0.1


def test_the_information_for_four_fifths_power_has_it():
    rng = np.random.default_rng(1)
    times = np.geomspace(0.05, power.information(), 3000)
    steps = np.diff(times, prepend=0)
    bounds = np.array([evalue.boundary(t, math.log(20)) * math.sqrt(t) for t in times])
    scores = np.cumsum(rng.normal(steps, np.sqrt(steps), (3000, 3000)), axis=1)
    assert np.mean((scores >= bounds).any(axis=1)) == pytest.approx(0.8, abs=0.03)


def test_errors_that_cluster_in_users_do_not_pass_at_the_limit():
    passed = {"plain": 0, "design effect": 0}
    runs, limit = 100, 0.01
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        bucket = rng.integers(0, BUCKETS, 800)
        errors = np.where(rng.random(800) < 0.05, limit / 0.05, 0.0)
        n, y, best = np.zeros(BUCKETS), np.zeros(BUCKETS), dict.fromkeys(passed, -math.inf)
        for _ in range(100):
            k = rng.poisson(0.3, 800)
            n += np.bincount(bucket, k, BUCKETS)
            y += np.bincount(bucket, rng.binomial(k, errors), BUCKETS)
            for name, deff in (("plain", 1.0), ("design effect", bernoulli.design_effect(n, y))):
                log_e = bernoulli.log_e_below(y.sum(), n.sum(), limit, deff)
                best[name] = max(best[name], log_e)
        for name, log_e in best.items():
            passed[name] += log_e >= math.log(20)
    assert passed["design effect"] / runs <= 0.08
    assert passed["plain"] / runs > 0.1


def test_events_per_exposure_are_compared_within_steps():
    fails = {"strata": 0, "pooled": 0}
    runs = 60
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        rows: list[exposure.Exposure] = []
        found = dict.fromkeys(fails, False)
        for day, share in enumerate([s for s in SHARES for _ in range(2)]):
            rate = 250.0 if (day + seed) % 7 >= 5 else 100.0
            mine, others = rng.poisson(1.25 * rate * share), rng.poisson(rate * (1 - share))
            rows.append(exposure.Exposure(mine, 2000 * share, others, 2000 * (1 - share)))
            x, e, c, rest = (sum(column) for column in zip(*rows, strict=True))
            p0 = bernoulli.share_under_ratio(e, rest, 1.25)
            found["pooled"] |= bernoulli.log_e_above(x, x + c, p0) >= math.log(100)
            found["strata"] |= exposure.log_e_ratio_above(rows, 1.25) >= math.log(100)
        for name in fails:
            fails[name] += found[name]
    assert fails["strata"] / runs <= 0.05
    assert fails["pooled"] / runs > 0.1


def test_heavy_tailed_cost_at_the_threshold_does_not_trigger():
    triggered = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n, y, user = np.zeros(BUCKETS), np.zeros(BUCKETS), rng.integers(0, 60, 600)
        price = np.minimum(20, 3 * rng.lognormal(-0.5, 1, 600))
        for at in range(0, 600, 20):
            n += np.bincount(user[at : at + 20], minlength=BUCKETS)
            y += np.bincount(user[at : at + 20], price[at : at + 20], BUCKETS)
            result = cost.overrun(n, y, 1.0, 3.0)
            if result is not None and result.log_e >= math.log(100):
                triggered += 1
                break
    assert triggered <= 1


def test_a_fair_split_is_not_called_a_mismatch():
    rng = np.random.default_rng(1)
    called = 0
    for _ in range(200):
        steps = [(rng.binomial(2000, s), s) for s in SHARES]
        factor = srm.combined((int(x), 2000 - int(x), s) for x, s in steps)
        called += factor >= math.log(srm.MISMATCH)
    assert called == 0


def _minutes_to_fire(seed: int, per_minute: float, rate: float, minutes: int) -> float:
    rng = np.random.default_rng(seed)
    lead = 360
    n = rng.poisson(per_minute / 6, lead + 6 * minutes)
    x = rng.binomial(n, np.where(np.arange(len(n)) < lead, 0.01, rate))
    bits = [0] * len(n)
    for i in np.flatnonzero(x).tolist():
        for b in rng.integers(0, BUCKETS, x[i]).tolist():
            bits[i] |= 1 << b
    for end in range(lead + 6, len(n) + 1, 6):
        recent = slice(max(0, end - 1920), end)
        windows = sustained.look(
            n[recent], x[recent], bits[recent], duration=30, limit=0.05, healthy=0.02
        )
        if sustained.fired(windows):
            return (end - lead) / 6
    return math.inf


@pytest.mark.parametrize(
    ("per_minute", "rate", "within"), [(6, 0.2, 25), (0.6, 1.0, 30), (60, 0.1, 15)]
)
def test_a_failing_agent_is_found_in_time(per_minute, rate, within):
    waits = [_minutes_to_fire(seed, per_minute, rate, 60) for seed in range(20)]
    assert sorted(waits)[17] <= within


@pytest.mark.parametrize("per_minute", [0.6, 6, 60])
def test_a_healthy_agent_is_left_alone_for_days(per_minute):
    assert _minutes_to_fire(1, per_minute, 0.01, 2 * 24 * 60) == math.inf
