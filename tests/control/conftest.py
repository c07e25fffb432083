"""One installation a test, and small plans."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.core.world import plan, step

from molt.core.decide import enter
from molt.core.events import AnyEvent
from molt.core.playbook import Playbook
from molt.core.scene import Scene

from .house import House

SMALL = plan(
    ("shadow", [step(0)]),
    ("canary", [step(5), step(20)]),
    ("progressive", [step(50, {"kind": "approval"}), step(100)]),
    cost={"projected_per_request": 0.002},
)

OpenHouse = Callable[..., Awaitable[House]]


@pytest.fixture
async def open_house(tmp_path: Path) -> AsyncIterator[OpenHouse]:
    """`await open_house(playbook)` gives a running installation, closed after the test."""
    opened: list[House] = []

    async def make(playbook: Playbook = SMALL, **more: Any) -> House:
        house = House(tmp_path / str(len(opened)), playbook, **more)
        opened.append(house)
        return await house.start()

    yield make
    for house in opened:
        await house.controller.close()


@pytest.fixture
async def house(open_house: OpenHouse) -> House:
    """An installation with one rollout of the small plan, in canary at 5%."""
    made = await open_house()
    await made.begin()
    await made.clock.advance(3600)
    await made.do(_to_canary)
    return made


def _to_canary(scene: Scene, by: str) -> list[AnyEvent]:
    return [enter(scene, scene.playbook.phase("canary"), 0, by=by)]
