"""Sign-in by token: the session's cookie, what a form must prove, and how sessions end."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from tests.apps.cli.conftest import PLAYBOOK, TOKENS

from molt.adapters.clocks import VirtualClock
from molt.apps.access.rules import Rules
from molt.apps.access.sessions import cookie_name
from molt.apps.access.signin import inside
from molt.apps.access.throttle import SPAN_SECONDS, TRIES_OF_ONE, Throttle

from .conftest import acts, audit_of

START = {"playbook_yaml": PLAYBOOK, "rollout": "r", "reason": "for the test"}


def test_a_token_signs_in_and_the_session_has_its_role(browser):
    answer = browser.sign_in("operator", "/console/rollouts?x=1")

    assert answer.status_code == 303
    assert answer.headers["location"] == "/console/rollouts?x=1"
    me = browser.http.get("/api/v1/me").json()
    assert (me["name"], me["role"], me["via"]) == ("operator", "operator", "session")


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(browser, server):
    cookie = browser.sign_in("viewer").headers["set-cookie"]

    port = server.url.rpartition(":")[2]
    assert cookie.startswith(f"molt-{port}=")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/" in cookie


def test_behind_https_the_cookie_insists_on_it(browser, server):
    server.app.state.rules = Rules(public_url="https://molt.example")

    cookie = browser.sign_in("viewer").headers["set-cookie"]

    assert cookie.startswith("__Host-molt=")
    assert "Secure" in cookie
    assert "Domain" not in cookie


def test_a_wrong_token_signs_nobody_in(browser):
    answer = browser.post("/console/login", {"token": "molt_guessed"}, csrf="")

    assert answer.status_code == 401
    assert "unknown, expired or revoked" in answer.text
    assert not browser.signed_in()


def test_pages_send_people_to_sign_in_and_back(browser):
    answer = browser.http.post("/console/logout")
    assert answer.status_code == 401

    page = browser.http.get("/console/login", params={"next": "/console/audit"})
    assert 'value="/console/audit"' in page.text
    policy = page.headers["content-security-policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    "page",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil",
        "/consolex",
        "/console/..//evil",
        "",
        "\n",
    ],
)
def test_nobody_is_sent_elsewhere_after_signing_in(page):
    assert inside(page) == "/console"


def test_a_session_may_do_what_its_role_may_with_the_proof_of_the_form(browser):
    browser.sign_in("operator")

    started = browser.http.post(
        "/api/v1/rollouts",
        json=START,
        headers={"origin": browser.url, "x-csrf-token": browser.csrf},
    )

    assert started.status_code == 201, started.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "SELF"},
        {"origin": "https://evil.example", "x-csrf-token": "CSRF"},
        {"origin": "null", "x-csrf-token": "CSRF"},
        {"x-csrf-token": "CSRF"},
        {"origin": "SELF", "sec-fetch-site": "cross-site", "x-csrf-token": "CSRF"},
        {"origin": "SELF", "sec-fetch-site": "same-site", "x-csrf-token": "CSRF"},
        {"origin": "SELF", "x-csrf-token": "0" * 64},
        {"origin": "SELF", "x-csrf-token": "OTHERS"},
    ],
    ids=lambda h: "+".join(f"{k}={v[:12]}" for k, v in h.items()) or "nothing",
)
def test_a_request_that_may_come_from_another_site_is_refused(browser, other, server, headers):
    browser.sign_in("operator")
    other.sign_in("operator")
    known = {"SELF": browser.url, "CSRF": browser.csrf, "OTHERS": other.csrf}
    sent = {name: known.get(value, value) for name, value in headers.items()}

    answer = browser.http.post("/api/v1/rollouts", json=START, headers=sent)

    assert answer.status_code == 403
    assert not server.controller.desks
    assert acts(server)[-1] == ("start", "operator", 403)


def test_what_the_browser_itself_says_of_the_origin_counts(browser):
    browser.sign_in("operator")
    headers = {"origin": "null", "sec-fetch-site": "same-origin", "x-csrf-token": browser.csrf}

    assert browser.http.post("/api/v1/rollouts", json=START, headers=headers).status_code == 201


def test_a_page_of_another_site_cannot_sign_somebody_in(browser):
    answer = browser.post(
        "/console/login", {"token": TOKENS["viewer"]}, csrf="", origin="https://evil.example"
    )

    assert answer.status_code == 403
    assert not browser.signed_in()


def test_a_foreign_role_is_refused_and_stands_on_record(browser, server):
    browser.sign_in("viewer")
    headers = {"origin": browser.url, "x-csrf-token": browser.csrf, "user-agent": "Firefox/140"}

    answer = browser.http.post("/api/v1/rollouts", json=START, headers=headers)

    assert answer.status_code == 403
    last = audit_of(server)[-1]
    assert (last["by"], last["role"], last["via"]) == ("viewer", "viewer", "session")
    assert (last["client"], last["user_agent"]) == ("127.0.0.1", "Firefox/140")
    assert last["reason"] == "for the test"
    assert "needs the role operator" in last["refused"]


def test_forged_cookies_let_nobody_in(browser, server):
    browser.sign_in("admin")
    name = cookie_name(server.app.state.rules)
    secret = browser.http.cookies[name]

    for forged in ("", "x", secret[:-1] + ("A" if secret[-1] != "A" else "B"), secret + "x"):
        answer = httpx.get(
            f"{server.url}/api/v1/me", headers={"cookie": f"{name}={forged}"}, trust_env=False
        )
        assert answer.status_code == 401


def test_a_session_that_was_there_before_signing_in_is_replaced(browser, server):
    browser.sign_in("viewer")
    name = cookie_name(server.app.state.rules)
    before = browser.http.cookies[name]

    browser.sign_in("admin")

    assert browser.http.cookies[name] != before
    old = httpx.get(f"{server.url}/api/v1/me", headers={"cookie": f"{name}={before}"})
    assert old.status_code == 401


def test_a_session_ends_after_its_lifetime_and_when_it_is_idle(browser, other, server):
    browser.sign_in("viewer")
    other.sign_in("viewer")
    rules = server.app.state.rules

    for _ in range(int(rules.lifetime / timedelta(minutes=50))):
        server.later(minutes=50)
        assert browser.signed_in()

    server.later(minutes=30)
    assert not browser.signed_in()
    assert not other.signed_in()


def test_a_session_ends_with_the_token_that_began_it(browser, server):
    browser.sign_in("operator")
    assert browser.signed_in()

    server.call(server.store.tokens.revoke("operator"))

    assert not browser.signed_in()


def test_signing_out_ends_this_session_only(browser, other):
    browser.sign_in("viewer")
    other.sign_in("viewer")

    assert browser.post("/console/logout", {}).status_code == 303

    assert not browser.signed_in()
    assert other.signed_in()


def test_signing_out_everywhere_ends_every_session_of_that_person(browser, other, server):
    browser.sign_in("viewer")
    other.sign_in("viewer")

    browser.post("/console/logout", {"everywhere": "true"})

    assert not other.signed_in()
    assert server.call(server.store.sessions.list()) == []


def test_an_administrator_signs_somebody_out_everywhere(browser, server):
    browser.sign_in("viewer")
    admin = {"authorization": f"Bearer {TOKENS['admin']}"}

    listed = httpx.get(f"{server.url}/api/v1/sessions", headers=admin).json()
    assert [(s["name"], s["client"], s["provider"]) for s in listed] == [
        ("viewer", "127.0.0.1", "token")
    ]
    assert "sha256" not in listed[0]
    ended = httpx.delete(f"{server.url}/api/v1/sessions/viewer", headers=admin)

    assert ended.json() == {"name": "viewer", "ended": 1}
    assert not browser.signed_in()


def test_signing_in_slows_down_after_a_few_failures_also_for_the_right_token(browser, server):
    for _ in range(TRIES_OF_ONE):
        assert browser.post("/console/login", {"token": "no"}, csrf="").status_code == 401

    refused = browser.sign_in("viewer")

    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= SPAN_SECONDS
    assert acts(server)[-1][0::2] == ("sign_in", 429)
    assert not browser.signed_in()


def test_a_throttle_lets_in_again_once_the_failures_are_old():
    throttle = Throttle()
    for second in range(TRIES_OF_ONE):
        assert throttle.wait("a", second) == 0
        throttle.failed("a", second)

    assert throttle.wait("a", 10) == SPAN_SECONDS - 10
    assert throttle.wait("b", 10) == 0
    assert throttle.wait("a", SPAN_SECONDS) == 0


def test_a_throttle_stops_guessing_from_many_addresses():
    throttle = Throttle()
    for number in range(100):
        throttle.failed(f"client-{number}", 0.0)

    assert throttle.wait("another", 1.0) > 0


def test_signing_in_and_out_stands_on_record_without_the_secret(browser, server):
    browser.sign_in("approver")
    browser.post("/console/logout", {})
    browser.post("/console/login", {"token": "molt_not-a-token"}, csrf="")

    assert acts(server) == [
        ("sign_in", "approver", 303),
        ("sign_out", "approver", 303),
        ("sign_in", "", 401),
    ]
    text = str(audit_of(server))
    assert TOKENS["approver"] not in text
    assert "molt_not-a-token" not in text


def test_strangers_cannot_fill_the_record(server):
    server.app.state.clock = clock = VirtualClock(datetime.now(UTC))
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        for _ in range(70):
            assert client.get("/api/v1/rollouts").status_code == 401
        server.call(clock.advance(60))
        assert client.get("/api/v1/rollouts").status_code == 401

    recorded = [r for r in audit_of(server) if r["kind"] == "access"]
    assert len(recorded) == 61
    assert [r.get("unrecorded") for r in recorded] == [None] * 60 + [10]
