"""Money: alerts at 50, 80 and 100% of the budget and before it is overrun, each once a day."""

from datetime import timedelta

import pytest
from tests.core.world import plan, step

from molt.control import budget
from molt.control.alerts import AlertDesk
from molt.core import commands
from molt.core.assignment import CANDIDATE
from molt.core.evidence import LIVE, Slot, SlotKey
from molt.ports import Notice

from .conftest import OpenHouse
from .house import House

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DAILY = plan(("canary", [step(50)]), cost={"spend_cap_per_day": 100.0})
EACH = plan(("canary", [step(50)]), cost={"budget_per_1000": 10.0})


class Till:
    """An installation at 8:00 UTC with money being spent, and its desk of alerts."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.alerts = AlertDesk(house.phone, house.store, house.clock)

    @property
    def told(self) -> list[Notice]:
        """What on-call has been told of the day's money, in order; triggers speak for themselves."""
        keys = ("-spent-", "-overrun-", "-per-1000-")
        return [n for n in self.house.phone.notices if any(key in n.key for key in keys)]

    @property
    def said(self) -> list[str]:
        """The same in short."""
        return [n.title.partition(": ")[2] for n in self.told]

    @property
    def last(self) -> Notice:
        """The latest of it."""
        return self.told[-1]

    async def spend(self, usd: float, requests: int = 1000) -> None:
        """Requests that cost this much in all, now; then control looks."""
        now = self.house.clock.now()
        start = int(now.timestamp()) // 10 * 10
        key = SlotKey("r1", self.house.rollout.epoch, "guest", CANDIDATE, LIVE, start)
        slot = Slot(key, requests=requests, priced=requests, cost=usd)
        await self.house.controller.ingest(self.house.batch(slots=[slot]))
        await self.look()

    async def count(self, usd: float) -> None:
        """The egress counts this much, now; then control looks."""
        start = int(self.house.clock.now().timestamp()) // 10 * 10
        key = SlotKey("r1", self.house.rollout.epoch, "guest", CANDIDATE, LIVE, start)
        await self.house.controller.ingest(self.house.batch(slots=[Slot(key, metered=usd)]))
        await self.look()

    async def look(self, later: timedelta = timedelta(0)) -> None:
        """Control looks at the money, after some time."""
        await self.house.clock.advance(later.total_seconds())
        desks = list(self.house.controller.desks.values())
        await budget.tell(desks, self.alerts, self.house.clock.now())

    async def restart(self) -> None:
        """A new process on what is kept."""
        await self.house.controller.close()
        await self.house.restart()
        self.alerts = AlertDesk(self.house.phone, self.house.store, self.house.clock)
        await self.alerts.start()


async def opened(open_house: OpenHouse, playbook=DAILY) -> Till:
    house = await open_house(playbook)
    await house.begin()
    return Till(house)


async def test_half_four_fifths_and_all_of_the_days_budget_are_said_once_each(
    open_house: OpenHouse,
):
    till = await opened(open_house)
    await till.spend(49.9)
    assert till.said == []

    for amount in (0.2, 1.0, 29.0, 1.0, 19.0, 30.0):
        await till.spend(amount)
        await till.look()

    assert till.said == [f"{p}% of today's budget is spent" for p in (50, 80, 100)]
    assert [n.severity for n in till.told] == ["info", "warning", "critical"]
    assert till.last.body == "$100.10 of $100.00 spent today, 6000 priced requests"
    assert {a.about for a in till.alerts.all()} == {"cost"}


async def test_a_cost_that_jumps_past_several_levels_is_one_alert_that_names_them(
    open_house: OpenHouse,
):
    till = await opened(open_house)
    await till.spend(130)
    await till.look()

    assert till.said == ["100% of today's budget is spent"]
    assert till.last.severity == "critical"
    assert till.last.body.endswith("1000 priced requests; 50% and 80% passed at once")


async def test_only_the_levels_that_nobody_heard_of_are_named_as_passed(open_house: OpenHouse):
    till = await opened(open_house, EACH)
    await till.spend(6)  # 60%
    await till.spend(30, requests=1000)  # 180%

    assert till.said == [f"requests cost {p}% of their budget" for p in (50, 100)]
    assert "passed" not in till.told[0].body
    assert till.last.body.endswith("; 80% passed at once")

    await till.spend(0, requests=2000)  # 90% again: no news
    assert len(till.said) == 2


async def test_what_was_said_is_not_said_again_after_a_restart(open_house: OpenHouse):
    till = await opened(open_house)
    await till.spend(85)
    told = list(till.said)
    assert told == ["80% of today's budget is spent"]

    await till.restart()
    await till.look()
    await till.spend(1)
    assert till.said == told

    await till.spend(20)
    assert till.said == [*told, "100% of today's budget is spent"]
    assert "passed" not in till.last.body  # the half was passed with the 80%


async def test_a_new_day_begins_with_its_whole_budget(open_house: OpenHouse):
    till = await opened(open_house)
    await till.spend(55)
    await till.look(16 * HOUR)  # midnight
    await till.spend(49)
    assert till.said == ["50% of today's budget is spent"]
    await till.spend(2)
    assert till.said == ["50% of today's budget is spent"] * 2


async def test_an_overrun_is_foreseen_before_the_money_is_gone(open_house: OpenHouse):
    till = await opened(open_house)  # 16 hours to midnight: 7 USD an hour are 112 in all
    await till.look(HOUR - timedelta(seconds=10))
    await till.spend(7)
    assert till.said == []  # less than an hour says nothing of a day
    await till.look(timedelta(seconds=10))

    assert till.said == ["today's budget will be overrun"]
    assert till.last.severity == "warning"
    assert till.last.body.startswith("at this pace $112.00 by midnight UTC; $7.00 of $100.00")
    await till.look(timedelta(minutes=5))
    await till.restart()
    await till.look()
    assert len(till.said) == 1


async def test_a_pace_within_the_budget_is_no_news(open_house: OpenHouse):
    till = await opened(open_house)
    await till.look(HOUR)
    await till.spend(6)  # 96 by midnight
    assert till.said == []


async def test_too_few_priced_requests_foresee_nothing(open_house: OpenHouse):
    till = await opened(open_house)
    await till.look(HOUR)
    await till.spend(20, requests=budget.ENOUGH - 1)
    assert till.said == []


async def test_what_only_the_egress_saw_is_money_too(open_house: OpenHouse):
    till = await opened(open_house)
    await till.spend(10.0)
    await till.count(85.0)
    assert till.said == ["80% of today's budget is spent"]
    assert "$85.00 of $100.00 spent today, 1000 priced requests" in till.last.body


async def test_the_cost_of_a_thousand_requests_is_held_against_its_budget(open_house: OpenHouse):
    till = await opened(open_house, EACH)
    await till.spend(0.9, requests=budget.ENOUGH - 1)
    assert till.said == []
    await till.spend(4.11, requests=901)  # 5.01 for 1,000
    await till.spend(3.2, requests=1)
    await till.spend(2.0, requests=1)
    await till.spend(2.0, requests=1)

    assert till.said == [f"requests cost {p}% of their budget" for p in (50, 80, 100)]
    assert till.last.severity == "critical"


async def test_a_plan_without_a_budget_is_silent(open_house: OpenHouse):
    till = await opened(open_house, plan(("canary", [step(50)])))
    await till.spend(1e6)
    assert till.said == []


@pytest.mark.parametrize("command", [commands.roll_back, commands.abort])
async def test_nothing_is_said_of_a_rollout_that_has_no_traffic(open_house: OpenHouse, command):
    till = await opened(open_house)
    await till.house.do(command, reason="enough")
    await till.spend(200)
    assert till.said == []


async def test_an_alert_about_money_that_nobody_got_is_sent_again_and_not_doubled(
    open_house: OpenHouse,
):
    till = await opened(open_house)
    till.house.phone.dead = True
    await till.spend(60)
    assert [a.state for a in till.alerts.all()] == ["undelivered"]

    till.house.phone.dead = False
    await till.house.clock.advance(61)
    await till.look()
    await till.alerts.tick()
    assert till.said == ["50% of today's budget is spent"]
