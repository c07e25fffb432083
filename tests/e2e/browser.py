"""Finds a Chromium for the console's tests, or gets one: Playwright's own, else the system's package.

`python tests/e2e/browser.py` gets it and says what it did; 1 where neither is possible.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
DOWNLOAD_SECONDS = 180
PACKAGE_SECONDS = 600


def find() -> str | None:
    """The path of a Chromium; None where there is none."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    if Path(own).exists():
        return own
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def get() -> bool:
    """Install one, by the first way that works."""
    print("Getting a browser for the console's tests ...")
    if _works([sys.executable, "-m", "playwright", "install", "chromium"], DOWNLOAD_SECONDS):
        return True
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return False
    install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "chromium"]
    if _works(install, PACKAGE_SECONDS):
        return True
    return _works(["apt-get", "update", "-qq"], PACKAGE_SECONDS) and _works(
        install, PACKAGE_SECONDS
    )


def _works(command: Sequence[str], seconds: int) -> bool:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=seconds, env=environ, check=False
        )
    except (subprocess.TimeoutExpired, OSError):
        return False
    return done.returncode == 0


def main() -> int:
    """0 when there is a browser."""
    if find() is None and not (get() and find()):
        print(
            "No browser: Playwright's cannot be downloaded and there is no package of the system "
            "to install as root. The console's browser tests are skipped. "
            "With one of these they run: playwright install chromium; apt-get install chromium",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
