"""The main job from the outside: `molt demo` as a user starts it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DIALOGUES = Path("../shared/data/tm4_coffee/dialogs.jsonl.gz")
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def demo(*arguments: str) -> dict[str, Any]:
    """Run the demo; its JSON, which must be all that it prints."""
    real = ("--dialogues", str(DIALOGUES)) if DIALOGUES.exists() else ()
    done = subprocess.run(
        [sys.executable, "-m", "molt.apps.cli", "demo", "--json", "--port", "0", *real, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=390,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_an_agent_that_fails_at_25_percent_is_taken_back_and_no_user_notices(
    tmp_path: Path,
) -> None:
    """It ignores shadow, too; what it asks its model all the while, Molt sees and prices."""
    result = demo(
        "--minutes", "1", "--fault", "errors", "--agent-ignores-shadow", "--data", str(tmp_path)
    )
    assert result["outcome"] == "rolled_back"
    assert (result["trigger"], result["action"]) == ("error_rate", "roll_back")
    assert result["traffic_percent"] == 0
    assert result["requests_failed_for_users"] == 0, result["failures"]
    assert result["orders_by_shadow_runs"] == 0
    assert [step["share"] for step in result["steps"]] == [0, 1, 2, 5, 10, 25]
    for step in result["steps"][:-1]:
        assert step["rulings"]
        assert all(ruling["verdict"] == "pass" for ruling in step["rulings"])
    assert result["orders"] > 0
    every_model_call_was_seen(tmp_path / "molt-data", result["model_calls"])
    assert set(result["incident"]["steps"]) == {
        "disable",
        "clear_rate_limits",
        "notify_on_call",
        "preserve_logs",
        "document_timeline",
    }


def every_model_call_was_seen(data: Path, asked: int) -> None:
    """Hold the egress' records against the number of calls that the model itself has counted."""
    out = subprocess.run(
        [sys.executable, "-m", "molt.apps.cli", "audit", "export", "--dir", str(data)],
        capture_output=True,
        check=True,
    ).stdout
    calls = [c for c in map(json.loads, out.splitlines()) if c["kind"] == "model_call"]
    seen = [call for call in calls if call["disposition"] == "executed"]
    assert len(seen) >= asked > 0  # the last copies may still have been under way when it was asked
    for call in seen:
        assert call["run"]
        if call["status"] == 0:  # the rollback took the run back before the model had answered
            assert "withdrawn" in call["reason"]
            continue
        assert call["cost"] > 0
        assert 0 < call["tokens_in"] + call["tokens_out"] <= 4000
    assert {call["mode"] for call in seen} == {"shadow", "live"}
