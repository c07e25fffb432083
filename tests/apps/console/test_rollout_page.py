"""The rollout's page and its buttons."""

from tests.apps.cli.conftest import PLAYBOOK
from tests.apps.console.conftest import Browser, Browsers, Server


def test_it_shows_where_the_rollout_is_and_what_it_waits_for(begun: Browser) -> None:
    page = begun.get("/console/rollouts/tiny").text
    assert 'aria-current="step"' in page
    assert "What it takes to go on" in page
    assert "Nothing has been measured yet" in page


def test_a_rollback_needs_a_reason_and_then_moves_everything(begun: Browser) -> None:
    refused = begun.send("/console/rollouts/tiny/rollback")
    assert refused.status_code == 409
    assert "needs a reason" in refused.text
    done = begun.send("/console/rollouts/tiny/rollback", reason="guests complain")
    assert done.status_code == 303
    page = begun.get(done.headers["location"]).text
    assert "Rolled back: all traffic is on control." in page
    assert "guests complain" in page


def test_flags_that_keep_it_back_stand_at_the_top_with_what_lifts_them(
    begun: Browser, server: Server
) -> None:
    server.controller.operator.set("MOLTBOT_ENABLED", "false")
    page = begun.get("/console/rollouts/tiny").text
    assert "held back by the operator&#39;s flags." in page
    assert "To let it go on, set MOLTBOT_ENABLED=true in " in page


def test_a_refused_command_says_what_stands_in_the_way_where_it_was_asked(begun: Browser) -> None:
    answer = begun.http.post(
        "/console/rollouts/tiny/promote", data={"reason": "now"}, headers={"hx-request": "true"}
    )
    assert answer.status_code == 409
    assert "Refused." in answer.text
    assert "<html" not in answer.text


def test_a_command_on_an_older_sight_is_refused_with_what_has_changed(begun: Browser) -> None:
    answer = begun.send("/console/rollouts/tiny/promote", reason="now", version="1")
    assert answer.status_code == 409
    assert "has changed since version 1" in answer.text


def test_pause_and_resume_are_on_record_with_name_and_reason(begun: Browser) -> None:
    begun.send("/console/rollouts/tiny/pause", reason="lunch")
    assert "Canary at 10%, paused." in begun.get("/console/rollouts/tiny").text
    begun.send("/console/rollouts/tiny/resume", reason="back")
    log = begun.get("/api/v1/rollouts/tiny/history").json()
    assert [(e["by"], e["reason"]) for e in log[-2:]] == [("admin", "lunch"), ("admin", "back")]


def test_a_viewer_sees_everything_and_moves_nothing(begun: Browser, browsers: Browsers) -> None:
    viewer = browsers("viewer")
    page = viewer.get("/console/rollouts/tiny").text
    assert "you can look" in page
    assert "ask-rollback" not in page
    assert viewer.send("/console/rollouts/tiny/rollback", reason="x").status_code == 403


def test_the_live_part_comes_as_server_sent_events_and_again_after_a_fact(
    begun: Browser,
) -> None:
    with begun.http.stream("GET", "/console/rollouts/tiny/live") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert any("Canary at 10%" in line for line in lines_of_one(lines))
        begun.send("/console/rollouts/tiny/rollback", reason="enough")
        assert any("all traffic is on control" in line for line in lines_of_one(lines))


def lines_of_one(lines: object) -> list[str]:
    """The lines of the next event."""
    found: list[str] = []
    for line in lines:  # type: ignore[attr-defined]
        if not line:
            return found
        found.append(line)
    return found


def test_a_report_is_about_the_rollout_that_goes_on_not_one_that_was_ended_before(
    begun: Browser,
) -> None:
    begun.send("/console/rollouts/tiny/abort", reason="begin anew")
    body = {"playbook_yaml": PLAYBOOK, "rollout": "second", "reason": "test"}
    assert begun.http.post("/api/v1/rollouts", json=body).status_code == 201
    report = {"id": "v1", "agent": "guest", "tool": "drop_tables"}
    answer = begun.http.post("/api/v1/violations", json=report)
    assert (answer.status_code, answer.json()["phase"]) == (202, "rolled_back"), answer.text
    assert begun.get("/api/v1/rollouts/second").json()["phase"] == "rolled_back"
