"""How far today's money has gone: alerts at 50, 80 and 100% of the budget, and before it is overrun."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from molt.control.alerts import AlertDesk
from molt.control.desk import Desk
from molt.core.evidence import Spent
from molt.core.rollout import WATCHED
from molt.ports import Notice

Severity = Literal["info", "warning", "critical"]

LEVELS: Final[tuple[tuple[float, Severity], ...]] = (
    (0.5, "info"),
    (0.8, "warning"),
    (1.0, "critical"),
)
ENOUGH: Final = 100
"""Priced requests before the cost of a request is held against its budget, or a day is projected."""
EARLIEST: Final = timedelta(hours=1)
"""A day is projected only from then on."""


class Money(NamedTuple):
    """Spent so far today, and what the day will come to at this pace (USD); None while too early."""

    spent: Spent
    projected: float | None


async def tell(desks: Iterable[Desk], alerts: AlertDesk, now: datetime) -> None:
    """Alert on-call of what is to be said about money: each thing once a day, restarts or not."""
    for desk in desks:
        if desk.rollout.phase in WATCHED:
            for notice in notices(desk, now, alerts.known):
                await alerts.notify(notice)


def today(desk: Desk, now: datetime) -> Money:
    """What the candidate has cost since midnight UTC, live and in shadow."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    spent = desk.book.spent_since(midnight)
    since = max(midnight, desk.rollout.started_at or midnight)
    passed = now - since
    projected = None
    if passed >= EARLIEST and spent.known_of >= ENOUGH:
        rest = midnight + timedelta(days=1) - now
        projected = spent.total * (1 + rest / passed)
    return Money(spent, projected)


def notices(desk: Desk, now: datetime, known: Callable[[str], bool]) -> Iterator[Notice]:
    """What is to be said about money now and is not `known` by its key, which is its own for the day."""
    name, cost = desk.id, desk.playbook.cost
    spent, projected = today(desk, now)
    known_of = f"{spent.known_of} priced requests"
    day = f"{now:%Y-%m-%d}"
    if cap := cost.spend_cap_per_day:
        body = f"${spent.total:.2f} of ${cap:.2f} spent today, {known_of}"
        if level := _news(spent.total / cap, lambda at: f"{desk.id}-spent-{at:g}-{day}", known):
            title = f"{name}: {level.at:.0%} of today's budget is spent"
            yield _notice(desk, level.severity, title, body + level.also, level.key)
        overrun = f"{desk.id}-overrun-{day}"
        if projected and projected > cap > spent.total and not known(overrun):
            title = f"{name}: today's budget will be overrun"
            text = f"at this pace ${projected:.2f} by midnight UTC; {body}"
            yield _notice(desk, "warning", title, text, overrun)
    per_1000 = spent.per_1000
    if cost.budget_per_1000 and per_1000 is not None and spent.known_of >= ENOUGH:
        body = (
            f"${per_1000:.3f} for 1,000 requests, budget ${cost.budget_per_1000:.3f}; today, "
            f"{known_of}"
        )
        used = per_1000 / cost.budget_per_1000
        if level := _news(used, lambda at: f"{desk.id}-per-1000-{at:g}-{day}", known):
            title = f"{name}: requests cost {level.at:.0%} of their budget"
            yield _notice(desk, level.severity, title, body + level.also, level.key)


def _notice(desk: Desk, severity: Severity, title: str, body: str, key: str) -> Notice:
    return Notice(
        severity, title, body, key, about="cost", page=f"rollouts/{desk.id}", rollout=desk.id
    )


class _Level(NamedTuple):
    """The level that was reached, as a part of the budget, and what its alert says of the others."""

    at: float
    severity: Severity
    key: str
    also: str


def _news(used: float, key: Callable[[float], str], known: Callable[[str], bool]) -> _Level | None:
    """The highest level that was reached, with those passed on the way; None where it, or a higher
    one, was said before.
    """
    said = max((at for at, _ in LEVELS if known(key(at))), default=0.0)
    new = [level for level in LEVELS if said < level[0] <= used]
    if not new:
        return None
    *passed, (at, severity) = new
    lower = " and ".join(f"{level:.0%}" for level, _ in passed)
    return _Level(at, severity, key(at), f"; {lower} passed at once" if lower else "")
