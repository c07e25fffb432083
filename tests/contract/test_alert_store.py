"""What every store promises about alerts."""

from datetime import timedelta

from molt.ports import Alert

from .evidence_values import AT


def alert(name: str, minutes: int = 0, **more: object) -> Alert:
    at = AT + timedelta(minutes=minutes)
    return Alert(name, "key", "critical", "title", "body", AT, at, **more)  # pyright: ignore


async def test_alerts_come_back_as_they_were_kept_newest_first(store):
    old, new = alert("b"), alert("a", 5, acked_by="ann", acked_at=AT, next_try=AT, count=3)
    for one in (old, new):
        await store.save_alert(one)

    assert list(await store.alerts(10)) == [new, old]
    assert list(await store.alerts(1)) == [new]


async def test_an_alert_is_replaced_as_a_whole(store):
    await store.save_alert(alert("a", state="undelivered"))
    await store.save_alert(alert("a", 1, state="sent"))

    assert [a.state for a in await store.alerts(10)] == ["sent"]
