"""The console by the keyboard alone, and what a browser is made to send that it should not."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests.e2e.conftest import Molt, gateway_post, quick, until
from tests.e2e.people import PATIENCE, chrome, press, signed_in

from molt.adapters.playbooks import load_playbook
from molt.apps.console import build
from molt.core.playbook import Playbook

__all__ = ["chrome"]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not build.is_built(), reason="console assets are not built: make console"),
]

NOBODY = "http://127.0.0.1:9"
FOCUS = """() => {
    const e = document.activeElement, box = e.getBoundingClientRect(), style = getComputedStyle(e);
    const inside = box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth;
    return { what: e.outerHTML.slice(0, 90), inside: inside && box.width > 0 && box.height > 0,
             outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 };
}"""
DESK = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def molt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Molt]:
    """An installation with nobody behind it: these tests ask nothing of the services."""
    running = Molt(tmp_path_factory.mktemp("hands"), NOBODY, NOBODY)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def rollout(molt: Molt, request: pytest.FixtureRequest) -> Iterator[str]:
    """A rollout at 50% that waits for an approval alone; ended afterwards."""
    name = f"r{abs(hash(request.node.name)) % 10**6}"
    steps = [
        {"share": 50, "hold": "1s", "gates": [{"kind": "approval"}]},
        {"share": 100, "hold": "1h"},
    ]
    plan = quick().as_data() | {"phases": [{"name": "progressive", "steps": steps}]}
    molt.begin(Playbook.model_validate(plan), name)
    yield name
    until(lambda: procedure_done(molt, name), what="the procedure is done")
    molt.post(f"/rollouts/{name}/abort", reason="test over")


def procedure_done(molt: Molt, name: str) -> bool:
    state = molt.state(name)
    return state["phase"] != "rolled_back" or len(state["incidents"][-1]["steps"]) == 5


# --- the keyboard alone


def tab_to(page: Page, target: Locator, most: int = 60) -> None:
    """Press Tab until the target has the focus, which must be seen at every stop."""
    for _ in range(most):
        page.keyboard.press("Tab")
        at = page.evaluate(FOCUS)
        assert at["inside"], f"the focus is out of sight: {at['what']}"
        assert at["outlined"], f"the focus is not marked: {at['what']}"
        if target.evaluate("e => e === document.activeElement"):
            return
    raise AssertionError(f"{most} times Tab and not at {target}")


def test_a_rollout_is_approved_and_rolled_back_with_the_keyboard_alone(
    chrome: Browser, molt: Molt, rollout: str
) -> None:
    with signed_in(chrome, molt, "kim", "approver", viewport=DESK) as kim:
        page, keys = kim.open(f"rollouts/{rollout}"), kim.page.keyboard
        expect(page.locator("#connection")).to_have_text("live", timeout=PATIENCE)
        tab_to(page, page.get_by_role("link", name="Skip to the content"), most=1)
        keys.press("Enter")
        expect(page.locator("#main")).to_be_focused()
        # What is drawn anew every second must leave the focus where it is.
        arms = page.locator(".scroll[aria-labelledby='arms']")
        tab_to(page, arms)
        version = page.locator("[data-rollout-version]").get_attribute("data-rollout-version")
        molt.post(f"/rollouts/{rollout}/notes", text="something happened")
        moved = page.locator(f"[data-rollout-version]:not([data-rollout-version='{version}'])")
        expect(moved).to_have_count(1, timeout=PATIENCE)
        expect(arms).to_be_focused()

        approve = page.get_by_role("button", name="Approve", exact=True).first
        until(lambda: molt.state(rollout)["approval"], what="the approval is asked")
        expect(page.locator(".asked")).to_be_visible(timeout=PATIENCE)
        tab_to(page, approve)
        keys.press("Enter")
        expect(page.locator(".dialog:popover-open textarea")).to_be_focused()
        keys.type("seen, and fine")
        tab_to(page, page.locator(".dialog:popover-open [type=submit]"), most=2)
        keys.press("Enter")
        page.wait_for_url("**done=approved")

        back = page.get_by_role("button", name="Roll back now").first
        tab_to(page, back)
        keys.press("Enter")
        expect(page.locator(".dialog:popover-open textarea")).to_be_focused()
        keys.press("Escape")
        expect(back).to_be_focused()
        keys.press("Enter")
        keys.press("Tab")
        keys.press("Enter")  # without a reason the form stays, and says what is missing
        expect(page.locator(".dialog:popover-open textarea")).to_be_focused()
        keys.type("it feels wrong")
        keys.press("Tab")
        keys.press("Enter")
        expect(page.locator(".sentence")).to_contain_text("Rolled back", timeout=PATIENCE)
    assert molt.events("Approved", rollout)[0]["by"] == kim.name
    assert molt.events("RolledBack", rollout)[0]["reason"] == "it feels wrong"


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_the_audit_log_is_searched_with_the_keyboard_alone(
    chrome: Browser, molt: Molt, size: dict[str, int]
) -> None:
    with signed_in(chrome, molt, "aud", "viewer", viewport=size) as aud:
        page, keys = aud.open("audit"), aud.page.keyboard
        tab_to(page, page.get_by_label("By", exact=True))
        keys.type(aud.name)
        tab_to(page, page.get_by_role("button", name="Search"), most=2)
        keys.press("Enter")
        page.wait_for_url(f"**by={aud.name}**")
        expect(page.get_by_role("region", name="Records")).to_contain_text("sign in")


# --- a plan proposed by clicking


def test_a_plan_is_proposed_refused_and_taken_up_by_clicking(
    chrome: Browser, molt: Molt, rollout: str, tmp_path: Path
) -> None:
    running = molt.client.get(f"/rollouts/{rollout}/playbook").json()
    molt.begin(quick(agents={"sommelier": {}}), f"{rollout}-later")
    with signed_in(chrome, molt, "olga", "operator", refusals=3, viewport=DESK) as olga:
        page = olga.open(f"playbook?rollout={rollout}")
        text, propose = (
            page.get_by_label("Playbook (YAML)"),
            page.get_by_role("button", name="Propose"),
        )
        reason = page.get_by_label("Reason for a proposal")

        reason.fill("calmer")
        propose.click()
        expect(page.get_by_role("alert")).to_contain_text("a proposal must change something")
        broken = text.input_value().replace("share: 50", "share: 500", 1)
        text.fill(broken)
        propose.click()
        expect(page.get_by_role("alert")).to_contain_text("share")
        expect(text).to_have_value(broken)
        expect(reason).to_have_value("calmer")
        mended = "# half of it is enough\n" + broken.replace("share: 500", "share: 25", 1)
        text.fill(mended)
        reason.fill("")
        propose.click()
        expect(page.get_by_role("alert")).to_contain_text("needs a reason")
        expect(text).to_have_value(mended)
        assert not molt.events("Noted", rollout)

        reason.fill("calmer")
        propose.click()
        expect(page.get_by_role("status")).to_contain_text(
            f"in the log of {rollout} with your name"
        )
        expect(text).not_to_have_value(mended)  # the running plan
    assert molt.client.get(f"/rollouts/{rollout}/playbook").json() == running
    (fact,) = molt.events("Noted", rollout)
    assert (fact["by"], fact["playbook"]) == (olga.name, mended)

    with signed_in(chrome, molt, "vera", "viewer", viewport=PHONE) as vera:
        page = vera.open(f"playbook?rollout={rollout}")
        expect(page.get_by_role("button", name="Propose")).to_have_count(0)
        page.get_by_role("link", name="Look at it").click()
        expect(page.get_by_label("Difference from the running plan")).to_contain_text("share: 25")
        with page.expect_download() as got:
            page.get_by_role("link", name="Download").click()
        file = tmp_path / "proposal.yaml"
        got.value.save_as(file)
        assert file.read_text() == mended
        assert load_playbook(file).hash()[:12] in fact["note"]


# --- what a browser is made to send


@pytest.fixture
def elsewhere(molt: Molt, rollout: str) -> Iterator[str]:
    """The address of another site with forms that post to Molt's roll-back and approve."""

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            action = f"{molt.api}/console/rollouts/{rollout}/{self.path.strip('/')}"
            body = (
                f"<form method=post action='{action}'><input name=reason value='mine'>"
                "<button>Win a beer</button></form>"
            ).encode()
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def refusals(molt: Molt) -> list[dict[str, Any]]:
    """What stands on record as refused."""
    lines = molt.client.get("/audit/export").text.splitlines()
    records = [json.loads(line) for line in lines]
    return [r for r in records if r["kind"] == "access" and r["status"] in (401, 403)]


def refused(molt: Molt, act: str, status: int, by: str, why: str) -> None:
    """This refusal is on record."""

    def recorded() -> bool:
        return any(
            (r["act"], r["status"], r["by"]) == (act, status, by) and why in r["refused"]
            for r in refusals(molt)
        )

    until(recorded, what=f"the record says that {by} was refused {act}: {why}")


def test_a_page_of_another_site_can_press_no_button(
    chrome: Browser, molt: Molt, rollout: str, elsewhere: str
) -> None:
    before = molt.history(rollout)
    with signed_in(chrome, molt, "ops", "approver", refusals=4) as ops:
        page = ops.page
        # Another port of the same host counts as the same site for cookies: the session is sent.
        for path, act in (("rollback", "roll_back"), ("approve", "approve")):
            page.goto(f"{elsewhere}/{path}")
            page.get_by_role("button").click()
            expect(page.get_by_role("heading", name="That is not allowed")).to_be_visible()
            expect(page.get_by_text("does not come from a page of this Molt")).to_be_visible()
            refused(molt, act, 403, ops.name, "does not come from a page of this Molt")
        # From another host the cookie is not even sent.
        page.goto(f"{elsewhere.replace('127.0.0.1', 'localhost')}/rollback")
        page.get_by_role("button").click()
        expect(page.get_by_role("heading", name="Please sign in")).to_be_visible()
        refused(molt, "roll_back", 401, "", "session is over")
    assert [e for e in molt.history(rollout)[len(before) :] if e["by"] == ops.name] == []


FORGE = """([action, token]) => {
    const form = Object.assign(document.createElement("form"), { method: "post", action });
    for (const [name, value] of [["csrf_token", token], ["reason", "mine"]])
        form.append(Object.assign(document.createElement("input"), { name, value }));
    document.body.append(form);
    form.submit();
}"""


def test_a_viewer_who_builds_the_operators_form_is_refused(
    chrome: Browser, molt: Molt, rollout: str
) -> None:
    with signed_in(chrome, molt, "vic", "viewer", refusals=2) as vic:
        for path, act, role in (
            ("rollback", "roll_back", "operator"),
            ("approve",) * 2 + ("approver",),
        ):
            page = vic.open(f"rollouts/{rollout}")
            token = page.locator("[name=csrf_token]").first.input_value()
            page.evaluate(FORGE, [f"/console/rollouts/{rollout}/{path}", token])
            expect(page.get_by_role("heading", name="That is not allowed")).to_be_visible()
            refused(molt, act, 403, vic.name, f"needs the role {role}")
    assert molt.events("RolledBack", rollout) == []
    assert molt.events("Approved", rollout) == []


def test_a_session_that_ended_and_a_form_of_another_session_are_refused_on_the_open_page(
    chrome: Browser, molt: Molt, rollout: str
) -> None:
    with signed_in(chrome, molt, "sam", "operator", refusals=6) as sam:
        page = sam.open(f"rollouts/{rollout}")
        stale = page.locator("[name=csrf_token]").first.input_value()
        other = sam.context.new_page()
        other.goto("/console/login")
        other.get_by_label("API token").fill(sam.token)
        other.get_by_role("button", name="Sign in").click()
        other.wait_for_url("**/console/rollouts/**")
        press(page, "Roll back now", "Roll back now", "from the old form")
        said = page.locator(".dialog:popover-open .said")
        expect(said).to_contain_text("too old or not from here", timeout=PATIENCE)
        refused(molt, "roll_back", 403, sam.name, "too old or not from here")

        assert molt.client.delete(f"/tokens/{sam.name}").status_code == 200
        other.evaluate(FORGE, [f"/console/rollouts/{rollout}/rollback", stale])
        expect(other.get_by_role("heading", name="Please sign in")).to_be_visible()
        refused(molt, "roll_back", 401, "", "session is over")
        # The page that is open hears that its stream has ended, and leads there by itself.
        page.wait_for_url(f"**/console/login?next=/console/rollouts/{rollout}**")
    assert molt.events("RolledBack", rollout) == []


# Last: `begin` would wait for the gateway that it makes up.
def test_the_menu_and_the_stream_are_used_with_the_keyboard_alone_on_a_phone(
    chrome: Browser, molt: Molt, rollout: str
) -> None:
    with signed_in(chrome, molt, "lou", "viewer", viewport=PHONE) as lou:
        page, keys = lou.open(f"rollouts/{rollout}"), lou.page.keyboard
        tab_to(page, page.get_by_role("link", name="Checklist"))
        keys.press("Enter")
        page.wait_for_url("**/checklist")
        tab_to(page, page.get_by_role("link", name="Monitoring"))
        keys.press("Enter")
        expect(page.locator("#connection")).to_have_text("live", timeout=PATIENCE)
        now = datetime.now(UTC).isoformat()
        told: list[dict[str, Any]] = [
            {"at": now, "kind": "request", "verdict": verdict, "arm": "control", "agent": "guest",
             "method": "POST", "path": f"/{verdict}", "latency_ms": 12.0, "run": f"run-{verdict}"}
            for verdict in ("ok", "error")
        ]  # fmt: skip
        assert gateway_post(molt, requests=told, offered=2).status_code == 204
        rows = page.locator("#rows tr.request:visible")
        expect(rows).to_have_count(2, timeout=PATIENCE)
        tab_to(page, page.get_by_label("Contains"))
        keys.type("run-err")
        expect(rows).to_have_count(1)
        pause = page.get_by_role("button", name="Pause")
        tab_to(page, pause)
        keys.press("Space")
        expect(page.get_by_role("button", name="Resume")).to_be_focused()
        tab_to(page, rows.locator("a"))
        keys.press("Enter")
        page.wait_for_url("**/runs/**")
