"""The monitoring page while real requests go through the gateway: is it still a page one can use?

Run as `PYTHONPATH=. python benchmarks/console.py [RATE [SECONDS]]` (1,000 requests a second, 20 s). A
guest's load, `molt serve` with a rollout at 5%, a service behind it and a browser with the page open,
all on this machine. Prints JSON: what was asked and answered, what the page said, its longest frame
gap and longest task in milliseconds, and how long a filter and a pause took to show.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Page, sync_playwright
from tests.e2e.browser import find
from tests.e2e.conftest import Molt, quick
from tests.e2e.people import Person
from tests.e2e.test_console import WATCH_FRAMES

STAND = Path(__file__).parent / "stand"
CONNECTIONS = 32


def watched(page: Page, seconds: float) -> dict[str, object]:
    """Use the page as somebody would, and say what it did."""
    page.evaluate(WATCH_FRAMES)
    page.locator("#rows tr:visible").first.wait_for()
    page.wait_for_timeout(seconds * 600)
    said = {"rate": page.locator("#rate").inner_text(), "sample": ""}
    if page.locator("#sampled").is_visible():
        said["sample"] = page.locator("#sampled").inner_text()
    rows = page.locator("#rows tr:visible").count()
    began = time.perf_counter()
    page.get_by_label("Arm").select_option("candidate")
    page.locator("#rows tr:visible [data-arm=candidate]").first.wait_for()
    filtered = time.perf_counter() - began
    began = time.perf_counter()
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").wait_for()
    paused = time.perf_counter() - began
    frames = page.evaluate("frames_")
    return said | {
        "rows": rows,
        "frames": frames["drawn"],
        "longest_gap_ms": round(frames["longestGap"]),
        "longest_task_ms": round(frames["longestTask"]),
        "filter_ms": round(1000 * filtered),
        "pause_ms": round(1000 * paused),
    }


def main() -> None:
    """Run it once and print the figures."""
    rate = sys.argv[1] if len(sys.argv) > 1 else "1000"
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    chromium = find()
    assert chromium is not None, "no browser: python tests/e2e/browser.py"
    command = [sys.executable, str(STAND / "upstream.py")]
    upstream = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert upstream.stdout is not None
    service = f"http://127.0.0.1:{int(upstream.stdout.readline())}"
    with tempfile.TemporaryDirectory() as folder:
        molt = Molt(Path(folder), service, service)
        try:
            molt.begin(quick(5), "loaded")
            with sync_playwright() as playwright:
                chrome = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                page = Person(chrome, molt, "watcher", "viewer").open("monitoring")
                port = str(urlsplit(molt.gateway).port)
                load = subprocess.Popen(
                    [sys.executable, STAND / "load.py", port, str(seconds), str(CONNECTIONS), rate],
                    stdout=subprocess.PIPE,
                    text=True,
                )
                figures = watched(page, seconds)
                asked = json.loads(load.communicate()[0])
                chrome.close()
        finally:
            molt.stop()
            upstream.terminate()
            upstream.wait()
    print(json.dumps({"load": asked, "page": figures}, indent=2))


if __name__ == "__main__":
    main()
