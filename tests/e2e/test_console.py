"""The console in a real browser, against real processes and the reference bar."""

import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from tests.e2e.conftest import Molt, Process, gateway_post, quick, until
from tests.e2e.people import PATIENCE, chrome, press, signed_in

from molt.adapters.playbooks import load_playbook
from molt.apps.console import build
from molt.core.playbook import Playbook

__all__ = ["chrome"]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not build.is_built(), reason="console assets are not built: make console"),
]

STICKING_OUT = """[...document.querySelectorAll("body *")]
    .filter((e) => e.getBoundingClientRect().right > innerWidth + 1).slice(0, 5)
    .map((e) => e.outerHTML.slice(0, 90))"""
COLOURS_ONLY = {"runOnly": ["color-contrast", "link-in-text-block"]}
PAGES = (
    "rollouts", "monitoring", "analytics", "shadow", "incidents", "playbook", "audit", "alerts",
    "checklist", "runbook", "people",
)  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, bar: dict[str, Process]) -> Iterator[Molt]:
    """One installation for the module; every test has a rollout of its own."""
    folder = tmp_path_factory.mktemp("console")
    running = Molt(folder, bar["existing-system"].url, bar["agent-chat"].url)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def clean(house: Molt) -> Iterator[Molt]:
    """The installation, with no rollout of another test in the way, nor the flag that it left."""
    (house.data / "flags.env").write_text("MOLTBOT_ENABLED=true\n")
    until(lambda: house.client.get("/flags").json()["bounds"]["enabled"], what="flags are read")
    yield house
    for rollout in house.client.get("/rollouts").json():
        if rollout["phase"] != "aborted":
            until(lambda r=rollout: settled(house, r["rollout"]), what="the procedure is done")
            house.post(f"/rollouts/{rollout['rollout']}/abort", reason="test over")


def settled(molt: Molt, rollout: str) -> bool:
    state = molt.state(rollout)
    return state["phase"] != "rolled_back" or len(state["incidents"][-1]["steps"]) == 5


def short() -> Playbook:
    """Shadow, one approved step, everybody: seconds long."""
    data = load_playbook("wf-11-demo").as_data()
    phases = [
        {"name": "shadow", "steps": [{"share": 0, "hold": "1s", "gates": []}]},
        {"name": "canary", "steps": [{"share": 50, "hold": "1s", "gates": [{"kind": "approval"}]}]},
        {"name": "progressive", "steps": [{"share": 100, "hold": "1s", "gates": []}]},
    ]
    return Playbook.model_validate(data | {"name": "short", "phases": phases})


def test_a_rollout_is_watched_and_approved_by_two_people(chrome: Browser, clean: Molt) -> None:
    molt = clean
    with (
        signed_in(chrome, molt, "ann", "approver", refusals=1) as ann,
        signed_in(chrome, molt, "bob", "approver") as bob,
    ):
        molt.begin(short(), "watched")
        for person in (ann, bob):
            page = person.open("rollouts/watched")
            expect(page.locator("#connection")).to_have_text("live", timeout=PATIENCE)
        expect(ann.page.locator(".step.here")).to_contain_text("50%", timeout=PATIENCE)
        until(lambda: not waiting(molt, "watched"), what="only the approval is missing")
        press(ann.page, "Ask approval", "Ask", "the numbers are good")
        ann.page.wait_for_url("**done=asked")
        expect(bob.page.locator(".asked")).to_contain_text("the numbers are good", timeout=PATIENCE)
        press(ann.page, "Approve", "Approve", "and I agree with myself")
        expect(ann.page.locator(".dialog:popover-open .said")).to_contain_text("Refused")
        press(bob.page, "Approve", "Approve", "seen, and fine")
        expect(ann.page.locator(".sentence")).to_contain_text("Complete", timeout=PATIENCE)
        approved = molt.events("Approved", "watched")[0]
        assert approved["by"] == bob.name
        assert approved["reason"] == "seen, and fine"


def waiting(molt: Molt, rollout: str) -> list[str]:
    gates = molt.state(rollout)["gates"]
    return [g["name"] for g in gates if g["verdict"] != "pass" and g["name"] != "approval"]


def test_a_fault_takes_traffic_back_and_the_open_page_shows_it(
    chrome: Browser, clean: Molt, bar: dict[str, Process]
) -> None:
    molt, agent = clean, bar["agent-chat"].url
    with signed_in(chrome, molt, "eve", "viewer", viewport={"width": 360, "height": 740}) as eve:
        molt.begin(quick(100), "faulty")
        page = eve.open("rollouts/faulty")
        expect(page.locator("#connection")).to_have_text("live", timeout=PATIENCE)
        expect(page.get_by_role("button", name="Roll back now")).to_have_count(0)
        page.evaluate(
            "() => { window.seenAt = new Promise((done) => { const look = () =>"
            " document.querySelector('.phase-rolled_back') ? done(Date.now())"
            " : setTimeout(look, 20); look(); }); }"
        )
        httpx.post(f"{agent}/_fault", json={"kind": "forbidden-tool"}).raise_for_status()
        try:
            molt.ask("Show me your beers")
            shown = page.evaluate("() => window.seenAt")
        finally:
            httpx.post(f"{agent}/_fault", json={"kind": None}).raise_for_status()
        opened = datetime.fromisoformat(molt.events("IncidentOpened", "faulty")[0]["at"])
        delay = datetime.fromtimestamp(shown / 1000, UTC) - opened
        assert delay.total_seconds() < 2.0
        page.get_by_role("link", name="Look at").click()
        expect(page.get_by_role("heading", name="Rollback procedure")).to_be_visible()


def test_the_button_takes_traffic_back_under_load(chrome: Browser, clean: Molt) -> None:
    molt, over = clean, threading.Event()

    def ask() -> None:
        body = {"message": "Show me your beers", "agent_type": "guest", "context": {"user_id": "u"}}
        with httpx.Client(trust_env=False, timeout=15) as client:
            while not over.is_set():
                client.post(f"{molt.gateway}/functions/v1/agent-chat", json=body)

    molt.begin(quick(100), "busy")
    guests = [threading.Thread(target=ask) for _ in range(6)]
    with signed_in(chrome, molt, "oli", "operator") as oli:
        page = oli.open("rollouts/busy")
        for guest in guests:
            guest.start()
        try:
            press(page, "Roll back now", "Roll back now", "it feels wrong")
            expect(page.locator(".sentence")).to_contain_text("Rolled back", timeout=PATIENCE)
        finally:
            over.set()
            for guest in guests:
                guest.join()
    assert molt.events("RolledBack", "busy")[0]["by"] == oli.name
    assert molt.events("RolledBack", "busy")[0]["reason"] == "it feels wrong"


def test_axe_finds_nothing_serious_and_nothing_sticks_out_in_any_size_and_theme(
    chrome: Browser, clean: Molt
) -> None:
    molt = clean
    data = load_playbook("wf-11-demo").as_data()
    phases = [{"name": "shadow", "steps": [{"share": 0, "hold": "1h", "gates": []}]}]
    molt.begin(Playbook.model_validate(data | {"phases": phases, "name": "still"}), "looked-at")
    molt.ask("Show me your beers")
    with signed_in(chrome, molt, "max", "admin", 1, reduced_motion="reduce") as max_:
        page, wrong = max_.page, list[object]()
        for path in (*PAGES, "nothing-here"):
            wrong += looked_at(max_.open(path), path)
        for path, link in (("audit?kind=request", "td a"), ("shadow", ".pair a")):
            until(lambda p=path, at=link: max_.open(p).locator(at).count(), what=f"{path} has one")
            there = page.locator(link).first.get_attribute("href") or ""
            wrong += looked_at(max_.open(there.removeprefix("/console/")), there)
        molt.post("/rollouts/looked-at/rollback", reason="guests complain")
        incident = molt.state("looked-at")["incidents"][0]["id"]
        for path in ("rollouts", "incidents", f"incidents/{incident}"):
            wrong += looked_at(max_.open(path), path)
        page.get_by_role("button", name="Sign out").click()
        wrong += looked_at(max_.open("login"), "login")
        assert wrong == [], "\n".join(map(str, wrong))


def looked_at(page: Page, path: str) -> list[object]:
    """What is wrong with the page on a phone and on a desk, in light and in dark; and whether it
    fits a tablet and a wall.

    All rules in each size; of the second theme those that look at colours.
    """
    expect(page.locator("main h1, main h2").first).to_be_visible()
    wrong: list[object] = []
    for width in (768, 2560, 360, 1280):
        page.set_viewport_size({"width": width, "height": 740})
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wrong.append((path, width, "too wide", page.evaluate(STICKING_OUT)))
        if width in (768, 2560):
            continue
        for scheme, options in (("light", {}), ("dark", COLOURS_ONLY)):
            page.emulate_media(color_scheme=scheme)
            found = Axe().run(page, options={"resultTypes": ["violations"], **options}).response
            wrong += [
                (path, width, scheme, v["id"], [n["html"][:120] for n in v["nodes"][:3]])
                for v in found["violations"]
                if v["impact"] in ("serious", "critical")
            ]
    return wrong


def test_whatever_breaks_the_content_security_policy_is_refused_and_fails_a_test(
    chrome: Browser, clean: Molt
) -> None:
    def breaks_it() -> None:
        with signed_in(chrome, clean, "mal", "viewer") as mal:
            page = mal.open("monitoring")
            page.evaluate(
                "document.body.append(Object.assign(document.createElement('script'),"
                " { textContent: 'window.ran = true' }))"
            )
            assert page.evaluate("window.ran") is None

    with pytest.raises(AssertionError, match="Content Security Policy"):
        breaks_it()


WATCH_FRAMES = """() => {
    window.frames_ = { drawn: 0, longestGap: 0, longestTask: 0 };
    let last = performance.now();
    const tick = (now) => {
        frames_.drawn += 1;
        frames_.longestGap = Math.max(frames_.longestGap, now - last);
        last = now;
        requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
    new PerformanceObserver((list) => {
        for (const task of list.getEntries())
            frames_.longestTask = Math.max(frames_.longestTask, task.duration);
    }).observe({ type: "longtask" });
}"""
FROZEN_MS = 3_000
"""A page that stands still for this long is frozen, however busy the machine is."""


class Flood:
    """2,000 requests a second, told to control as gateways tell them: half of them are in the samples."""

    def __init__(self, molt: Molt) -> None:
        self.told = 0
        self._molt, self._over = molt, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Flood":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            now = datetime.now(UTC).isoformat()
            rows = [
                {"at": now, "kind": "request", "verdict": "ok", "arm": "control", "agent": "guest",
                 "method": "POST", "path": f"/{self.told}/{i}", "latency_ms": 12.0, "run": f"r{i}",
                 "tools": ["menu_search", "place_order"], "tokens_in": 400, "tokens_out": 60}
                for i in range(100)
            ]  # fmt: skip
            gateway = f"flood-{self.told}-{time.monotonic_ns()}"
            answer = gateway_post(self._molt, gateway=gateway, requests=rows, offered=200)
            assert answer.status_code == 204, answer.text
            self.told += 1
            due += 0.1
            self._over.wait(max(0.0, due - time.monotonic()))


def test_a_thousand_requests_a_second_are_sampled_and_the_page_never_freezes(
    chrome: Browser, clean: Molt
) -> None:
    molt = clean
    with signed_in(chrome, molt, "flo", "viewer") as flo:
        page = flo.open("monitoring")
        expect(page.locator("#connection")).to_have_text("live", timeout=PATIENCE)
        page.evaluate(WATCH_FRAMES)
        with Flood(molt) as flood:
            until(lambda: flood.told >= 50, seconds=60, what="10,000 requests have gone by")
            expect(page.locator("#sampled")).to_contain_text("Sampled", timeout=PATIENCE)
            expect(page.locator("#rows tr").first).to_be_visible()
            assert page.locator("#rows tr").count() <= 60
            page.get_by_label("Verdict").select_option("error")
            expect(page.locator("#rows tr:visible")).to_have_count(0, timeout=PATIENCE)
            page.get_by_label("Verdict").select_option("ok")
            expect(page.locator("#rows tr:visible").first).to_be_visible(timeout=PATIENCE)
            page.get_by_role("button", name="Pause").click()
            expect(page.get_by_role("button", name="Resume")).to_be_visible()
            expect(page.locator("#rate")).to_contain_text("still counting", timeout=PATIENCE)
            seen = page.evaluate("frames_")
        print(f"{flood.told} batches; {page.locator('#rate').text_content()}; {seen}")
        assert seen["drawn"] > 20
        assert seen["longestGap"] < FROZEN_MS
        assert seen["longestTask"] < FROZEN_MS
        path = page.locator("#rows tr:visible td").nth(8).text_content() or ""
        page.get_by_label("Contains").fill(path.split()[1])
        expect(page.locator("#rows tr:visible").first).to_be_visible()
        assert "q=" in page.url


def test_metrics_are_drawn_over_time_and_calls_by_tool_each_with_its_csv(
    chrome: Browser, clean: Molt
) -> None:
    molt = clean
    molt.begin(quick(50), "charted")
    for number in range(12):
        molt.ask("Show me your beers", user=f"u{number}")
    kinds = ("order_completed", "cart_abandoned")
    outcomes = [
        {"id": f"c{n}{kind}", "subject": f"u{n}", "rollout": "charted", "kind": kind}
        for n in range(12)
        for kind in ("cart_started", kinds[n % 3 == 0])
    ]
    answer = molt.client.post("/outcomes", json=outcomes)
    assert answer.status_code == 202, answer.text
    now = datetime.now(UTC).isoformat()
    calls = [
        {"id": f"call-{n}", "at": now, "kind": "tool", "name": name, "disposition": "read",
         "rollout": "charted", "run": "r", "agent": "guest", "status": 200, "latency_ms": 5.0}
        for n, name in enumerate(("menu_search", "menu_search", "place_order"))
    ]  # fmt: skip
    gateway = f"calls-{time.monotonic_ns()}"
    assert gateway_post(molt, gateway=gateway, calls=calls).status_code == 204
    until(lambda: molt.state("charted")["arms"]["candidate"]["requests"], what="evidence is in")
    # What a decision has seen is recorded with it.
    molt.post("/violations", agent="guest", tool="drop_tables", id="v1")
    until(lambda: molt.events("RolledBack", "charted"), what="the violation took it back")
    with signed_in(chrome, molt, "ana", "viewer") as ana:
        page = ana.open("analytics?rollout=charted")
        chart = page.locator("#ab-order_completion")
        expect(chart.locator("canvas")).to_be_visible(timeout=PATIENCE)
        with page.expect_download() as download:
            chart.get_by_role("link", name="CSV").click()
        lines = Path(download.value.path()).read_text().splitlines()
        assert lines[0].startswith("at,metric,title,")
        assert all(",order_completion," in line for line in lines[1:])
        assert len(lines) > 1
        page.get_by_label("Tool", exact=True).select_option("menu_search")
        expect(page.get_by_text("calls of the tool menu_search")).to_be_visible()
        assert "tool=menu_search" in page.url
        expect(page.locator("#state")).to_contain_text("2 calls", timeout=PATIENCE)
        expect(page.locator("#traffic canvas")).to_be_visible()
        page.get_by_label("Compare by").select_option("tool")
        totals = page.get_by_role("region", name="In this range")
        expect(totals.locator("tbody th").first).to_have_text("menu_search")


def test_another_plan_is_held_against_the_recorded_evidence_and_then_stands_beside_now(
    chrome: Browser, clean: Molt
) -> None:
    molt = clean
    first = load_playbook("wf-11-demo").as_data()["triggers"]
    never = [t | {"above": 0.99} for t in first if t["kind"] == "error_rate"]
    with signed_in(chrome, molt, "pia", "approver") as pia:
        molt.begin(quick(50), "recorded")
        for number in range(4):
            molt.ask("Show me your beers", user=f"u{number}")
        until(lambda: molt.events("RulingsChanged", "recorded"), what="it was decided on something")
        molt.post("/rollouts/recorded/rollback", reason="enough seen")
        page = pia.open("playbook?rollout=recorded")
        other = quick(50, triggers=never, name="bolder")
        page.get_by_label("Playbook (YAML)").fill(json.dumps(other.as_data()))
        page.get_by_role("button", name="What if").click()
        expect(page.get_by_role("heading", name="What if: bolder")).to_be_visible()
        row = page.locator("tbody tr").first
        expect(row).to_contain_text("progressive 50%", timeout=PATIENCE)
        expect(row.locator("td").first).to_contain_text("RolledBack")
        expect(page.get_by_role("status").first).to_contain_text("never have taken traffic back")
        page.get_by_role("link", name="Playbook of recorded").click()
        page.get_by_label("Playbook (YAML)").fill("name: [")
        page.get_by_role("button", name="What if").click()
        expect(page.get_by_role("alert").first).to_be_visible()


def test_a_page_whose_control_was_killed_says_so_and_recovers_by_itself(
    chrome: Browser, clean: Molt
) -> None:
    molt = clean
    molt.begin(quick(50), "left")
    with signed_in(chrome, molt, "ida", "operator") as ida:
        pages = [ida.page, ida.context.new_page(), ida.context.new_page()]
        for page, path in zip(pages, ("rollouts/left", "monitoring", "analytics"), strict=True):
            page.goto(f"/console/{path}")
            expect(page.locator("#connection")).to_have_text("live", timeout=PATIENCE)
        rollout, monitoring, analytics = pages
        pid = molt.control_pid()
        os.kill(pid, signal.SIGSTOP)
        # Silent is not dead: the page cannot know, and says how old it is.
        expect(rollout.locator("#connection")).to_contain_text("s old", timeout=PATIENCE)
        expect(rollout.locator("html")).to_have_class(re.compile("disconnected"))
        expect(monitoring.locator("#connection")).to_contain_text("s old", timeout=PATIENCE)
        os.kill(pid, signal.SIGKILL)
        until(lambda: molt.control_pid() not in (0, pid), what="control is started again")
        for page in pages:
            expect(page.locator("#connection")).to_have_text("live", timeout=PATIENCE)
        # It is the new process that tells now: what it decides is shown without a reload.
        version = rollout.locator("[data-rollout-version]").get_attribute("data-rollout-version")
        until(lambda: molt.post("/rollouts/left/notes", text="back").status_code == 200)
        moved = rollout.locator(f"[data-rollout-version]:not([data-rollout-version='{version}'])")
        expect(moved).to_have_count(1, timeout=PATIENCE)
        press(rollout, "Pause", "Pause", "what was that?")
        expect(rollout.locator(".sentence")).to_contain_text("paused", timeout=PATIENCE)
        expect(analytics.locator("#state")).to_contain_text("one point is")
        gone = ("net::ERR", "htmx:sse:error")
        ida.complaints[:] = [c for c in ida.complaints if not any(g in c for g in gone)]


def test_kinds_of_differences_are_accepted_and_flagged_and_the_gate_follows(
    chrome: Browser, clean: Molt
) -> None:
    molt = clean
    data = load_playbook("wf-11-demo").as_data()
    gates = [{"kind": "shadow_agreement", "above": "80%"}]
    phase = {"name": "shadow", "steps": [{"share": 0, "hold": "1h", "gates": gates}]}
    words = {"settle": "1s", "blocking": ["wording"], "wording": "100%", "actions_from": "reports"}
    plan = data | {"name": "shadow", "phases": [phase], "comparison": words}
    molt.begin(Playbook.model_validate(plan), "compared")
    molt.ask("A cappuccino please", session_id="s-1")
    with (
        signed_in(chrome, molt, "ana", "operator") as ana,
        signed_in(chrome, molt, "vic", "viewer", 1) as vic,
    ):
        page, gate = ana.page, vic.open("rollouts/compared").locator(".gate", has_text="agreement")
        one = "rollouts/compared/shadow/summary"
        until(lambda: molt.client.get(f"/{one}").json()["all"]["pairs"] == 1, what="it is compared")
        ana.open("shadow?rollout=compared&verdict=unacceptable")
        expect(page.locator(".sentence")).to_contain_text("0.0% of pairs are acceptable")
        expect(page.locator(".pair")).to_have_count(1)
        expect(gate).to_contain_text("0 of 1", timeout=PATIENCE)

        kind = page.locator(".kind", has=page.get_by_role("link", name="wording"))
        expect(kind.locator(".chip")).to_have_text("blocks")
        kind.get_by_role("button", name="Accept").click()
        form = page.locator(".dialog:popover-open")
        form.get_by_role("textbox").fill("it has a voice of its own")
        form.get_by_role("button", name="Accept").click()
        page.wait_for_url("**/shadow?rollout=compared&done=accepted")
        expect(page.locator(".sentence")).to_contain_text("100.0% of pairs are acceptable")
        expect(kind.locator(".chip")).to_have_text("accepted")
        expect(kind).to_contain_text("accepted by a person")
        expect(page.locator(".pair .chip")).to_have_text("acceptable")
        expect(gate).to_contain_text("1 of 1", timeout=PATIENCE)

        other = page.locator(".kind", has=page.locator(".chip", has_text="minor")).first
        name = other.get_by_role("link").first.inner_text()
        other.get_by_role("button", name="Flag").click()
        form.get_by_role("textbox").fill("guests must get what they ask for")
        form.get_by_role("button", name="Flag").click()
        page.wait_for_url("**done=flagged")
        expect(page.locator(".sentence")).to_contain_text("0.0% of pairs are acceptable")
        flagged = page.locator(".kind", has=page.get_by_role("link", name=name, exact=True))
        expect(flagged.locator(".chip")).to_have_text("blocks")
        expect(page.locator(".pair .chip")).to_have_text("unacceptable")
        expect(gate).to_contain_text("0 of 1", timeout=PATIENCE)
        ruled = molt.events("DifferenceRuled", "compared")
        assert [(e["by"], e["acceptable"]) for e in ruled] == [(ana.name, True), (ana.name, False)]

        seen = vic.open("shadow?rollout=compared")
        expect(seen.locator(".kind").first).to_be_visible()
        assert seen.locator("main button:not(.filters button)").count() == 0
        act = "/console/shadow/compared/rule"
        token = seen.locator("[name=csrf_token]").first.input_value()
        status = seen.evaluate(RULE, [act, token])
        assert status == 403
    assert len(molt.events("DifferenceRuled", "compared")) == 2


RULE = """async ([act, csrf_token]) => (await fetch(act, { method: "POST",
    body: new URLSearchParams({ csrf_token, kind: "wording", said: "accept", reason: "mine" }) })).status"""
