"""`molt playbook`, which needs no Molt."""

import json
from pathlib import Path

import pytest
from tests.apps.cli.conftest import PLAYBOOK, Molt

from molt.adapters.playbooks import load_playbook
from molt.core.playbook import Playbook


def test_show_prints_the_plan_as_data_that_reads_back_into_the_same_plan(offline: Molt):
    data = offline.json("playbook", "show", "wf-11")
    shares = {p["name"]: [s["share"] for s in p["steps"]] for p in data["phases"]}
    assert shares == {"shadow": [0], "canary": [1, 2, 5], "progressive": [10, 25, 50, 75, 100]}
    assert data["limits"]["rate_limit_per_minute"] == 30
    assert data["slos"]["availability"] == "99.5%"
    assert {t["kind"]: t["action"] for t in data["triggers"]}["latency"] == "halve"
    assert Playbook.model_validate(data) == load_playbook("wf-11")


def test_show_prints_every_step_gate_and_trigger_as_lines(offline: Molt):
    ran = offline("playbook", "show", "wf-11")
    assert ran.code == 0
    rows = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert "progressive 25% 24h 72h" in next(r for r in rows if " 25% " in r)
    assert "error_rate above 5% for 5m roll_back" in rows
    assert "complaints above 10 within 1h review" in rows


def test_show_takes_a_file(offline: Molt, playbook: Path):
    assert offline.json("playbook", "show", playbook)["name"] == "tiny"


def test_show_names_what_ships_when_the_name_is_unknown(offline: Molt):
    ran = offline("playbook", "show", "wf-12")
    assert (ran.code, ran.out) == (2, "")
    assert "wf-11" in ran.err


def test_list_names_the_plans_that_ship(offline: Molt):
    assert "wf-11" in [p["name"] for p in offline.json("playbook", "list")]
    assert "Moltbot Phased Rollout" in offline("playbook", "list").out


def test_check_passes_a_file_that_is_in_order(offline: Molt, playbook: Path):
    ran = offline("playbook", "check", playbook)
    assert ran.code == 0
    assert "2 steps" in ran.out
    assert offline.json("playbook", "check", playbook)["ok"] is True


@pytest.mark.parametrize(
    ("right", "wrong", "place"),
    [
        ("share: 50", "shares: 50", "12:10"),
        ("hold: 1h", "hold: 1", "12:27"),
        ("action: roll_back", "action: roll_bak", "16:31"),
        ("name: tiny", "name: [", "4:7"),
    ],
)
def test_check_names_file_line_and_column_of_each_problem(
    offline: Molt, playbook: Path, right: str, wrong: str, place: str
):
    playbook.write_text(PLAYBOOK.replace(right, wrong))
    ran = offline("playbook", "check", playbook)
    assert ran.code == 1
    assert f"tiny.yaml:{place}" in ran.out
    assert ran.err.count("\n") == 1


def test_check_prints_problems_as_data(offline: Molt, playbook: Path):
    playbook.write_text(PLAYBOOK.replace("share: 50", "shares: 50"))
    ran = offline("playbook", "check", playbook, "--json")
    assert ran.code == 1
    found = json.loads(ran.out)
    assert found["ok"] is False
    assert (found["problems"][-1]["line"], found["problems"][-1]["column"]) == (12, 10)
    assert "did you mean 'share'" in found["problems"][-1]["text"]


def test_check_of_a_file_that_is_not_there_is_a_usage_error(offline: Molt):
    assert offline("playbook", "check", "nowhere.yaml").code == 2
