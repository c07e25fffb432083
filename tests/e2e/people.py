"""People at the console in a real browser: signed in, and held to have had nothing to complain of."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright
from tests.e2e import browser as chromium
from tests.e2e.conftest import Molt

PATIENCE = 20_000


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    path = chromium.find()
    if path is None:
        pytest.skip("no browser: python tests/e2e/browser.py says how to get one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Person:
    """Somebody signed in; what their browser complains about is kept."""

    def __init__(self, chrome: Browser, molt: Molt, name: str, role: str, **options: Any) -> None:
        made = molt.post("/tokens", name=f"{name}-{time.monotonic_ns()}", role=role)
        assert made.status_code == 201, made.text
        self.name, self.token = made.json()["name"], made.json()["token"]
        self.context: BrowserContext = chrome.new_context(base_url=molt.api, **options)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda m: m.type == "error" and self.complaints.append(m.text))
        self.page.goto("/console/login")
        self.page.get_by_label("API token").fill(self.token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/console**")

    def open(self, path: str) -> Page:
        self.page.goto(f"/console/{path}")
        return self.page

    def leave(self) -> None:
        """Close everything. A button's page may still be on its way here: the live stream can show
        what it did before its answer comes; and Chromium may never say that such a page is closed.
        """
        for page in self.context.pages:
            try:
                page.goto("about:blank", wait_until="commit")
            except Error as error:
                if "interrupted by another navigation" not in error.message:
                    raise
                page.goto("about:blank", wait_until="commit")  # now that the answer is here
        self.context.close()


@contextmanager
def signed_in(
    chrome: Browser, molt: Molt, name: str, role: str, refusals: int = 0, **options: Any
) -> Iterator[Person]:
    """A person for a while. Afterwards nothing must have been complained about, but `refusals`
    answers with 4xx, which the browser counts as errors."""
    person = Person(chrome, molt, name, role, **options)
    try:
        yield person
        told = ("the server responded with a status of 4", "SSE reconnect failed with status 401")
        expected = [c for c in person.complaints if any(t in c for t in told)]
        assert len(expected) <= refusals, person.complaints
        others = [c for c in person.complaints if c not in expected]
        assert others == [], others
    finally:
        person.leave()


def press(page: Page, button: str, then: str, reason: str) -> None:
    """Open a form, give the reason, carry out."""
    page.get_by_role("button", name=button, exact=True).first.click()
    form = page.locator(".dialog:popover-open")
    form.get_by_role("textbox").first.fill(reason)
    form.get_by_role("button", name=then, exact=True).click()
