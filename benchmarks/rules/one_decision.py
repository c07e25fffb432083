"""One decision at 10 metrics x 12 strata, with new evidence since the last one."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from molt.core.book import Book
from molt.core.decide import decide, enter
from molt.core.events import RolloutStarted
from molt.core.evidence import BucketSums, SumsKey
from molt.core.evolve import evolve
from molt.core.playbook import Playbook
from molt.core.rollout import Rollout
from molt.core.scene import Scene

SHARES = (1, 2, 3, 5, 8, 10, 15, 20, 25, 30, 40, 50)
METRICS = 10


def _plan() -> Playbook:
    names = [f"metric_{i}" for i in range(METRICS)]
    gate = {"kind": "no_degradation", "metrics": names}
    steps = [{"share": share, "hold": "24h", "gates": [gate]} for share in (*SHARES, 100)]
    metrics: dict[str, Any] = {
        name: {"of": f"good_{name}", "per": [f"tried_{name}"], "better": "higher", "binary": True}
        for name in names
    }
    return Playbook.model_validate(
        {
            "molt": 1,
            "name": "ten-metrics",
            "agents": {"guest": {}},
            "phases": [{"name": "canary", "steps": steps}],
            "metrics": metrics,
            "triggers": [{"kind": "violation", "action": "roll_back"}],
        }
    )


def scene() -> Scene:
    """In the twelfth step, a day of evidence in each."""
    playbook, now = _plan(), datetime(2026, 1, 5, tzinfo=UTC)
    rollout, book = Rollout(playbook=playbook.canonical()), Book()
    started = RolloutStarted(
        at=now,
        rollout="r",
        playbook=playbook.canonical(),
        playbook_hash=playbook.hash(),
        salt="a",
        statistics_salt="b",
        agents=("guest",),
    )
    rollout = evolve(rollout, started)
    rng = np.random.default_rng(1)
    for i, share in enumerate(SHARES):
        here = Scene(rollout, playbook, book, now)
        rollout = evolve(rollout, enter(here, playbook.phases[0], i))
        for tier in range(len(SHARES) + 2):
            arm = "candidate" if tier <= i else "control"
            key = SumsKey("r", rollout.epoch, tier, "guest", arm, "live")
            book.add_sums(BucketSums(key, _day(rng, share)))
        now += timedelta(hours=25)
    return Scene(rollout, playbook, book, now)


def _day(rng: np.random.Generator, share: float) -> dict[str, dict[int, float]]:
    columns: dict[str, dict[int, float]] = {}
    for i in range(METRICS):
        tried = rng.poisson(2 + share / 5, 256)
        good = rng.binomial(tried, 0.6)
        columns[f"tried_metric_{i}"] = dict(enumerate(tried.astype(float).tolist()))
        columns[f"good_metric_{i}"] = dict(enumerate(good.astype(float).tolist()))
    return columns


def milliseconds(look: Scene, changed: int, rounds: int = 100) -> float:
    """CPU time of a decision, the best of some, after one more outcome of `changed` metrics."""
    key = SumsKey("r", look.rollout.epoch, 0, "guest", "candidate", "live")
    best = float("inf")
    for _ in range(rounds):
        columns = {f"tried_metric_{i}": {3: 1.0} for i in range(changed)}
        look.book.add_sums(BucketSums(key, columns))
        begun = time.process_time()
        decide(look)
        best = min(best, time.process_time() - begun)
    return 1000 * best
