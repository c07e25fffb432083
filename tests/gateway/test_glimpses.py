"""The sample for people who watch is bounded, spread, and shows what went wrong first."""

from types import SimpleNamespace
from typing import Any, cast

from molt.gateway.glimpses import BURST, MOST, NOTABLE_A_SECOND, ORDINARY_A_SECOND, Glimpses
from molt.gateway.observations import Observation
from molt.wire.exchange import Exchange

OK = Observation("request", status="2")
FAILED = Observation("request", error=True, status="5")


def offer(glimpses: Glimpses, count: int, seen: Observation, second: float, **record: Any) -> None:
    for i in range(count):
        exchange = cast("Exchange", SimpleNamespace(usage=None, status=200))
        glimpses.offer({"at": "x", **record}, exchange, seen, second + i / count)


def test_a_thousand_requests_a_second_leave_a_few_dozen_and_the_true_count() -> None:
    glimpses = Glimpses()
    taken = total = 0
    for second in range(10):
        offer(glimpses, 1000, OK, second, arm="control")
        rows, offered = glimpses.take()
        taken, total = taken + len(rows), total + offered
    assert total == 10_000
    assert taken <= 10 * ORDINARY_A_SECOND + BURST
    assert taken >= 9 * ORDINARY_A_SECOND


def test_failures_find_room_whatever_the_load() -> None:
    glimpses = Glimpses()
    offer(glimpses, 1000, OK, 1.0, arm="control")
    offer(glimpses, 5, FAILED, 2.0, arm="control")
    rows, _ = glimpses.take()
    assert [r["verdict"] for r in rows].count("error") == 5
    assert NOTABLE_A_SECOND >= 5


def test_what_nobody_takes_does_not_grow() -> None:
    glimpses = Glimpses()
    offer(glimpses, 20_000, FAILED, 0.0)
    for second in range(60):
        offer(glimpses, 50, FAILED, float(second))
    rows, offered = glimpses.take()
    assert len(rows) == MOST
    assert offered == 23_000
    assert glimpses.take() == ([], 0)
