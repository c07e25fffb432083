"""The console over a store in memory; the same server as the command line's tests use."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from tests.apps.cli.conftest import PLAYBOOK, TOKENS, Server, server

__all__ = ["Browser", "Browsers", "Server", "server"]


class Browser:
    """Asks for pages as a role does."""

    def __init__(self, server: Server, role: str | None = "admin") -> None:
        headers = {"authorization": f"Bearer {TOKENS[role]}"} if role else {}
        self.http = httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=20)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.http.get(path, **options)

    def send(self, path: str, **fields: str) -> httpx.Response:
        """A form, as the browser posts it."""
        return self.http.post(path, data=fields)


Browsers = Callable[[str | None], Browser]


@pytest.fixture
def browsers(server: Server) -> Iterator[Browsers]:
    """Makes browsers of any role, and closes them."""
    made: list[Browser] = []

    def make(role: str | None) -> Browser:
        made.append(Browser(server, role))
        return made[-1]

    yield make
    for one in made:
        one.http.close()


@pytest.fixture
def browser(browsers: Browsers) -> Browser:
    """An administrator, before any rollout."""
    return browsers("admin")


@pytest.fixture
def begun(browser: Browser) -> Browser:
    """An administrator, with a rollout `tiny` of two steps in its first."""
    body = {"playbook_yaml": PLAYBOOK, "rollout": "tiny", "reason": "test"}
    assert browser.http.post("/api/v1/rollouts", json=body).status_code == 201
    return browser
