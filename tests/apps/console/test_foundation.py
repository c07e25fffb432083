"""Files, headers and errors that every page of the console shares; and the wheel that holds it."""

import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.apps.console.conftest import Browser, Browsers, Server

from molt.apps.console import build
from molt.apps.console.assets import assets
from molt.control import view

ROOT = Path(__file__).parents[3]


def test_the_root_leads_to_the_console(browser: Browser) -> None:
    answer = browser.get("/")
    assert answer.status_code == 307
    assert answer.headers["location"] == "/console"


def test_without_a_rollout_the_page_says_how_one_begins(browser: Browser) -> None:
    answer = browser.get("/console")
    assert answer.status_code == 200
    assert "molt start" in answer.text


def test_whoever_is_not_signed_in_is_led_to_the_way_in_and_back(browsers: Browsers) -> None:
    answer = browsers(None).get("/console/rollouts")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/console/login?next=/console/rollouts"


def test_an_unknown_page_and_an_unknown_rollout_are_pages_that_lead_on(begun: Browser) -> None:
    for path in ("/console/nowhere", "/console/rollouts/other"):
        answer = begun.get(path)
        assert answer.status_code in (404, 422)
        assert "To the rollout" in answer.text


def test_a_fault_of_ours_is_a_page_too_and_says_that_traffic_goes_on(
    server: Server, begun: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(view, "incident", broken)
    begun.send("/console/rollouts/tiny/rollback", reason="guests complain")
    answer = begun.get("/console/incidents")
    assert answer.status_code == 500
    assert "That is a fault of Molt" in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "a bug" not in answer.text


def test_pages_may_load_nothing_inline_and_nothing_from_elsewhere(begun: Browser) -> None:
    answer = begun.get("/console/rollouts/tiny")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store"
    found = Inline()
    found.feed(answer.text)
    assert found.offences == []


class Inline(HTMLParser):
    """Finds what the policy forbids."""

    def __init__(self) -> None:
        super().__init__()
        self.offences: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag == "style" or (tag == "script" and not names.get("src")):
            self.offences.append(tag)
        if tag in ("script", "link", "img"):
            url = names.get("src") or names.get("href") or ""
            if not url.startswith("/console/static/"):
                self.offences.append(url)
        self.offences += [name for name in names if name == "style" or name.startswith("on")]


def test_files_are_kept_for_ever_under_a_name_that_changes_with_them(browser: Browser) -> None:
    now = browser.get(assets.url("console.css"))
    assert now.headers["cache-control"] == "public, max-age=31536000, immutable"
    old = browser.get("/console/static/0123456789abcdef/console.css")
    assert old.headers["cache-control"] == "no-cache"
    assert browser.get(f"/console/static/{assets.version}/..%2Fapp.py").status_code == 404
    assert browser.get(assets.url("vendor/nothing.js")).status_code == 404


def test_missing_assets_are_said_with_what_to_do(
    begun: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "missing", ["htmx.js"])
    answer = begun.get("/console/rollouts/tiny")
    assert answer.status_code == 200
    assert "make console" in answer.text


def test_assets_that_cannot_be_fetched_are_an_error_a_person_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "npm_command", lambda: [sys.executable, "-c", "exit('no way out')"])
    with pytest.raises(build.NotBuilt, match="no way out"):
        build.build(tmp_path / "vendor")
    assert not (tmp_path / "vendor").exists()


@pytest.mark.skipif(not build.is_built(), reason="console assets are not built: make console")
def test_a_wheel_holds_everything_that_pages_load(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    folder = "molt/apps/console"
    for name in build.FILES.values():
        assert f"{folder}/static/vendor/{name}" in names
    for name in ("static/console.css", "static/console.js", "templates/base.html"):
        assert f"{folder}/{name}" in names


def test_the_lock_file_names_no_place_to_download_from() -> None:
    text = (build.ASSETS / "package-lock.json").read_text()
    assert '"integrity"' in text
    assert "://" not in text
