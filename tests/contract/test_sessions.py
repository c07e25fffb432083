"""What every store promises about people who are signed in."""

from datetime import timedelta

from molt.adapters.sql.values import ApiToken, Session

from .evidence_values import AT

HOUR = timedelta(hours=1)


def session(name: str, number: int = 1, **more: object) -> Session:
    """A session of `name` that lasts an hour from noon."""
    fields = {"created_at": AT, "seen_at": AT, "expires_at": AT + HOUR, **more}
    return Session(f"hash-{name}-{number}", name, "approver", **fields)  # pyright: ignore


async def test_a_session_comes_back_as_it_was_kept(store):
    kept = session("ann", provider="https://id.example", client="192.0.2.7", user_agent="Firefox")
    await store.sessions.add(kept)

    assert await store.sessions.find_by_hash(kept.sha256) == kept
    assert await store.sessions.find_by_hash("ann") is None


async def test_a_session_is_over_when_it_expires(store, now):
    now.at = AT
    await store.sessions.add(session("ann"))

    now.pass_by(HOUR - timedelta(microseconds=1))
    assert await store.sessions.find_by_hash("hash-ann-1") is not None
    now.pass_by(timedelta(microseconds=1))
    assert await store.sessions.find_by_hash("hash-ann-1") is None
    assert await store.sessions.list() == []


async def test_when_it_was_last_used_is_kept(store, now):
    now.at = AT
    await store.sessions.add(session("ann"))

    await store.sessions.see("hash-ann-1", AT + timedelta(minutes=5))
    await store.sessions.see("hash-of-nobody", AT)

    found = await store.sessions.find_by_hash("hash-ann-1")
    assert found is not None
    assert found.seen_at == AT + timedelta(minutes=5)


async def test_one_session_ends_or_all_of_a_person(store, now):
    now.at = AT
    for one in (session("ann", 1), session("ann", 2), session("ann", 3), session("bob")):
        await store.sessions.add(one)

    assert await store.sessions.end("hash-ann-1") is True
    assert await store.sessions.end("hash-ann-1") is False
    assert await store.sessions.end_all("ann") == 2
    assert await store.sessions.end_all("ann") == 0

    assert [s.name for s in await store.sessions.list()] == ["bob"]


async def test_sessions_that_are_over_do_not_pile_up(store, now):
    now.at = AT
    await store.sessions.add(session("ann"))
    now.pass_by(2 * HOUR)

    later = session("bob", created_at=now(), seen_at=now(), expires_at=now() + HOUR)
    await store.sessions.add(later)
    now.at = AT

    assert [s.name for s in await store.sessions.list()] == ["bob"]


async def test_a_token_keeps_what_it_is_narrowed_to_and_who_made_it(store):
    token = ApiToken("ci", "operator", "h", AT, scopes=("read", "report"), created_by="ann")
    await store.tokens.add(token)

    assert await store.tokens.find_by_hash("h") == token
