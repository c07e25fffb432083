"""API tokens over the API: made, listed, narrowed by scopes, expired, revoked."""

import httpx
import pytest
from tests.apps.cli.conftest import PLAYBOOK, TOKENS

from .conftest import acts


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
