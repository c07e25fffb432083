"""A whole rollout of WF-11 under the real controller, in virtual weeks."""

from contextlib import suppress
from datetime import timedelta
from itertools import pairwise

from tests.core.traffic import Load
from tests.core.world import HOUR, T0, wf11

from molt.core import commands
from molt.core.errors import Refused
from molt.core.events import Completed, IncidentOpened, RolledBack, StepEntered
from molt.core.evolve import replay
from molt.core.rollout import Phase

from .conftest import OpenHouse
from .house import House, plain

REQUESTS = 3_500
"""An hour, both arms together."""


def loads(house: House) -> tuple[Load, Load | None]:
    """A healthy agent, and control, by the present share."""
    if house.rollout.phase == "shadow":
        return Load(REQUESTS / 10, errors=0.002), Load(REQUESTS / 10, errors=0.002)
    share = house.rollout.share / 100
    control = Load(REQUESTS * (1 - share), errors=0.002) if share < 1 else None
    return Load(REQUESTS * share, errors=0.002), control


async def climb(house: House, *, restarting: bool = False, days: int = 40) -> None:
    """Serve until the rollout is complete; `ann` approves as soon as she may."""
    for quarter in range(days * 4):
        await house.serve(6 * HOUR, *loads(house))
        with suppress(Refused):
            await house.do(commands.approve, reason="the numbers look right")
            await house.controller.tick()
        if restarting and quarter % 9 == 8:
            await house.restart()
        if house.rollout.phase is Phase.COMPLETE:
            return


async def test_a_healthy_agent_climbs_wf_11_to_the_end_on_the_planned_days(open_house: OpenHouse):
    house = await open_house(wf11())
    await house.begin()
    await climb(house)
    assert house.rollout.phase is Phase.COMPLETE
    assert house.share == 10_000
    entered = house.facts(StepEntered)
    assert [(e.phase, e.share) for e in entered] == [
        (phase.name, step.share) for phase, step in wf11().ladder()
    ]
    assert not house.facts(IncidentOpened)
    for before, after in pairwise(entered):
        assert {r.verdict for r in after.rulings} == {"pass"}
        assert after.at - before.at >= timedelta(hours=24)
    assert entered[1].at == T0 + timedelta(days=7), "shadow takes its week"
    assert house.facts(Completed)[0].at - T0 <= timedelta(days=35)
    assert_flags_rose_step_by_step(house)


def assert_flags_rose_step_by_step(house: House) -> None:
    """What gateways got has a version that only grows, and a share that never ran ahead."""
    published = [flags for flags in house.gateways.published if flags.rollouts]
    versions = [flags.version for flags in published]
    assert versions == sorted(set(versions))
    shares = [flags.rollouts[0].share for flags in published]
    assert shares == sorted(shares)
    assert list(dict.fromkeys(shares)) == [0, 100, 200, 500, 1_000, 2_500, 5_000, 7_500, 10_000]
    assert [flags.rollouts[0].shadow for flags in published] == [share == 0 for share in shares]


async def test_restarts_on_the_way_change_no_decision(open_house: OpenHouse):
    steady, restarting = await open_house(wf11()), await open_house(wf11())
    for house in (steady, restarting):
        await house.begin()
        await climb(house, restarting=house is restarting, days=12)
    assert steady.rollout.share == 5
    assert plain(restarting.desk.events()) == plain(steady.desk.events())
    assert replay(r.event for r in await restarting.store.load("r1")) == restarting.rollout
    assert await restarting.store.verify_events() is None


async def test_a_harmful_agent_never_gets_far(open_house: OpenHouse):
    house = await open_house(wf11())
    await house.begin()
    for _ in range(40 * 4):
        healthy, control = loads(house)
        harmful = healthy._replace(outcomes={"order_completed": 0.18})
        await house.serve(6 * HOUR, harmful, control)
        with suppress(Refused):
            await house.do(commands.approve, reason="I did not look")
        if house.rollout.phase is Phase.ROLLED_BACK:
            break
    assert house.facts(RolledBack)
    assert max(e.share for e in house.facts(StepEntered)) <= 10
    assert house.share == 0
