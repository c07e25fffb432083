"""The console's page of people: who is signed in, which tokens there are; for administrators."""

import re

import httpx
from tests.apps.access.conftest import Browser, acts
from tests.apps.cli.conftest import Server

PEOPLE = "/console/people"


def test_a_token_made_on_the_page_is_shown_once_works_and_is_revoked(
    server: Server, browser: Browser
) -> None:
    browser.sign_in("admin")
    form = {"name": "ci", "role": "operator", "scopes": "report", "expires_in_days": ""}
    made = browser.post(f"{PEOPLE}/tokens", form)
    assert made.status_code == 201
    [token] = re.findall(r"molt_[\w-]{20,}", made.text)
    assert token not in browser.http.get(PEOPLE).text
    assert browser.post(f"{PEOPLE}/tokens", form).status_code == 409
    bearer = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=server.url, headers=bearer, trust_env=False) as system:
        unused, used = (
            re.search(rf'>{name}</th>.*?data-label="Last used">(.*?)</td>', page, re.DOTALL)
            for name in ("ci", "admin")
            for page in [browser.http.get(PEOPLE).text]
        )
        assert unused is not None
        assert used is not None
        assert (unused[1], "<time" in used[1]) == ("never", True)
        assert system.get("/api/v1/me").status_code == 403  # only for reports
        assert browser.post(f"{PEOPLE}/tokens/revoke", {"name": "ci"}).status_code == 303
        assert system.get("/api/v1/me").status_code == 401
    assert ("revoke_token", "admin", 303) in acts(server)


def test_one_session_or_all_of_a_person_end_on_the_page(browser: Browser, other: Browser) -> None:
    browser.sign_in("admin")
    other.sign_in("viewer")
    page = browser.http.get(PEOPLE).text
    rows = page.split("<tr>")
    [row] = [row for row in rows if ">viewer</th>" in row and "sessions/end" in row]
    [key] = re.findall(r'name="session" value="(\w+)"', row)
    assert browser.post(f"{PEOPLE}/sessions/end", {"session": key}).status_code == 303
    assert not other.signed_in()
    assert browser.post(f"{PEOPLE}/sessions/end", {"session": key}).status_code == 404
    other.sign_in("viewer")
    assert browser.post(f"{PEOPLE}/sessions/end-all", {"name": "viewer"}).status_code == 303
    assert not other.signed_in()
    assert browser.signed_in()


def test_only_administrators_see_the_page_and_a_forged_form_does_nothing(
    browser: Browser, other: Browser
) -> None:
    other.sign_in("approver")
    assert other.http.get(PEOPLE).status_code == 403
    assert PEOPLE not in other.http.get("/console/alerts").text
    assert other.post(f"{PEOPLE}/tokens", {"name": "mine", "role": "admin"}).status_code == 403
    browser.sign_in("admin")
    assert PEOPLE in browser.http.get("/console/alerts").text
    forged = browser.post(f"{PEOPLE}/sessions/end-all", {"name": "approver"}, csrf="forged")
    assert forged.status_code == 403
    assert other.signed_in()
