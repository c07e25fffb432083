"""After the rollout: the retrospective from the log, and tasks until the rollout is closed."""

from pathlib import Path

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
    assert molt("tasks", "assign", 1, "--owner", "bea", "--due", "2020-01-31").code == 0
    first, second = molt.json("tasks", "list")["tasks"]
    assert (first["owner"], first["due"], first["overdue"]) == ("bea", "2020-01-31", True)
    assert second["owner"] == ""

    assert molt("tasks", "sign", 1, "-m", "wiki").code == 0
    again = molt("tasks", "sign", 1)
    assert (again.code, "has signed" in again.err) == (1, True)
    assert molt.json("tasks", "list")["closed"] is False
    assert "closed: everything is signed" in molt("tasks", "sign", 2).out
    assert molt("tasks", "sign", 9).code == 1
    assert molt("tasks", "assign", 1, "--owner", "bea", MOLT_TOKEN=TOKENS["viewer"]).code != 0
    assert [e["type"] for e in molt.json("history")][-1] == "TaskSigned"


def test_nothing_is_signed_before_the_rollout_is_complete(molt: Molt, tmp_path: Path):
    (tmp_path / "after.yaml").write_text(AFTER, encoding="utf-8")
    molt("start", tmp_path / "after.yaml")
    early = molt("tasks", "sign", 1)
    assert (early.code, "once the rollout is complete" in early.err) == (1, True)
