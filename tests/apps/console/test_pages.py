"""Every page: empty, with data, refused; and what can be taken away from it."""

import html
import io
import json
import re

import pytest
from tests.apps.console.conftest import Browser, Browsers, Server

from molt.apps.console.marked import marked
from molt.apps.console.pages import audit
from molt.apps.console.pages.incidents import section

PAGES = ["rollouts", "monitoring", "analytics", "shadow", "incidents", "playbook", "audit"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_is_missing_before_there_is_anything(browser: Browser, page: str) -> None:
    answer = browser.get(f"/console/{page}")
    assert answer.status_code == 200, answer.text
    assert "empty" in answer.text or "Nothing" in answer.text


@pytest.mark.parametrize("page", PAGES)
def test_a_page_stands_with_a_rollout_that_has_just_begun(begun: Browser, page: str) -> None:
    answer = begun.http.get(f"/console/{page}", follow_redirects=True)
    assert answer.status_code == 200, answer.text


@pytest.fixture
def back(server: Server, begun: Browser) -> str:
    """The incident of a rollout that a person took back, its procedure done."""
    begun.send("/console/rollouts/tiny/rollback", reason="guests complain")
    server.rollbacks_done()
    return begun.get("/api/v1/incidents").json()[0]["id"]


def test_an_incident_shows_procedure_evidence_timeline_and_logs(begun: Browser, back: str) -> None:
    assert back in begun.get("/console/incidents").text
    page = begun.get(f"/console/incidents/{back}").text
    assert "guests complain" in page
    assert page.count(">done</span>") >= 1
    assert "timeline.md" in page
    assert "Ruling(" not in page
    file = begun.get(f"/console/incidents/{back}/files/timeline.md")
    assert "guests complain" in file.text
    assert begun.get(f"/console/incidents/{back}/files/..%2F..%2Fmolt.db").status_code == 404


def test_an_incidents_timeline_begins_just_before_it_and_folds_the_day_away(
    server: Server, begun: Browser
) -> None:
    for number in range(9):
        begun.send("/console/rollouts/tiny/notes", text=f"note {number}")
    begun.send("/console/rollouts/tiny/rollback", reason="guests complain")
    server.rollbacks_done()
    page = begun.get("/console/incidents/tiny-i1").text
    folded, shown = re.findall(r"<ol class=\"plain facts\">(.*?)</ol>", page, re.DOTALL)
    assert "note 3" in folded
    assert "note 4" in shown
    assert "person: guests complain" in shown
    assert "earlier facts, from a day before on" in page


def test_an_incident_is_noted_and_closed_with_a_cause(begun: Browser, back: str) -> None:
    begun.send(f"/console/incidents/{back}/notes", reason="looked at the model")
    assert begun.send(f"/console/incidents/{back}/close").status_code == 409
    assert begun.send(f"/console/incidents/{back}/close", reason="bad prompt").status_code == 303
    page = begun.get(f"/console/incidents/{back}").text
    assert "looked at the model" in page
    assert "bad prompt" in page
    assert begun.send(f"/console/incidents/{back}/close", reason="again").status_code == 409


def test_the_audit_log_is_searched_by_a_subject_that_is_hashed_here(
    server: Server, begun: Browser
) -> None:
    hashed = server.app.state.hash_subject("user-17")
    server.record(kind="request", subject=hashed, agent="guest", path="/mine", run="r1")
    server.record(kind="request", subject="other", agent="guest", path="/theirs")
    page = begun.get("/console/audit", params={"subject": "user-17"}).text
    assert "/mine" in page
    assert "/theirs" not in page
    assert "user-17" not in page
    for query in ({"run": "r1"}, {"subject": f"hash:{hashed}"}):
        found = begun.get("/console/audit/export", params=query).text.splitlines()
        assert [json.loads(line)["path"] for line in found] == ["/mine"]
    assert "/mine" in begun.get("/console/audit/export", params={"format": "csv"}).text


def test_the_newest_records_come_first_and_older_ones_by_a_link(
    server: Server, begun: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "SHOWN", 3)
    for number in range(8):
        server.record(kind="request", agent="guest", path=f"/no-{number}")
    address, pages = "/console/audit?agent=guest", []
    while address:
        text = begun.get(address).text
        pages.append(re.findall(r"/no-\d", re.sub(r"<details>.*?</details>", "", text)))
        older = re.search(r'rel="next" href="([^"]+)"', text)
        address = html.unescape(older[1]) if older else ""
    assert pages == [["/no-7", "/no-6", "/no-5"], ["/no-4", "/no-3", "/no-2"], ["/no-1", "/no-0"]]


def test_parquet_holds_the_same_records(server: Server, begun: Browser) -> None:
    duckdb = pytest.importorskip("duckdb")
    server.record(kind="request", agent="guest", path="/mine")
    answer = begun.get("/console/audit/export", params={"format": "parquet", "agent": "guest"})
    assert answer.status_code == 200
    assert answer.content[:4] == b"PAR1"
    path = server.folder / "out.parquet"
    path.write_bytes(io.BytesIO(answer.content).getvalue())
    with duckdb.connect() as db:
        assert db.read_parquet(str(path)).fetchall()


def test_an_event_in_the_audit_log_says_what_it_was_about(server: Server, begun: Browser) -> None:
    begun.send("/console/rollouts/tiny/notes", text="warmer prompts")
    records = begun.get("/api/v1/rollouts/tiny/history").json()
    for record in records[1:]:
        server.record(
            kind="event", rollout="tiny", event=record["type"], seq_in_log=record["seq"], reason=""
        )
    server.record(kind="tool_call", run="r7", status=0, tools=["refund"], disposition="denied")
    server.record(kind="heads", heads={"egress": {"seq": 17, "hash": "ab"}})
    server.record(kind="event", rollout="gone", event="Noted", seq_in_log=3, reason="kept")
    page = " ".join(begun.get("/console/audit").text.split())
    assert "<strong>StepEntered</strong> canary at 10%: " in page
    assert "<strong>Noted</strong> warmer prompts" in page
    assert "<strong>Noted</strong> kept" in page
    assert "last records: egress 17" in page
    assert 'refund <span class="chip fail">denied</span>' in page
    assert "{&#34;egress&#34;: {&#34;seq&#34;: 17" in page  # as JSON


def test_the_chain_is_proven_on_a_click(server: Server, begun: Browser) -> None:
    server.record(kind="request", path="/mine")
    assert "The chain holds." in begun.get("/console/audit/verify").text


def test_an_unreadable_time_is_refused_with_the_field(begun: Browser) -> None:
    answer = begun.get("/console/audit", params={"start": "yesterday"})
    assert answer.status_code == 422
    assert "start" in answer.text


@pytest.mark.parametrize(
    "address",
    [
        "rollouts/nowhere",
        "rollouts/nowhere/tasks",
        "analytics?rollout=nowhere",
        "shadow?rollout=nowhere",
        "playbook?rollout=nowhere",
        "runbook?rollout=nowhere",
        "incidents/nowhere",
    ],
)
def test_a_page_about_what_there_is_not_is_not_found(begun: Browser, address: str) -> None:
    answer = begun.get(f"/console/{address}")
    assert answer.status_code == 404
    assert "nowhere" in answer.text


def test_a_plan_is_checked_and_proposed_but_the_running_one_stays(begun: Browser) -> None:
    before = begun.get("/api/v1/rollouts/tiny/playbook").json()
    text = json.dumps(before["playbook"])
    page = begun.send("/console/playbook/tiny/check", text=text).text
    assert "the same as the running plan" in page
    broken = begun.send("/console/playbook/tiny/check", text="name: [").text
    assert 'role="alert"' in broken
    changed = text.replace('"tiny"', '"tinier"')
    assert "+name: tinier" in begun.send("/console/playbook/tiny/check", text=changed).text
    answer = begun.send("/console/playbook/tiny/propose", text=changed, reason="smaller")
    assert answer.status_code == 303, answer.text
    assert begun.get("/api/v1/rollouts/tiny/playbook").json() == before
    assert "tinier" in begun.get("/api/v1/rollouts/tiny/history").json()[-1]["note"]


def test_analytics_come_as_csv_per_chart_and_an_empty_range_is_refused(begun: Browser) -> None:
    answer = begun.get("/console/analytics/totals.csv", params={"columns": "group,requests"})
    assert answer.text.splitlines()[0] == "group,requests"
    data = begun.get("/console/analytics/data", params={"span": "15m", "by": "agent"}).json()
    assert data["rows"] == []
    wrong = {"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}
    assert begun.get("/console/analytics/data", params=wrong).status_code == 422


def test_viewers_cannot_rule_close_or_propose(
    begun: Browser, browsers: Browsers, back: str
) -> None:
    viewer = browsers("viewer")
    for path in (f"incidents/{back}/close", "playbook/tiny/propose", "shadow/tiny/rule"):
        fields = {"reason": "x", "text": "x", "kind": "wording", "said": "accept"}
        assert viewer.send(f"/console/{path}", **fields).status_code == 403


def test_differences_are_marked_and_nothing_in_an_answer_is_markup() -> None:
    left, right = marked("two <b>beers</b>", "three <b>beers</b>")
    assert str(left) == "<del>two</del> &lt;b&gt;beers&lt;/b&gt;"
    assert str(right).startswith("<ins>three</ins> &lt;b&gt;")


def test_the_runbooks_section_on_the_trigger_stands_beside_the_incident(
    begun: Browser, back: str
) -> None:
    page = begun.get(f"/console/incidents/{back}").text
    assert "There is no section" not in page
    assert "Molt has taken all traffic back" in page
    text = '<a id="error_rate"></a>\n## Error rate\n\nLook *first*.\n\n<a id="cost"></a>\nOther.\n'
    found = section(text, "error_rate")
    assert found is not None
    assert "<em>first</em>" in found
    assert "Other" not in found
    assert section(text, "latency") is None
