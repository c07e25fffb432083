"""What every store promises about API tokens, and about agents that report before they act."""

import asyncio
from datetime import timedelta

import pytest

from molt.adapters.sql.values import ApiToken
from molt.core.errors import Refused
from molt.core.evidence import Batch, Call

from .evidence_values import AT

HOUR = timedelta(hours=1)


def token(name: str, sha256: str = "", role: str = "viewer", **more: object) -> ApiToken:
    return ApiToken(name, role, sha256 or f"hash-of-{name}", AT, **more)  # pyright: ignore


async def test_a_token_is_found_by_its_hash_only(store):
    await store.tokens.add(token("ann", role="admin"))

    found = await store.tokens.find_by_hash("hash-of-ann")

    assert found == token("ann", role="admin")
    assert await store.tokens.find_by_hash("ann") is None


async def test_a_revoked_token_lets_nobody_in_but_stays_listed(store, now):
    await store.tokens.add(token("ann"))
    await store.tokens.add(token("bob"))

    assert await store.tokens.revoke("ann") is True
    assert await store.tokens.revoke("ann") is False
    assert await store.tokens.revoke("nobody") is False

    assert await store.tokens.find_by_hash("hash-of-ann") is None
    assert await store.tokens.find_by_hash("hash-of-bob") is not None
    assert [(t.name, t.revoked_at) for t in await store.tokens.list()] == [
        ("ann", now()),
        ("bob", None),
    ]


async def test_a_token_says_when_it_was_last_used(store, now):
    await store.tokens.add(token("ann"))
    await store.tokens.add(token("bob"))
    assert [t.last_used_at for t in await store.tokens.list()] == [None, None]

    await store.tokens.use("hash-of-ann", now())
    await store.tokens.use("hash-of-nobody", now())

    assert [t.last_used_at for t in await store.tokens.list()] == [now(), None]
    found = await store.tokens.find_by_hash("hash-of-ann")
    assert found.last_used_at == now()


async def test_a_token_ends_when_it_expires(store, now):
    await store.tokens.add(token("ann", expires_at=now() + HOUR))

    now.pass_by(HOUR - timedelta(microseconds=1))
    assert await store.tokens.find_by_hash("hash-of-ann") is not None
    now.pass_by(timedelta(microseconds=1))
    assert await store.tokens.find_by_hash("hash-of-ann") is None
    assert await store.tokens.revoke("ann") is False


async def test_a_name_has_one_live_token_and_a_hash_is_never_used_twice(store):
    await store.tokens.add(token("ann"))

    with pytest.raises(Refused, match="token for ann already"):
        await store.tokens.add(token("ann", "other"))
    with pytest.raises(Refused, match="make a new one"):
        await store.tokens.add(token("bob", "hash-of-ann"))

    await store.tokens.revoke("ann")
    await store.tokens.add(token("ann", "other"))
    with pytest.raises(Refused):
        await store.tokens.add(token("bob", "hash-of-ann"))
    assert len(await store.tokens.list()) == 2


async def test_a_run_reports_until_it_is_closed(store):
    assert await store.report_call("run1", "add_to_cart", '{"item": 1}', AT) is True
    assert await store.report_call("run1", "place_order", "{}", AT) is True
    assert await store.report_call("run2", "call_staff", "{}", AT) is True

    assert await store.close_run("run1", AT) == ["add_to_cart", "place_order"]

    assert await store.report_call("run1", "place_order", "{}", AT) is False
    assert await store.close_run("run1", AT) == ["add_to_cart", "place_order"]
    assert await store.report_call("run2", "call_staff", "{}", AT) is True


async def test_a_run_can_be_closed_before_it_reported_anything(store):
    assert await store.close_run("run1", AT) == []
    assert await store.report_call("run1", "place_order", "{}", AT) is False


async def test_whoever_is_first_wins_when_calls_and_the_end_of_a_run_come_at_once(store):
    calls = [store.report_call("run1", f"t{i}", "{}", AT) for i in range(10)]
    calls.insert(5, store.close_run("run1", AT))

    answers = await asyncio.gather(*calls)

    acted = answers.pop(5)
    assert acted == [f"t{i}" for i, allowed in enumerate(answers) if allowed]


async def test_a_run_is_forgotten_an_hour_after_its_last_report(store):
    await store.close_run("closed", AT)
    await store.report_call("young", "a", "{}", AT)
    await store.report_call("young", "b", "{}", AT + HOUR)
    await store.fold(AT + HOUR)
    assert await store.report_call("closed", "a", "{}", AT) is False

    await store.fold(AT + HOUR + timedelta(microseconds=1))

    assert await store.close_run("closed", AT) == []
    assert await store.close_run("young", AT + HOUR) == ["a", "b"]


def call(name: str, run: str = "run1", rollout: str = "r", after: int = 0) -> Call:
    return Call(
        id=name,
        at=AT + timedelta(seconds=after),
        kind="tool",
        name="add_to_cart",
        disposition="executed",
        rollout=rollout,
        run=run,
        arguments='{"item": 1}',
        latency_ms=1.5,
    )


def of_calls(sequence: int, *calls: Call) -> Batch:
    return Batch(gateway="egress", sequence=sequence, sent_at=AT, applied=1, calls=list(calls))


async def test_calls_of_a_run_come_back_whole_and_in_order_of_time(store):
    late, early, other = call("b", after=2), call("a", after=1), call("c", "run2")
    await store.ingest(of_calls(1, late, other))
    await store.ingest(of_calls(2, early))

    assert await store.calls_of("run1") == [early, late]
    end = AT + timedelta(seconds=9)
    assert await store.calls("r", AT + timedelta(seconds=1), end) == [early, late]
    assert await store.calls("r", AT, AT + timedelta(seconds=2)) == [other, early]
    assert await store.calls("r", AT, end, at_most=2) == [early, late]
    assert await store.calls("another", AT, end) == []


async def test_a_call_counts_once_by_its_id(store):
    await store.ingest(of_calls(1, call("a")))
    await store.ingest(of_calls(2, call("a"), call("b")))

    assert [c.id for c in await store.calls_of("run1")] == ["a", "b"]


async def test_calls_are_forgotten_after_a_week(store):
    await store.ingest(of_calls(1, call("a"), call("b", after=1)))

    await store.fold(AT + timedelta(days=7, seconds=1))

    assert [c.id for c in await store.calls_of("run1")] == ["b"]
