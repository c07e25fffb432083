"""The console in a real browser, with a clock that is moved by hand: what only shows with time."""

import re
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect
from tests.apps.cli.conftest import TOKENS, Server, server
from tests.apps.console.test_afterwards import AFTER
from tests.e2e.people import PATIENCE, chrome, signed_in
from tests.e2e.test_console import looked_at

from molt.apps.console import build

__all__ = ["chrome", "server"]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not build.is_built(), reason="console assets are not built: make console"),
]


@pytest.fixture
def molt(server: Server) -> Iterator[Any]:
    """The server as people know it: its address, and commands as its administrator."""
    headers = {"authorization": f"Bearer {TOKENS['admin']}"}
    with httpx.Client(
        base_url=f"{server.url}/api/v1", headers=headers, trust_env=False, timeout=20
    ) as client:
        yield SimpleNamespace(
            api=server.url, client=client, post=lambda path, **body: client.post(path, json=body)
        )


def begin(molt: Any, plan: str, name: str) -> None:
    answer = molt.post("/rollouts", playbook_yaml=plan, rollout=name, reason="test")
    assert answer.status_code == 201, answer.text


def test_tasks_are_given_and_signed_by_two_people_until_the_open_rollout_page_says_closed(
    chrome: Browser, server: Server, molt: Any
) -> None:
    begin(molt, AFTER, "short")
    with (
        signed_in(chrome, molt, "oli", "operator") as oli,
        signed_in(chrome, molt, "bea", "operator", 1) as bea,
    ):
        rollout = oli.open("rollouts/short")
        expect(rollout.get_by_role("button", name="Pause")).to_be_visible()
        for _ in range(3):
            server.later(seconds=5)
        # The page that is open takes away what cannot be done any more.
        expect(rollout.get_by_role("heading", name="What comes next")).to_be_visible()
        expect(rollout.get_by_role("button", name="Pause")).to_be_hidden()
        expect(rollout.get_by_role("button", name="Resume")).to_be_hidden()
        expect(rollout.get_by_role("button", name="Roll back now").first).to_be_visible()

        page = bea.open("rollouts/short")
        page.get_by_role("link", name="Tasks", exact=True).click()
        page.get_by_role("button", name=re.compile("^Assign task 1")).click()
        form = page.locator(".dialog:popover-open")
        expect(form.get_by_label("Owner")).to_be_focused()
        form.get_by_label("Owner").fill(oli.name)
        yesterday = (server.clock.now() - timedelta(days=1)).date().isoformat()
        form.get_by_label("Due").fill(yesterday)
        form.get_by_role("button", name="Assign").click()
        expect(page.locator("#task-1")).to_contain_text(f"{oli.name}, until {yesterday}")
        expect(page.locator("#task-1")).to_contain_text("overdue")
        expect(rollout.get_by_text("1 overdue")).to_be_visible(timeout=PATIENCE)

        tasks = oli.context.new_page()
        tasks.goto("/console/rollouts/short/tasks")
        for number in (1, 2):
            tasks.get_by_role("button", name=re.compile(f"^Sign task {number}")).click()
            form = tasks.locator(".dialog:popover-open")
            form.get_by_role("textbox").fill("see the wiki")
            form.get_by_role("button", name="Sign").click()
            expect(tasks.locator(f"#task-{number}")).to_contain_text(f"Signed by {oli.name}")
        expect(tasks.get_by_text("Closed: everything is signed.")).to_be_visible()
        expect(rollout.locator(".sentence")).to_contain_text("Closed", timeout=PATIENCE)

        # Bea's page is older: what was signed meanwhile is refused in words, in her form.
        page.get_by_role("button", name=re.compile("^Sign task 2")).click()
        form = page.locator(".dialog:popover-open")
        form.get_by_role("button", name="Sign").click()
        expect(form.get_by_role("alert")).to_contain_text(f"{oli.name} has signed")


def test_tasks_read_well_and_need_no_script(chrome: Browser, server: Server, molt: Any) -> None:
    begin(molt, AFTER, "short")
    for _ in range(3):
        server.later(seconds=5)
    molt.post("/rollouts/short/tasks/1/assign", owner="bea", due="2020-01-31")
    with signed_in(chrome, molt, "max", "admin", reduced_motion="reduce") as max_:
        wrong: list[object] = []
        for path in ("rollouts/short/tasks", "rollouts/short"):
            wrong += looked_at(max_.open(path), path)
        assert wrong == [], "\n".join(map(str, wrong))
    with signed_in(chrome, molt, "nos", "operator", java_script_enabled=False) as nos:
        page = nos.open("rollouts/short/tasks")
        page.get_by_role("button", name=re.compile("^Sign task 1")).click()
        form = page.locator("#sign-1")
        form.get_by_role("textbox").fill("done, without a script")
        form.get_by_role("button", name="Sign").click()
        expect(page.locator("#task-1")).to_contain_text("done, without a script")
        assert re.search(r"done=signed$", page.url)
    with signed_in(chrome, molt, "vic", "viewer") as vic:
        page = vic.open("rollouts/short/tasks")
        expect(page.locator("#task-2")).to_be_visible()
        assert page.locator("main button").count() == 0
