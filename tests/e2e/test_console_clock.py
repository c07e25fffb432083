"""The console in a real browser, with a clock that is moved by hand: what only shows with time."""

import hashlib
import re
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect
from tests.apps.cli.conftest import PLAYBOOK, TOKENS, Server, server
from tests.apps.console.test_afterwards import AFTER
from tests.e2e.people import PATIENCE, chrome, press, signed_in
from tests.e2e.test_console import looked_at

from molt.apps.console import build
from molt.core.errors import StoreUnavailable
from molt.core.evidence import Batch, Slot, SlotKey

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


# --- numbers that grow old, and sessions that end


def slot(server: Server, requests: int) -> None:
    """A gateway tells of the slot of now."""
    start = int(server.clock.now().timestamp()) // 10 * 10
    key = SlotKey("short", 1, "guest", "control", "live", start)
    batch = Batch("g", requests, server.clock.now(), 1, slots=[Slot(key, requests=requests)])
    server.call(server.controller.ingest(batch))


def test_numbers_that_nobody_brings_anew_are_called_old_until_somebody_does(
    chrome: Browser, server: Server, molt: Any
) -> None:
    begin(molt, PLAYBOOK, "short")
    slot(server, 1)
    with signed_in(chrome, molt, "ida", "viewer", reduced_motion="reduce") as ida:
        page = ida.open("rollouts/short")
        old = page.get_by_text(re.compile(r"No data for \d+ \w+.*: the numbers below are as of"))
        expect(page.locator("#connection")).to_have_text("live", timeout=PATIENCE)
        expect(old).to_have_count(0)
        server.later(seconds=40)
        # It is said on the page that is open, and beside it stands since when.
        expect(old).to_be_visible(timeout=PATIENCE)
        expect(page.locator(".banner.wait time")).to_have_attribute("datetime", re.compile("T"))
        expect(page.locator("#connection")).to_have_text("live")
        assert looked_at(ida.page, "stale") == []
        slot(server, 2)
        expect(old).to_have_count(0, timeout=PATIENCE)
        expect(page.get_by_text("No data for")).to_have_count(0)


def test_a_session_that_time_has_ended_leads_to_where_one_signs_in_and_back(
    chrome: Browser, server: Server, molt: Any
) -> None:
    begin(molt, PLAYBOOK, "short")
    for ending in ("idle", "lifetime"):
        with signed_in(chrome, molt, "sam", "operator", refusals=9) as sam:
            page = sam.open("rollouts/short")
            expect(page.locator("#connection")).to_have_text("live", timeout=PATIENCE)
            server.later(seconds=getattr(server.app.state.rules, ending).total_seconds() + 60)
            if ending == "idle":  # looking at a wall screen goes on; doing something does not
                expect(page.locator("#connection")).to_have_text("live")
                press(page, "Pause", "Pause", "too late")
            # At the end of its lifetime the stream of the page that is open ends with the session.
            page.wait_for_url("**/console/login?next=/console/rollouts/short**")
            other = sam.context.new_page()
            other.goto("/console/audit")
            expect(other.get_by_role("heading", name="Sign in")).to_be_visible()
            page.get_by_label("API token").fill(sam.token)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url("**/console/rollouts/short")
            expect(page.locator("#connection")).to_have_text("live", timeout=PATIENCE)


def test_a_button_pressed_after_the_session_has_ended_does_nothing(
    chrome: Browser, server: Server, molt: Any
) -> None:
    begin(molt, PLAYBOOK, "short")
    with signed_in(chrome, molt, "sam", "operator", 9, java_script_enabled=False) as sam:
        page = sam.open("rollouts/short")
        server.later(seconds=server.app.state.rules.idle.total_seconds() + 60)
        press(page, "Roll back now", "Roll back now", "too late")
        expect(page.get_by_role("heading", name="Please sign in")).to_be_visible()
    assert molt.client.get("/rollouts/short").json()["phase"] == "canary"


def test_a_forged_cookie_lets_no_browser_in(chrome: Browser, server: Server, molt: Any) -> None:
    begin(molt, PLAYBOOK, "short")
    with signed_in(chrome, molt, "eve", "operator", refusals=9) as eve:
        page, live = eve.open("rollouts/short"), eve.page.locator("#connection")
        expect(live).to_have_text("live", timeout=PATIENCE)
        (true,) = eve.context.cookies()
        flipped = ("B" if true["value"][0] == "A" else "A") + true["value"][1:]
        in_store = hashlib.sha256(true["value"].encode()).hexdigest()
        for forged in (flipped, in_store, eve.token, "admin", ""):
            eve.context.add_cookies([{**true, "value": forged}])  # type: ignore[typeddict-item]
            press(page, "Roll back now", "Roll back now", "mine")
            page.wait_for_url("**/console/login?next=/console/rollouts/short**")
            page.goto("/console/people")
            expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
            # With the true one, and the form that belongs to it, it would have worked.
            eve.context.add_cookies([true])  # type: ignore[list-item]
            eve.open("rollouts/short")
            expect(live).to_have_text("live", timeout=PATIENCE)
        assert molt.client.get("/rollouts/short").json()["phase"] == "canary"
        press(page, "Roll back now", "Roll back now", "mine")
        expect(page.locator(".sentence")).to_contain_text("Rolled back", timeout=PATIENCE)


def test_what_fails_is_said_where_it_was_asked_and_is_right_again_by_itself(
    chrome: Browser, server: Server, molt: Any
) -> None:
    begin(molt, PLAYBOOK, "short")
    slot(server, 1)
    with signed_in(chrome, molt, "ona", "operator", reduced_motion="reduce") as ona:
        page, other = ona.open("analytics"), ona.context.new_page()
        state = page.locator("#state")
        expect(state).to_contain_text("1 requests, one point is", timeout=PATIENCE)
        read, write = server.store.slots, server.store.append

        async def broken(*_: object, **__: object) -> Any:
            raise RuntimeError("a bug")

        async def full(*_: object, **__: object) -> Any:
            raise StoreUnavailable("the disk is full")

        server.store.slots = broken  # type: ignore[method-assign]
        server.store.append = full  # type: ignore[method-assign]
        expect(state).to_contain_text(
            "could not be loaded (control answered 500)", timeout=PATIENCE
        )
        expect(page.locator("#connection")).to_contain_text("trying again")
        # What was drawn before stays to be read.
        expect(page.locator("#traffic canvas")).to_be_visible()

        other.goto("/console/analytics?span=5m")
        expect(other.get_by_role("heading", name="That is a fault of Molt")).to_be_visible()
        expect(other.get_by_text("Traffic and decisions are not touched by it")).to_be_visible()
        assert looked_at(other, "fault") == []
        other.goto("/console/rollouts/short")
        press(other, "Pause", "Pause", "lunch")
        said = other.locator(".dialog:popover-open .said")
        expect(said).to_contain_text("the disk is full", timeout=PATIENCE)

        server.store.slots = read  # type: ignore[method-assign]
        server.store.append = write  # type: ignore[method-assign]
        expect(state).to_contain_text("1 requests, one point is", timeout=PATIENCE)
        expect(page.locator("#connection")).to_have_text("live")
        other.locator(".dialog:popover-open").get_by_role("button", name="Pause").click()
        other.wait_for_url("**/rollouts/short?done=pause**")
        expect(other.locator(".sentence")).to_contain_text("paused", timeout=PATIENCE)
        ona.complaints[:] = [c for c in ona.complaints if "with a status of 50" not in c]
