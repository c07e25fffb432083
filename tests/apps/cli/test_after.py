"""After the rollout: the retrospective from the log, and tasks until the rollout is closed."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from molt.apps.retro import as_html
from molt.control.retro_text import bar
from molt.core.prediction import GateTime, Prediction, StepPlan

from .conftest import PLAYBOOK, TOKENS, Molt, Server

AFTER = (
    PLAYBOOK.replace("share: 50, hold: 1h, gates: [{kind: no_violation}]", "share: 50, hold: 1s")
    + "after: [Update documentation, Hold the retrospective]\n"
)


def completed(molt: Molt, server: Server, folder: Path) -> None:
    """A rollout led to its end, with a pause, a remark and an approval by somebody else."""
    (folder / "after.yaml").write_text(AFTER, encoding="utf-8")
    assert molt("start", folder / "after.yaml", "-m", "spring menu").code == 0
    assert molt("note", "prompt shortened", "--candidate-version", "v2").code == 0
    server.later(seconds=5)
    assert molt("approve", "-m", "figures are good", MOLT_TOKEN=TOKENS["approver"]).code == 0
    server.later(seconds=5)
    server.later(seconds=5)
    assert molt.json("status")["phase"] == "complete"


def test_the_retrospective_says_what_was_planned_and_what_happened(
    molt: Molt, server: Server, tmp_path: Path
):
    completed(molt, server, tmp_path)
    assert molt("rollback", "-y", "-m", "smoke in the kitchen").code == 0
    server.rollbacks_done()

    text = molt("retro").out

    assert text.startswith("# Retrospective: Two steps\n\n**Complete after ")
    assert "by admin: spring menu" in text
    assert "| canary 10% |" in text
    assert "| prompt shortened |" in text
    assert "| approver | approved | figures are good |" in text
    assert "smoke in the kitchen" in text
    assert "has not been closed" in text
    assert "To do: Update documentation (nobody)." in text


def test_a_page_of_it_needs_nothing_else_and_runs_nothing(
    molt: Molt, server: Server, tmp_path: Path
):
    completed(molt, server, tmp_path)
    molt("note", "<script>alert(1)</script> | pipe")
    assert molt("retro", "--out", tmp_path / "retro.html").code == 0

    page = (tmp_path / "retro.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.partition("</head>")[0]


def test_tasks_have_owners_and_days_and_close_the_rollout_when_all_are_signed(
    molt: Molt, server: Server, tmp_path: Path
):
    completed(molt, server, tmp_path)
    assert "nobody" in molt("tasks", "list").out
    soon = molt("tasks", "assign", 1, "--owner", "bea", "--due", "tomorrow")
    assert (soon.code, "expected a day such as 2026-05-31" in soon.err) == (2, True)
    assert molt("tasks", "assign", 1, "--owner", "bea", "--due", "2020-01-31").code == 0
    first, second = molt.json("tasks", "list")["tasks"]
    assert (first["owner"], first["due"], first["overdue"]) == ("bea", "2020-01-31", True)
    assert second["owner"] == ""

    assert molt("tasks", "sign", 1, "-m", "wiki").code == 0
    again = molt("tasks", "sign", 1)
    assert (again.code, "has signed" in again.err) == (1, True)
    assert molt.json("tasks", "list")["closed"] is False
    assert "CLOSED" not in molt("status").out
    assert "closed: everything is signed" in molt("tasks", "sign", 2).out
    assert molt.json("status")["closed"] is True
    assert "CLOSED: all traffic is on the candidate" in molt("status").out
    assert molt("tasks", "sign", 9).code == 1
    assert molt("tasks", "assign", 1, "--owner", "bea", MOLT_TOKEN=TOKENS["viewer"]).code != 0
    assert [e["type"] for e in molt.json("history")][-1] == "TaskSigned"


def test_nothing_is_signed_before_the_rollout_is_complete(molt: Molt, tmp_path: Path):
    (tmp_path / "after.yaml").write_text(AFTER, encoding="utf-8")
    molt("start", tmp_path / "after.yaml")
    early = molt("tasks", "sign", 1)
    assert (early.code, "once the rollout is complete" in early.err) == (1, True)


def foreseen(molt: Molt, **changed: object) -> dict[str, object]:
    """What `molt plan --save` would have written for the tiny plan."""
    step = StepPlan("canary", 10, 24, 500, 400, 4000, None, {}, [GateTime("approval", 1, 2)], 1)
    slow = [GateTime("no_violation", 3.0, None)]
    last = StepPlan("progressive", 50, 24, 900, 700, 5000, None, {}, slow, 1)
    found = Prediction(
        playbook="tiny",
        playbook_hash=str(molt.json("status")["playbook_hash"]),
        made_at=datetime(2020, 5, 4, tzinfo=UTC),
        traffic=8000,
        users=1000,
        seeds=8,
        steps=[step, last],
        promoted=1.0,
        sent_back=0.0,
        sent_back_interval=[0.0, 0.3],
        duration_days=[1.5, 2.0, 2.5],
        spent=[1.0, 2.0, 3.0],
        bad_stopped=1.0,
        bad_hours=[],
        bad_failed_orders=[],
        bad_spent=[],
        advice=[],
    )
    return msgspec.to_builtins(found) | changed


def test_a_prediction_is_held_against_what_happened(molt: Molt, server: Server, tmp_path: Path):
    completed(molt, server, tmp_path)
    kept = tmp_path / "plan.json"
    kept.write_text(json.dumps(foreseen(molt)), encoding="utf-8")

    text = molt("retro", "--plan", kept).out

    assert "Foreseen on 2020-05-04 00:00 UTC, before the rollout began" in text
    assert "| the end was reached | in 100% of runs | yes |" in text
    assert "| 2 d 0 h (1 d 12 h to 2 d 12 h) |" in text.replace("36 h 0 min", "1 d 12 h")
    assert "below what was foreseen" in text
    assert "no violation: 3 h 0 min, in 9 of 10 runs not at all" in text
    assert "another plan" not in text
    assert "No prediction was given" in molt("retro").out

    kept.write_text(json.dumps(foreseen(molt, playbook_hash="f" * 64)), encoding="utf-8")
    assert "**It was made for another plan**" in molt("retro", "--plan", kept).out


def test_a_prediction_kept_at_the_start_is_in_the_retrospective(molt: Molt, tmp_path: Path):
    plan, kept = tmp_path / "after.yaml", tmp_path / "plan.json"
    plan.write_text(AFTER, encoding="utf-8")
    assert molt("start", plan, "--id", "first").code == 0
    prediction = foreseen(molt)
    assert molt("abort", "-r", "first", "-m", "again, with a prediction", "--yes").code == 0
    kept.write_text(json.dumps(prediction | {"playbook_hash": "f" * 64}), encoding="utf-8")
    refused = molt("start", plan, "--id", "second", "--plan", kept)
    assert (refused.code, "foresees another plan" in refused.err) == (2, True)
    kept.write_text(json.dumps(prediction), encoding="utf-8")
    assert molt("start", plan, "--id", "second", "--plan", kept).code == 0
    text = molt("retro", "-r", "second").out
    assert "Foreseen on 2020-05-04 00:00 UTC, before the rollout began" in text
    assert "| requests a day | 8,000 |" in text
    assert "No prediction was given" in molt("retro", "-r", "first").out


@pytest.mark.parametrize("text", ["{", "[]", '{"playbook": "tiny"}'])
def test_a_file_that_holds_no_prediction_is_refused_and_said(
    molt: Molt, server: Server, tmp_path: Path, text: str
):
    completed(molt, server, tmp_path)
    (tmp_path / "plan.json").write_text(text, encoding="utf-8")
    refused = molt("retro", "--plan", tmp_path / "plan.json")
    assert refused.code != 0
    assert "molt plan" in refused.err


def test_the_page_draws_the_course_and_how_near_rulings_were(
    molt: Molt, server: Server, tmp_path: Path
):
    completed(molt, server, tmp_path)
    assert molt("retro", "--out", tmp_path / "retro.html").code == 0
    page = (tmp_path / "retro.html").read_text("utf-8")
    assert page.count('class="track"') == 2
    assert 'class="real"' in page
    assert "| canary 10% | approval | pass |" in molt("retro").out


def test_bars_say_what_was_used_of_a_limit():
    assert [bar(u) for u in (0.0, 0.26, 1.3)] == [
        "░" * 10 + " 0%",
        "███░░░░░░░ 26%",
        "█" * 10 + " 130%",
    ]
    assert bar(math.inf) == "█" * 10 + " over"
    drawn = as_html("# A\n\n| a |\n| --- |\n| " + bar(0.26) + " |\n| " + bar(math.inf) + " |\n")
    assert 'class="used" width="26.0"' in drawn
    assert 'class="over" width="100.0"' in drawn
