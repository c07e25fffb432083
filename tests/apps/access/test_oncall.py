"""The checklist over real HTTP, what a start wants of it, and alerts that are acknowledged."""

import re
from importlib.resources import files

import httpx
import pytest
from ruamel.yaml import YAML
from tests.apps.cli.conftest import TOKENS

from molt.adapters.playbooks import load_playbook, shipped_text
from molt.core.runbook import problems, runbook
from molt.ports import Delivery, Notice

from .conftest import acts, audit_of

ADMIN = {"authorization": f"Bearer {TOKENS['admin']}"}


def post(server, path: str, **body: object) -> httpx.Response:
    url = f"{server.url}/api/v1{path}"
    return httpx.post(url, json=body, headers=ADMIN, trust_env=False, timeout=60)


def test_each_item_of_the_checklist_is_a_check_that_shows_what_it_saw(server):
    found = post(server, "/preflight", playbook="wf-11").json()

    proofs = {item["name"]: item["proof"] for item in found["items"] if item["passed"]}
    assert list(load_playbook("wf-11").checklist) == [i["name"] for i in found["items"]]
    assert "an event travelled /api/v1/stream" in proofs["monitoring_stream"]
    assert "a fresh one among them; chain verified" in proofs["audit_export"]
    assert "test notification nobody" in proofs["alerts_configured"]
    assert "made by Molt from the plan" in proofs["runbook_current"]
    assert "budget $5 for 1,000 requests" in proofs["cost_alerts_set"]


def test_a_rollout_starts_only_when_the_checklist_has_passed_or_is_waived(server):
    refused = post(server, "/rollouts", playbook="wf-11")
    assert refused.status_code == 409
    assert "Run `molt preflight`" in refused.json()["detail"]

    found = post(server, "/preflight", playbook="wf-11").json()
    open_items = [item["name"] for item in found["items"] if not item["passed"]]
    assert post(server, "/rollouts", waive=["no_such"], reason="x").status_code == 422
    started = post(server, "/rollouts", waive=open_items, reason="no analytics page here")

    assert started.status_code == 201, started.text


def test_a_passed_checklist_counts_for_its_plan_and_for_a_day(server):
    post(server, "/preflight", playbook="wf-11")
    other = shipped_text("wf-11").replace("title: ", "title: Other ", 1)
    refused = post(server, "/rollouts", playbook_yaml=other).json()["detail"]
    assert "monitoring_stream" in refused

    server.later(hours=25)
    assert "monitoring_stream" in post(server, "/rollouts").json()["detail"]


def test_a_runbook_of_another_plan_or_without_a_section_does_not_pass(server, tmp_path):
    own = server.app.state.runbook = tmp_path / "runbook.md"
    plan = load_playbook("wf-11")

    def proof() -> tuple[bool, str]:
        items = post(server, "/preflight", playbook="wf-11").json()["items"]
        return next((i["passed"], i["proof"]) for i in items if i["name"] == "runbook_current")

    own.write_text("# Ours\n")
    assert proof()[0] is False
    own.write_text(runbook(load_playbook("wf-11-demo")))
    assert "written for plan" in proof()[1]
    own.write_text(runbook(plan).replace('<a id="violation">', ""))
    assert "sections missing: violation" in proof()[1]
    own.write_text(runbook(plan) + "\nCall the bar manager.\n")
    assert proof()[0] is True


def test_every_trigger_of_a_plan_has_its_section():
    for name in ("wf-11", "wf-11-demo"):
        plan = load_playbook(name)
        assert problems(runbook(plan), plan) == []
    assert "above 5% for 5m" in runbook(load_playbook("wf-11"))


def test_every_rule_for_prometheus_that_leads_to_the_alarms_finds_its_advice_there():
    rules = files("molt.apps.cli").joinpath("templates", "prometheus-rules.yaml").read_text("utf-8")
    (group,) = YAML(typ="safe").load(rules)["groups"]
    links = {rule["alert"]: rule["annotations"]["runbook_url"] for rule in group["rules"]}
    names = [name for name, link in links.items() if link.endswith("#alarm")]
    advice = runbook(load_playbook("wf-11")).partition('<a id="alarm">')[2]
    told = {
        "MoltDown": "*Molt is down*",
        "MoltAlarm": "*blind*",
        "MoltNoGateway": "*no gateway is heard*",
        "MoltStoreUnavailable": "*store*",
        "MoltAlertUndelivered": "*undelivered*",
    }
    assert set(names) == set(told)
    assert all(words in advice for words in told.values())


def test_the_runbook_says_what_a_trigger_that_halves_does_where_nothing_can_be_halved():
    text = runbook(load_playbook("wf-11"))
    assert (
        "molt resume --phase shadow" in text.partition('<a id="person">')[2].partition("<a id=")[0]
    )
    latency = text.partition('<a id="latency">')[2].partition("<a id=")[0]
    for said in ("**halve** (", "**pause** (it had none to halve, as in shadow): Molt has stopped"):
        assert said in latency
    assert "Molt has halved the traffic" in latency.partition("**pause**")[0]
    assert "**pause** (" not in text.partition('<a id="cost">')[2].partition("<a id=")[0]


@pytest.fixture
def alert(server) -> str:
    """An alert that on-call got; its id."""
    notice = Notice("critical", "rolled back", "errors: 20 of 59", "i1", about="error_rate")
    server.call(server.alerts.notify(notice))
    return server.alerts.all()[0].id


def test_an_alert_is_acknowledged_over_the_api_with_name_and_reason(server, alert):
    found = post(server, f"/alerts/{alert}/ack", reason="looking").json()
    assert (found["acked_by"], found["ack_note"]) == ("admin", "looking")
    assert acts(server)[-1] == ("acknowledge", "admin", 200)
    viewer = {"authorization": f"Bearer {TOKENS['viewer']}"}
    url = f"{server.url}/api/v1/alerts/{alert}/ack"
    assert httpx.post(url, json={}, headers=viewer, trust_env=False).status_code == 403


def test_an_alert_leads_to_its_incident_and_the_section_of_its_own_plan(server):
    notice = Notice(
        "critical", "back", "errors", "i1", about="violation", page="incidents/r-i1", rollout="r"
    )
    server.call(server.alerts.notify(notice))
    assert "/console/incidents/r-i1\n" in server.sent[-1].body
    assert "/console/runbook?rollout=r#violation\n" in server.sent[-1].body
    with httpx.Client(base_url=server.url, headers=ADMIN, trust_env=False) as browser:
        page = browser.get("/console/alerts").text
    assert 'href="/console/incidents/r-i1">The incident</a>' in page
    assert 'href="/console/runbook?rollout=r#violation">' in page
    server.call(server.alerts.notify(Notice("warning", "a question", "", "q")))
    assert "/console/alerts\n" in server.sent[-1].body
    assert "/console/runbook#alarm\n" in server.sent[-1].body


def test_what_only_informs_asks_nobody_to_be_on_it(server):
    server.call(server.alerts.notify(Notice("info", "at 5%", "all gates passed", "r")))
    assert "console/alerts" in server.sent[-1].body
    assert "Runbook" not in server.sent[-1].body
    spent = Notice("info", "50% of today's budget is spent", "$5 of $10", "s", about="cost")
    server.call(server.alerts.notify(spent))
    assert "runbook#cost" in server.sent[-1].body
    assert "I am on it" not in server.sent[-1].body


@pytest.fixture
def link(server, alert) -> str:
    """The signed link in what on-call got, as a path."""
    (line,) = [text for text in server.sent[-1].body.splitlines() if text.startswith("I am on it")]
    return line.partition(server.url)[2]


def test_the_link_in_an_alert_lets_its_reader_say_so_and_nothing_else(server, link, browser):
    page = browser.http.get(link)
    assert page.status_code == 200
    assert server.alerts.all()[0].acked_by == "", "looking at it changes nothing"

    form = {"name": "Ann", "note": "calling the bar"}
    answer = browser.http.post(link, data=form, headers={"origin": browser.url})

    assert "link: Ann is on it" in answer.text
    acked = server.alerts.all()[0]
    assert (acked.acked_by, acked.ack_note) == ("link: Ann", "calling the bar")
    assert not browser.signed_in()
    assert acts(server)[-2] == ("acknowledge_by_link", "link: Ann", 200)
    assert link.rpartition("/")[2] not in str(audit_of(server))


def test_a_program_may_follow_the_link_too_when_it_says_for_whom(server, link):
    """Without `Origin`, as curl sends it: the link itself is the secret."""
    url = f"{server.url}{link}"
    nameless = httpx.post(url, trust_env=False)
    assert nameless.status_code == 422
    assert "Say who you are" in nameless.text
    assert server.alerts.all()[0].acked_by == ""

    assert httpx.post(url, data={"name": "pager"}, trust_env=False).status_code == 200
    assert server.alerts.all()[0].acked_by == "link: pager"


def test_a_link_that_was_used_changed_or_is_too_old_is_refused_and_says_why(server, link, browser):
    forged = link[:-2] + ("AA" if not link.endswith("AA") else "BB")
    assert browser.http.get(forged).status_code == 404
    assert "not one of ours" in browser.http.post(forged, data={"name": "Eve"}).text
    assert server.alerts.all()[0].acked_by == ""

    browser.http.post(link, data={"name": "Ann"})
    second = browser.http.post(link, data={"name": "Bob"})
    assert second.status_code == 409
    assert "Somebody was there before you" in second.text
    assert server.alerts.all()[0].acked_by == "link: Ann", "the first stays on record"

    server.later(days=7, seconds=1)
    late = browser.http.post(link, data={"name": "Ann"})
    assert late.status_code == 404
    assert "too old" in late.text


def test_pages_of_on_call_show_what_there_is(server, alert, browser):
    browser.sign_in("operator")
    assert "rolled back" in browser.http.get("/console/alerts").text
    assert 'id="error_rate"' in browser.http.get("/console/runbook").text
    assert "not been run" in browser.http.get("/console/checklist").text

    assert browser.post("/console/checklist", {}).status_code == 303
    page = browser.http.get("/console/checklist").text
    assert re.search(r"an event travelled /api/v1/stream in \d+ ms", page)
    assert browser.post(f"/console/alerts/{alert}/ack", {"reason": "mine"}).status_code == 303
    page = browser.http.get("/console/alerts").text
    assert re.search(r"operator is on it since <time [^>]*>[^<]*</time>: mine", page)


def test_an_alert_that_nobody_got_says_how_often_it_was_tried_until_somebody_is_on_it(
    server, browser
):
    server.phone.answer = Delivery(False, "json://pager: refused", 4)
    server.call(server.alerts.notify(Notice("critical", "rolled back", "20 of 59", "i1")))
    browser.sign_in("operator")
    page = browser.http.get("/console/alerts").text
    assert "Nobody has got it: json://pager: refused Tried 4 times, the next time at" in page

    alert = server.alerts.all()[0].id
    assert browser.post(f"/console/alerts/{alert}/ack", {}).status_code == 303
    assert "Nobody has got it" not in browser.http.get("/console/alerts").text
