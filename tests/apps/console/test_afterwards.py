"""A rollout that is over: what its page offers and leads to, and the tasks with their signatures."""

import re
from datetime import timedelta

import pytest
from tests.apps.cli.conftest import PLAYBOOK
from tests.apps.console.conftest import Browser, Browsers, Server

AFTER = (
    PLAYBOOK.replace("share: 10, hold: 1s, gates: [{kind: approval}]", "share: 10, hold: 1s")
    .replace("share: 50, hold: 1h, gates: [{kind: no_violation}]", "share: 50, hold: 1s")
    .replace("Two steps", "Short")
    + "after: [Update documentation, Hold the retrospective]\n"
)
PAGE = "/console/rollouts/short"
TASKS = f"{PAGE}/tasks"


@pytest.fixture
def complete(server: Server, browser: Browser) -> Browser:
    """An administrator, with the rollout `short`, which is complete."""
    body = {"playbook_yaml": AFTER, "rollout": "short", "reason": "test"}
    assert browser.http.post("/api/v1/rollouts", json=body).status_code == 201
    for _ in range(3):
        server.later(seconds=5)
    assert browser.get("/api/v1/rollouts/short").json()["phase"] == "complete"
    return browser


def shown(page: str) -> set[str]:
    """What the page offers to do."""
    found = re.findall(r'data-offer="(\w+)"\s*(hidden)?', page)
    return {name for name, hidden in found if not hidden}


def test_a_running_rollout_offers_what_may_be_done_in_its_step(begun: Browser) -> None:
    page = begun.get("/console/rollouts/tiny").text
    assert shown(page) == {"roll_back", "approve", "ask", "promote", "pause", "adjust", "abort"}
    assert "What comes next" not in page
    begun.send("/console/rollouts/tiny/pause", reason="lunch")
    paused = shown(begun.get("/console/rollouts/tiny").text)
    assert "resume" in paused
    assert not paused & {"pause", "promote", "resume_from"}


def test_a_complete_rollout_offers_the_way_back_and_leads_to_what_comes_next(
    complete: Browser,
) -> None:
    page = complete.get(PAGE).text
    assert shown(page) == {"roll_back", "adjust", "abort"}
    assert "What comes next" in page
    assert f'<a href="{TASKS}">Tasks</a>: 0 of 2 signed' in page
    assert "molt cleanup PATH" in page
    retro = re.search(r'href="([^"]+)">retrospective', page)
    assert retro is not None
    assert "<h1>Retrospective: Short" in complete.get(retro[1]).text


def test_a_rollout_that_came_back_offers_the_resume_once_its_procedure_is_done(
    complete: Browser, server: Server
) -> None:
    complete.send(f"{PAGE}/rollback", reason="smoke")
    server.rollbacks_done()
    page = complete.get(PAGE).text
    assert shown(page) == {"resume", "resume_from", "abort"}
    assert "find the cause, then close the incident" in page
    complete.send(f"{PAGE}/abort", reason="not this one")
    page = complete.get(PAGE).text
    assert shown(page) == set()
    assert "molt start" in page


def test_tasks_are_given_to_somebody_and_signed_until_the_rollout_is_closed(
    complete: Browser, server: Server
) -> None:
    today = server.clock.now().date()
    assert complete.get(TASKS).text.count("no owner yet") == 2
    done = complete.send(f"{TASKS}/1/assign", owner="bea", due=today.isoformat())
    assert (done.status_code, done.headers["location"]) == (303, f"{TASKS}?done=assigned")
    assert f"bea, until {today}" in complete.get(TASKS).text
    assert "overdue" not in complete.get(TASKS).text
    server.later(days=1)
    assert "0 of 2 signed, 1 overdue." in complete.get(TASKS).text
    assert "1 overdue" in complete.get(PAGE).text

    complete.send(f"{TASKS}/1/sign", reason="in the wiki")
    assert "1 of 2 signed." in complete.get(TASKS).text
    again = complete.send(f"{TASKS}/1/sign")
    assert again.status_code == 409
    assert "has signed" in again.text
    complete.send(f"{TASKS}/2/sign")
    page = complete.get(TASKS).text
    assert "Closed: everything is signed." in page
    assert re.search(r"Signed by <strong>admin</strong>, <time.*</time>: in the wiki", page)
    assert "Closed: all traffic is on the candidate" in complete.get(PAGE).text
    listed = complete.get("/api/v1/rollouts/short/tasks").json()
    assert listed["closed"]
    assert listed["tasks"][0]["due"] == (server.clock.now() - timedelta(days=1)).date().isoformat()


def test_what_cannot_be_is_refused_in_words(complete: Browser) -> None:
    assert "needs an owner" in complete.send(f"{TASKS}/1/assign", owner=" ").text
    assert complete.send(f"{TASKS}/1/assign", owner="bea", due="soon").status_code == 422
    assert "No task 9" in complete.send(f"{TASKS}/9/sign").text
    assert "nothing" in complete.get("/console/rollouts/nothing/tasks").text


def test_a_plan_without_tasks_says_where_they_would_come_from(begun: Browser) -> None:
    page = begun.get("/console/rollouts/tiny/tasks").text
    assert "No tasks in this plan" in page
    assert "stands under after in the playbook" in page


def test_before_the_end_tasks_can_have_owners_and_no_signatures(
    server: Server, browser: Browser
) -> None:
    body = {"playbook_yaml": AFTER, "rollout": "short", "reason": "test"}
    assert browser.http.post("/api/v1/rollouts", json=body).status_code == 201
    browser.send(f"{TASKS}/1/assign", owner="bea")
    page = browser.get(TASKS).text
    assert "are signed once it is complete" in page
    assert "/sign" not in page
    assert "once the rollout is complete" in browser.send(f"{TASKS}/1/sign").text


def test_a_viewer_sees_the_tasks_and_signs_none(complete: Browser, browsers: Browsers) -> None:
    viewer = browsers("viewer")
    page = viewer.get(TASKS).text
    assert "Update documentation" in page
    assert "<form" not in page
    for act in ("assign", "sign"):
        assert viewer.send(f"{TASKS}/1/{act}", owner="me").status_code == 403
