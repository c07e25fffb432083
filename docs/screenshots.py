"""Takes the documentation's screenshots from a demo that runs: `make screenshots`.

A rollout of some minutes is led to 10%, each page is taken; then a fault makes an incident to show.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, sync_playwright
from tests.e2e.browser import find

HERE = Path(__file__).parent
TARGET = HERE / "screenshots"
WIDE, NARROW = {"width": 1000, "height": 600}, {"width": 360, "height": 740}
WAIT_SECONDS = 400


class Demo:
    """`molt demo`, kept running, and the way into it."""

    def __init__(self, folder: str) -> None:
        command = [sys.executable, "-m", "molt.apps.cli", "demo", "--minutes", "4", "--keep"]
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [*command, "--port", "0", "--data", folder], stdout=subprocess.PIPE, text=True
        )
        said = ""
        assert self.process.stdout is not None
        while "/api/v1/stream" not in said:
            line = self.process.stdout.readline()
            assert line, "the demo did not start"
            said += line
        self.token = re.findall(r"molt_[\w-]+", said)[0]
        self.api = re.findall(r"(http://[\d.:]+)/api/v1/stream", said)[0]
        self.http = httpx.Client(
            base_url=f"{self.api}/api/v1",
            headers={"authorization": f"Bearer {self.token}"},
            trust_env=False,
        )

    def state(self) -> dict[str, Any]:
        begun = self.http.get("/rollouts").json()
        return begun[0] if begun else {"phase": "not begun", "traffic_percent": 0, "halt": None}

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition(state := self.state()):
            assert time.monotonic() < deadline, f"still {state['phase']}"
            if state.get("halt"):  # a busy machine is slow enough for a question
                why = {"reason": "the machine was busy"}
                self.http.post(f"/rollouts/{state['rollout']}/resume", json=why)
            time.sleep(0.5)
        return state


def sign_in(browser: Browser, demo: Demo, size: dict[str, int], scheme: str) -> Page:
    context = browser.new_context(
        base_url=demo.api, viewport=size, color_scheme=scheme, timezone_id="UTC"
    )
    page = context.new_page()
    page.goto("/console/login")
    page.get_by_label("API token").fill(demo.token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/console/rollouts/**")
    return page


def sign_in_page(browser: Browser, demo: Demo) -> None:
    page = browser.new_page(base_url=demo.api, viewport=WIDE, color_scheme="light")
    take(page, "login", "login", 500)
    page.close()


def ask_what_if(page: Page) -> None:
    """Hold a plan that bears less latency against the evidence so far."""
    page.goto("/console/playbook")
    text = page.get_by_label("Playbook (YAML)")
    text.fill(text.input_value().replace("above: 5s", "above: 200ms"))
    page.get_by_role("button", name="What if").click()
    page.get_by_role("heading", name="What if").wait_for()
    page.locator("#answer table").wait_for(timeout=60_000)
    page.wait_for_timeout(500)
    shoot(page, "what-if")


def shoot(page: Page, name: str) -> None:
    """One picture, in 256 colours where a tool for that is installed: a third of the size."""
    path = TARGET / f"{name}.png"
    page.screenshot(path=path)
    if (tool := shutil.which("convert")) is not None:
        subprocess.run([tool, path, "-colors", "256", f"PNG8:{path}"], check=True)  # noqa: S603
    print(path.name)


def take(page: Page, path: str, name: str, settle: float = 2500) -> None:
    page.goto(f"/console/{path}")
    page.wait_for_timeout(settle)
    shoot(page, name)


def main() -> None:
    """Make them all anew."""
    TARGET.mkdir(exist_ok=True)
    chromium = find()
    assert chromium is not None, "no browser: python tests/e2e/browser.py"
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        demo = Demo(folder)
        try:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            here = demo.until(lambda s: s["traffic_percent"] >= 5)["rollout"]
            sign_in_page(browser, demo)
            page = sign_in(browser, demo, WIDE, "light")
            take(page, f"rollouts/{here}", "rollout")
            take(page, "monitoring", "monitoring", 5000)
            page.locator("#rows a[href]").first.click()
            page.wait_for_timeout(1000)
            shoot(page, "run")
            take(page, "analytics", "analytics")
            page.locator("#over-title").evaluate("element => element.scrollIntoView()")
            page.locator("[data-ab] canvas").first.wait_for(timeout=60_000)
            shoot(page, "analytics-ab")
            take(page, "shadow?verdict=unacceptable", "shadow")
            page.locator(".pair a").first.click()
            page.wait_for_timeout(500)
            shoot(page, "pair")
            take(page, "playbook", "playbook", 500)
            ask_what_if(page)
            tasks = f"/rollouts/{here}/tasks"
            for number, owner, due in ((2, "bea", "2030-05-31"), (3, "oli", "2020-01-31")):
                demo.http.post(f"{tasks}/{number}/assign", json={"owner": owner, "due": due})
            take(page, tasks[1:], "tasks", 500)
            for name in ("checklist", "runbook", "people"):
                take(page, name, name, 500)
            take(page, "audit?kind=event", "audit", 500)
            dark = sign_in(browser, demo, WIDE, "dark")
            take(dark, f"rollouts/{here}", "rollout-dark")
            small = sign_in(browser, demo, NARROW, "light")
            take(small, f"rollouts/{here}", "rollout-phone")
            demo.http.post(f"/rollouts/{here}/rollback", json={"reason": "guests complain"})
            demo.until(lambda s: len(s["incidents"][-1]["steps"]) == 5)
            take(page, "incidents", "incidents", 500)
            page.locator(".incident a").first.click()
            page.wait_for_timeout(500)
            shoot(page, "incident")
            take(page, "alerts", "alerts", 500)
            browser.close()
        finally:
            demo.process.terminate()
            demo.process.wait(60)


if __name__ == "__main__":
    main()
