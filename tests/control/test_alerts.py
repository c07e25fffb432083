"""Alerts: grouped, sent once, tried again, held at night but never a rollback, acknowledged."""

from datetime import UTC, datetime, time, timedelta

import pytest
from msgspec.structs import replace

from molt.adapters.clocks import VirtualClock
from molt.adapters.memory.store import MemoryStore
from molt.control.alerts import GIVE_UP, REPEAT, AlertDesk, Quiet
from molt.control.notices import figures
from molt.core.errors import OperatorError
from molt.core.events import Ruling
from molt.ports import Delivery, Notice

from .house import Phone

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
NIGHT = Quiet(time(22), time(7))


class Desk:
    """An alert desk, its clock, its phone and its store."""

    def __init__(self, at: datetime = NOON, quiet: Quiet | None = None) -> None:
        self.clock, self.phone = VirtualClock(at), Phone()
        self.store = MemoryStore(self.clock.now)
        self.desk = AlertDesk(
            self.phone, self.store, self.clock, quiet=quiet, links=lambda a: [f"see {a.id}"]
        )

    async def later(self, length: timedelta) -> None:
        """Time passes, the desk looks."""
        await self.clock.advance(length.total_seconds())
        await self.desk.tick()


def critical(title: str = "rolled back", key: str = "i1") -> Notice:
    return Notice("critical", title, "errors: 20 of 59", key, about="error_rate")


def warning(title: str = "cost", key: str = "c") -> Notice:
    return Notice("warning", title, "numbers", key)


async def test_an_alert_arrives_once_with_its_numbers_and_links():
    d = Desk()
    for _ in range(3):
        await d.desk.notify(critical())

    (alert,) = d.desk.all()
    assert (alert.state, alert.count) == ("sent", 3)
    assert [n.body for n in d.phone.notices] == [f"errors: 20 of 59\nsee {alert.id}"]


async def test_news_about_the_same_thing_is_one_alert_and_is_sent():
    d = Desk()
    await d.desk.notify(critical("halved"))
    await d.desk.notify(critical("rolled back"))

    assert [n.title for n in d.phone.notices] == ["halved", "rolled back"]
    assert [(a.title, a.count) for a in d.desk.all()] == [("rolled back", 2)]


async def test_what_lasts_is_said_again_after_a_while():
    d = Desk()
    await d.desk.notify(warning())
    await d.later(REPEAT)
    await d.desk.notify(warning())
    assert len(d.phone.notices) == 2


async def test_what_did_not_arrive_is_shown_and_tried_again_ever_more_slowly():
    d = Desk()
    d.phone.dead = True
    delivery = await d.desk.notify(critical())
    assert not delivery.delivered
    (alert,) = d.desk.undelivered()
    assert alert.next_try == NOON + timedelta(minutes=1)

    await d.later(timedelta(minutes=1))
    (again,) = d.desk.undelivered()
    assert again.next_try == NOON + timedelta(minutes=3)
    assert again.attempts > alert.attempts

    d.phone.dead = False
    await d.later(timedelta(minutes=2))
    assert not d.desk.undelivered()
    assert len(d.phone.notices) == 1


async def test_a_dead_phone_is_given_up_after_a_day_and_stays_shown():
    d = Desk()
    d.phone.dead = True
    await d.desk.notify(critical())
    for _ in range(int(GIVE_UP / timedelta(hours=1)) + 2):
        await d.later(timedelta(hours=1))
    (alert,) = d.desk.undelivered()
    assert alert.next_try is None


async def test_a_repetition_of_what_nobody_got_is_sent_not_counted():
    d = Desk()
    d.phone.dead = True
    await d.desk.notify(critical())
    d.phone.dead = False
    assert (await d.desk.notify(critical())).delivered


async def test_quiet_hours_hold_back_all_but_a_rollback():
    d = Desk(NOON.replace(hour=23), NIGHT)
    await d.desk.notify(warning())
    await d.desk.notify(critical())
    assert [n.title for n in d.phone.notices] == ["rolled back"]

    await d.later(timedelta(hours=7, minutes=59))
    assert len(d.phone.notices) == 1
    await d.later(timedelta(minutes=2))
    assert [n.title for n in d.phone.notices] == ["rolled back", "cost"]


@pytest.mark.parametrize(
    ("hour", "covered"), [(21, False), (22, True), (3, True), (6, True), (7, False), (12, False)]
)
def test_quiet_hours_run_over_midnight_in_their_own_zone(hour, covered):
    assert NIGHT.covers(NOON.replace(hour=hour)) is covered
    rome = Quiet(time(22), time(7), "Europe/Rome")
    assert rome.covers(NOON.replace(hour=(hour - 1) % 24)) is covered


async def test_the_first_who_acknowledges_stays_on_record_until_there_is_news():
    d = Desk()
    await d.desk.notify(critical("halved"))
    name = d.desk.all()[0].id
    await d.desk.acknowledge(name, "ann", "looking")
    assert (await d.desk.acknowledge(name, "bob")).acked_by == "ann"
    await d.desk.notify(critical("halved"))
    assert d.desk.all()[0].acked_by == "ann"

    await d.desk.notify(critical("rolled back"))
    assert d.desk.all()[0].acked_by == ""
    with pytest.raises(OperatorError, match="No alert 'x'"):
        await d.desk.acknowledge("x", "ann")


async def test_alerts_outlive_a_restart():
    d = Desk()
    d.phone.dead = True
    await d.desk.notify(critical())
    d.phone.dead = False
    d.desk = AlertDesk(d.phone, d.store, d.clock)
    await d.desk.start()
    await d.later(timedelta(minutes=1))
    assert [a.state for a in d.desk.all()] == ["sent"]


async def test_what_was_being_sent_when_control_died_is_sent_again():
    d = Desk()
    await d.desk.notify(critical())
    (alert,) = d.desk.all()
    await d.store.save_alert(replace(alert, state="new"))  # died before it knew the outcome

    d.desk = AlertDesk(d.phone, d.store, d.clock)
    await d.desk.start()
    await d.desk.notify(critical())
    await d.desk.tick()

    assert len(d.phone.notices) == 2
    assert d.desk.all()[0].state == "sent"


async def test_where_nobody_can_be_told_nothing_is_tried_again():
    d = Desk()

    class Nobody:
        async def notify(self, notice: Notice) -> Delivery:
            return Delivery(False, "no target", 0)

    d.desk.inner = Nobody()
    await d.desk.notify(critical())
    assert [(a.state, a.next_try) for a in d.desk.all()] == [("logged", None)]


def test_an_alert_tells_a_rulings_numbers_and_not_its_inner_switches():
    numbers = {"rate": 0.2, "requests": 59, "literal": True, "rule": "sustained", "chance_x": 0.1}
    assert figures(Ruling("error_rate", "fail", "errors", numbers)) == "rate 0.2, requests 59"
