"""The order of evidence, repeats and restarts change no decision: the logs are the same."""

import random
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tests.core.gate_world import GATES, METRICS
from tests.core.traffic import Load, Place, gather, newcomers
from tests.core.world import HOUR, plan, step

from molt.core.assignment import CANDIDATE, CONTROL, Arm
from molt.core.evidence import LIVE, Batch, Slot
from molt.core.playbook import Playbook

from .conftest import OpenHouse
from .house import House

GATED = [
    GATES["no_degradation"] | {"margin": "15%"},
    GATES["error_rate"],
    GATES["unchanged"],
    GATES["stable"],
]
PLAN = plan(
    ("canary", [step(20, *GATED), step(40, *GATED), step(60)]),
    metrics=METRICS,
    cost={"projected_per_request": 0.002},
)


async def climbed(house: House, candidate: Load, mix: random.Random | None) -> list[Any]:
    """The log after twelve hours; with `mix` evidence comes in parts, in any order, some of it
    twice, and the process is started anew now and then."""
    await house.begin()
    for hour in range(12):
        batches = _an_hour(house, candidate)
        if mix:
            batches = [part for batch in batches for part in _parts(batch)]
            batches += mix.sample(batches, k=len(batches) // 2)
            mix.shuffle(batches)
        await house.clock.advance(HOUR.total_seconds())
        for batch in batches:
            # Told to the store alone, so that one decision follows from all of them.
            await house.store.ingest(batch)
        await house.restart()
        if mix and hour % 3 == 0:
            await house.restart()
        await house.controller.tick()
    return [_without_rounding(e) for e in house.desk.events()]


def _an_hour(house: House, candidate: Load) -> list[Batch]:
    rollout, found = house.rollout, list[Batch]()
    loads: tuple[tuple[Arm, Load], ...] = ((CANDIDATE, candidate), (CONTROL, Load(2000)))
    for arm, load in loads:
        if rollout.live_share == 0:
            continue
        place = Place(house.desk.id, rollout.epoch, arm, LIVE)
        gathered = gather(
            house.rng, place, load, house.clock.now(), HOUR, every=timedelta(minutes=4)
        )
        seen = newcomers(house.rng, house.desk.id, rollout.epoch, rollout.live_share, 20)
        found.append(house.batch(slots=gathered.slots, sums=gathered.sums, seen=seen))
    return found


def _parts(batch: Batch) -> list[Batch]:
    """The same evidence from several gateways, a piece each."""
    pieces: list[Slot] = batch.slots
    kinds = [
        {"slots": pieces[::2], "seen": batch.seen},
        {"slots": pieces[1::2]},
        {"sums": batch.sums},
    ]
    empty: dict[str, Any] = {"slots": [], "sums": [], "seen": []}
    return [
        msgspec.structs.replace(batch, gateway=f"g{i}", **{**empty, **kind})
        for i, kind in enumerate(kinds)
    ]


def _without_rounding(event: Any) -> Any:
    """Sums in another order differ in the last digits."""

    def rounded(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.9g}")
        if isinstance(value, dict):
            return {k: rounded(v) for k, v in value.items()}
        return [rounded(v) for v in value] if isinstance(value, list | tuple) else value

    return rounded(msgspec.to_builtins(event))


@pytest.mark.parametrize(
    "candidate", [Load(1000), Load(1000, errors=0.1), Load(1000, outcomes={"order_completed": 0.2})]
)
async def test_order_repeats_and_restarts_change_no_decision(
    open_house: OpenHouse, candidate: Load
):
    house: House = await open_house(PLAN)
    usual = await climbed(house, candidate, None)
    assert len(usual) > 3
    for seed in (1, 2):
        other: House = await open_house(PLAN)
        assert await climbed(other, candidate, random.Random(seed)) == usual


def test_the_plan_is_read_back_as_it_was():
    assert Playbook.model_validate_json(PLAN.canonical()) == PLAN
