"""Shadow comparison with real processes: what guests asked, both answers, what differs, who says what."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from molt.adapters.playbooks import load_playbook
from molt.core.playbook import Playbook

from .conftest import Molt, until


def shadow(**comparison: Any) -> Playbook:
    """WF-11's demo plan, held in shadow."""
    data = load_playbook("wf-11-demo").as_data()
    phase = {
        "name": "shadow",
        "steps": [
            {"share": 0, "hold": "1h", "gates": [{"kind": "shadow_agreement", "above": "80%"}]}
        ],
    }
    plan = {"settle": "1s", "ignore_arguments": ["cart_id", "line_id"], **comparison}
    return Playbook.model_validate(data | {"name": "shadow", "phases": [phase], "comparison": plan})


def pairs(molt: Molt, **query: Any) -> list[dict[str, Any]]:
    return molt.client.get("/rollouts/r/shadow", params=query).json()["pairs"]


def command(molt: Molt, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "molt.apps.cli", "shadow", *arguments,
         "--url", molt.api, "--token", molt.token],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def compared(molt: Molt, count: int) -> list[dict[str, Any]]:
    """The pairs, once so many have been compared."""

    def found() -> list[dict[str, Any]] | None:
        done = [p for p in pairs(molt) if p["verdict"] != "pending"]
        return done if len(done) >= count else None

    return until(found, what=f"{count} pairs are compared")


def test_what_guests_asked_is_kept_redacted_compared_and_can_be_read(molt):
    molt.begin(shadow())
    who = {"user": "user-17", "session_id": "s-101"}
    asked = "A latte please, and mail the receipt to ann@example.com"
    assert molt.ask(asked, **who).status_code == 200
    (first,) = compared(molt, 1)
    assert molt.ask("Yes, that's right", **who).status_code == 200
    assert len(compared(molt, 2)) == 2

    assert first["asked"] == "A latte please, and mail the receipt to [email]"
    assert first["verdict"] == "acceptable"
    full = molt.client.get(f"/rollouts/r/shadow/pairs/{first['id']}").json()
    assert full["control"]["status"] == full["candidate"]["status"] == 200
    assert [c["tool"] for c in full["candidate"]["calls"]] == ["menu_search", "add_to_cart"]
    assert "latte" in full["control"]["text"].lower()
    assert full["request"]["context"]["user_id"] == "[subject]"
    assert full["request"]["session_id"] == "[session]"
    database = b"".join(p.read_bytes() for p in molt.data.glob("molt.db*"))
    assert b"ann@example.com" not in database
    assert b"user-17" not in database

    assert first["id"] in command(molt, "list")
    page = command(molt, "show", first["id"][-8:])
    assert "add_to_cart" in page
    assert "ACCEPTABLE" in page
    assert "of 2 pairs" in command(molt, "summary")


def test_an_accepted_kind_no_longer_blocks_and_stands_in_the_log_with_who_and_why(molt):
    molt.begin(shadow(blocking=["wording", "prices"], wording="100%"))
    molt.ask("A cappuccino please", session_id="s-1")
    (pair,) = compared(molt, 1)
    assert pair["reasons"] == ["wording"]

    refused = molt.post("/rollouts/r/shadow/accept", kind="wording")
    assert refused.status_code == 409
    assert "reason" in refused.json()["detail"]
    summary = molt.post("/rollouts/r/shadow/accept", kind="wording", reason="it has a voice").json()

    assert summary["all"]["acceptable"] == 1
    (event,) = molt.events("DifferenceRuled")
    assert (event["by"], event["reason"], event["difference"]) == (
        "admin",
        "it has a voice",
        "wording",
    )
    molt.stop()
    molt.start()
    again = molt.client.get("/rollouts/r/shadow/summary").json()
    assert again["all"] == summary["all"]
    assert pairs(molt)[0]["verdict"] == "acceptable"


def test_what_control_is_reported_to_have_done_is_held_against_what_the_agent_would_do(molt):
    molt.begin(shadow(actions_from="reports", ignore_calls=["menu_search"]))
    molt.ask("A cappuccino please", user="user-18", session_id="s-2")
    (pair,) = compared(molt, 1)
    assert pair["reasons"] == ["call_extra:add_to_cart"]

    done = {"venue_id": "venue-1", "item_id": "cappuccino", "quantity": "1"}
    report = {"id": "a1", "tool": "add_to_cart", "arguments": done, "subject": "user-18"}
    answer = molt.client.post("/actions", json=[report | {"at": pair["at"]}] * 2)
    assert answer.json() == {"accepted": 1, "repeated": 1}

    until(lambda: pairs(molt)[0]["verdict"] == "acceptable", what="the pair is compared anew")
    assert molt.client.get("/rollouts/r/shadow/summary").json()["all"]["pairs"] == 1


RECORDED = [
    {
        "speaker": "user",
        "text": "Can I get a mocha with oat milk?",
        "calls": [
            {"api": "get_menu_items", "request": {"query": "Mocha"}, "response": {}},
            {
                "api": "add_order_item",
                "request": {
                    "menu_item_id": "mocha-3844",
                    "quantity": "1",
                    "attributes": [{"attribute_id": "milk-options", "option": "Oat Milk"}],
                },
                "response": {"order_item_id": "45332"},
            },
        ],
    },
    {"speaker": "assistant", "text": "Is this order correct?"},
    {
        "speaker": "user",
        "text": "Yes that's correct.",
        "calls": [{"api": "finish_order", "request": {"order_id": "1"}, "response": {}}],
    },
]


def played(path: Path, most: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "molt.apps.cli", "demo", "--compare-dialogues", str(path),
         "--at-most", str(most), "--port", "0", "--json"],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_recorded_dialogues_are_played_in_shadow_and_their_actions_compared(tmp_path):
    path = tmp_path / "dialogues.jsonl"
    wrong = [{**RECORDED[0], "calls": []}, *RECORDED[1:]]
    path.write_text("\n".join(json.dumps({"turns": turns}) for turns in (RECORDED, wrong)))

    found = played(path, 10)

    assert found["actions"] == {"control": 3, "candidate": 4, "matched": 3, "equal": 3}
    assert found["all"]["pairs"] == 4
    assert {k["kind"] for k in found["kinds"] if k["blocking"]} == {"call_extra:add_to_cart"}


TM4 = Path(__file__).parents[2].parent / "shared" / "data" / "tm4_coffee" / "dialogs.jsonl.gz"


@pytest.mark.skipif(not TM4.exists(), reason="the recorded dialogues (tm4_coffee) are not here")
def test_the_agent_would_have_done_most_of_what_was_recorded_in_real_dialogues():
    found = played(TM4, 24)

    acted = found["actions"]
    assert found["all"]["pairs"] == found["turns"] > 40
    assert acted["control"] > 30
    assert acted["matched"] >= 0.9 * acted["control"]
    assert acted["equal"] >= 0.7 * acted["matched"]
