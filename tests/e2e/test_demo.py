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


def test_an_agent_that_fails_at_25_percent_is_taken_back_and_no_user_notices() -> None:
    result = demo("--minutes", "1", "--fault", "errors")
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
    assert set(result["incident"]["steps"]) == {
        "disable",
        "clear_rate_limits",
        "notify_on_call",
        "preserve_logs",
        "document_timeline",
    }
