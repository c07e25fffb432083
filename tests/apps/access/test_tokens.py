"""API tokens over the API: made, listed, narrowed by scopes, expired, revoked."""

from datetime import datetime, timedelta

import httpx
import pytest
from tests.apps.cli.conftest import PLAYBOOK, TOKENS, until

from molt.core.errors import StoreUnavailable

from .conftest import acts, audit_of


@pytest.fixture
def api(server):
    def call(method: str, path: str, token: str = TOKENS["admin"], **more) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"}
        url = f"{server.url}/api/v1{path}"
        return httpx.request(method, url, headers=headers, trust_env=False, **more)

    return call


def made(api, **fields) -> str:
    answer = api("POST", "/tokens", json={"name": "ci", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()["token"]


def test_a_token_is_shown_once_and_listed_without_its_secret(api):
    token = made(api, role="operator", scopes=["read", "report"], expires_in_days=30)

    listed = next(t for t in api("GET", "/tokens").json() if t["name"] == "ci")
    assert (listed["role"], listed["state"], listed["created_by"]) == ("operator", "live", "admin")
    assert listed["scopes"] == ["read", "report"]
    assert token not in str(listed)
    assert "sha256" not in listed


def test_only_administrators_make_list_and_revoke_tokens(api, server):
    for role in ("viewer", "operator", "approver"):
        assert api("GET", "/tokens", TOKENS[role]).status_code == 403
        assert api("POST", "/tokens", TOKENS[role], json={"name": "x"}).status_code == 403
        assert api("DELETE", "/tokens/viewer", TOKENS[role]).status_code == 403
    assert acts(server)[-1] == ("revoke_token", "approver", 403)


def test_scopes_narrow_what_the_role_would_allow(api):
    reporter = made(api, name="till", role="operator", scopes=["report"])
    start = {"playbook_yaml": PLAYBOOK, "rollout": "r"}
    assert api("POST", "/rollouts", json=start).status_code == 201
    fact = {"id": "1", "subject": "u1", "kind": "order_completed", "agent": "guest"}

    assert api("POST", "/outcomes", reporter, json=fact).status_code == 202
    assert api("GET", "/rollouts", reporter).status_code == 403
    refused = api("POST", "/rollouts/r/pause", reporter, json={})
    assert refused.status_code == 403
    assert "only for report; this needs operate" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("read", "GET", "/rollouts"),
        ("audit", "GET", "/audit/verify"),
        ("operate", "POST", "/rollouts/none/pause"),
        ("approve", "POST", "/rollouts/none/approve"),
        ("admin", "GET", "/tokens"),
    ],
)
def test_each_scope_opens_its_own_door_only(api, scope, method, path):
    inside = made(api, role="admin", scopes=[scope])
    others = made(api, name="x", role="admin", scopes=[s for s in SCOPES if s != scope])
    body = {"json": {}} if method == "POST" else {}

    assert api(method, path, inside, **body).status_code not in (401, 403)
    assert api(method, path, others, **body).status_code == 403


SCOPES = ("read", "audit", "report", "operate", "approve", "admin")


def test_an_expired_a_revoked_and_a_forged_token_let_nobody_in(api, server):
    short = made(api, name="short", expires_in_days=1)
    gone = made(api, name="gone")
    assert api("GET", "/rollouts", short).status_code == 200
    assert api("GET", "/rollouts", gone).status_code == 200

    server.later(days=1, seconds=1)
    assert api("DELETE", "/tokens/gone").status_code == 200

    for token in (short, gone, gone[:-1], "molt_forged", "Bearer x"):
        assert api("GET", "/rollouts", token).status_code == 401
    assert api("DELETE", "/tokens/gone").status_code == 404


def used(server, name: str = "viewer"):
    """When the token was last used, as the store has it."""
    return next(t.last_used_at for t in server.call(server.store.tokens.list()) if t.name == name)


def test_the_list_says_when_a_token_was_last_used(api, server):
    assert used(server) is None
    assert api("GET", "/me", TOKENS["viewer"]).status_code == 200
    until(lambda: used(server) is not None)

    listed = next(t for t in api("GET", "/tokens").json() if t["name"] == "viewer")
    assert listed["last_used_at"] == used(server).isoformat().replace("+00:00", "Z")


def test_a_use_is_written_at_most_once_a_minute(api, server):
    api("GET", "/me", TOKENS["viewer"])
    until(lambda: used(server) is not None)
    first = used(server)
    server.clock.ahead += timedelta(seconds=40)
    api("GET", "/me", TOKENS["viewer"])
    server.clock.ahead += timedelta(seconds=21)
    api("GET", "/me", TOKENS["viewer"])
    until(lambda: used(server) != first)
    assert used(server) - first >= timedelta(seconds=60)


def test_a_store_that_cannot_note_a_use_refuses_nobody(api, server, monkeypatch):
    async def full(sha256: str, at: datetime) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(server.store.tokens, "use", full)
    assert api("GET", "/me", TOKENS["viewer"]).status_code == 200
    assert used(server) is None


def test_what_is_refused_is_no_use(api, server):
    token = made(api)
    assert api("DELETE", "/tokens/ci").status_code == 200
    assert api("GET", "/me", token).status_code == 401
    assert used(server, "ci") is None


def test_the_record_says_whom_it_was_about_and_why(api, server):
    made(api, name="ci", role="operator", scopes=["report"], reason="nightly builds")
    assert api("DELETE", "/tokens/ci", params={"reason": "leaked"}).status_code == 200

    added, revoked = [r for r in audit_of(server) if r["kind"] == "access"]
    assert added["given"] == {"name": "ci", "role": "operator", "scopes": "report"}
    assert added["reason"] == "nightly builds"
    assert (revoked["path"], revoked["reason"]) == ("/api/v1/tokens/ci", "leaked")


def test_the_console_says_which_token_was_revoked(browser, server):
    browser.sign_in("admin")
    browser.post("/console/people/tokens/revoke", {"name": "viewer", "reason": "has left"})
    record = audit_of(server)[-1]
    assert (record["act"], record["given"], record["reason"]) == (
        "revoke_token",
        {"name": "viewer"},
        "has left",
    )
