"""The screen of a rollout: everything on 80 columns and 30 lines, in words."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console
from tests.apps.cli.conftest import Molt

from molt.apps.cli.screen import rollout_panel, state_lines

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
PLAN = (("shadow", (0,)), ("canary", (1, 2, 5)), ("progressive", (10, 25, 50, 75, 100)))


def ruling(name: str, verdict: str, reason: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "verdict": verdict, "reason": reason, "numbers": {}, **more}


def arm(**changes: Any) -> dict[str, Any]:
    figures = {
        "mode": "live",
        "requests": 12_345,
        "errors": 20,
        "error_rate": 20 / 12_345,
        "p50_ms": 310.2,
        "p95_ms": 1210.0,
        "cost": 3.2,
        "cost_per_1000": 2.31,
        "violations": 0,
        "outcomes": {"order_completed": 812, "cart_abandoned": 40},
    }
    return figures | changes


def ladder() -> list[dict[str, Any]]:
    """The fourth step is the present one."""
    steps = [(phase, i, share) for phase, shares in PLAN for i, share in enumerate(shares)]
    return [
        {
            "phase": phase,
            "step": i,
            "share": share,
            "entered": NOW if n <= 3 else None,
            "left": NOW if n < 3 else None,
        }
        for n, (phase, i, share) in enumerate(steps)
    ]


def canary(**changes: Any) -> dict[str, Any]:
    """A rollout at 5% with every gate that the canary's last step has."""
    hold = {"held_s": 43_500, "hold_s": 86_400.0}
    state = {
        "rollout": "wf-11",
        "playbook": "wf-11",
        "version": 41,
        "phase": "canary",
        "plan_phase": "canary",
        "step": 2,
        "traffic_percent": 5.0,
        "candidate_version": "v1.4.2",
        "held_seconds": 43_500.0,
        "halt": None,
        "gates": [
            ruling("hold", "wait", "11h55m00s of 24h to go", numbers=hold),
            ruling("no_degradation:order_completion", "pass", "-0.4% against control; not worse"),
            ruling("no_degradation:cart_abandonment", "wait", "Cart abandonment: " + "long " * 12),
            ruling("no_degradation:staff_response", "wait", "no outcomes on both arms yet"),
            ruling("no_degradation:satisfaction", "fail", "Satisfaction: worse than control"),
            ruling("error_rate", "pass", "errors: 1 of 1200 requests, limit 1%; proven below it"),
            ruling("stable:engagement", "wait", "nothing seen on both arms yet"),
            ruling("unchanged:support_tickets", "pass", "3 against 70; below 2x"),
        ],
        "triggers": [
            ruling("error_rate", "pass", "errors 0.1%", action="roll_back"),
            ruling("latency", "pass", "none slower than 5s", action="halve"),
            ruling("violation", "pass", "none in 1200 requests", action="roll_back"),
            ruling("cost", "wait", "no projected cost yet", action="pause"),
            ruling("complaints", "pass", "2 complaints in 1h, limit 10", action="review"),
        ],
        "next": {
            "phase": "progressive",
            "share": 10.0,
            "earliest": NOW + timedelta(hours=72),
            "earliest_by_person": NOW + timedelta(hours=24),
        },
        "alarms": {},
        "incidents": [],
        "counted": "order_completed",
        "arms": {"control": arm(requests=1_234_567, cost_per_1000=None), "candidate": arm()},
        "ladder": ladder(),
    }
    return state | changes


INCIDENT = {
    "id": "wf-11-i1",
    "trigger": "error_rate",
    "action": "roll_back",
    "opened_at": NOW.isoformat(),
    "ruling": ruling("error_rate", "fail", "errors 21% of 900 requests in 5m, limit 5%"),
    "steps": ["disable", "clear_rate_limits"],
    "procedure": True,
    "closed_at": None,
    "cause": "",
    "open": True,
}


def drawn(state: dict[str, Any], width: int = 80, height: int = 30, **options: Any) -> str:
    file = io.StringIO()
    Console(file=file, width=width, height=height, **options).print(rollout_panel(state))
    return file.getvalue()


@pytest.mark.parametrize(("width", "height"), [(80, 30), (120, 40)])
def test_the_fullest_step_fits_the_terminal(width: int, height: int):
    state = canary(
        incidents=[INCIDENT] * 5,
        alarms={"flags_file": "flags.env:3:1: " + "x" * 200},
        triggers=[ruling("error_rate", "fail", "errors 21%", action="roll_back")],
    )
    lines = drawn(state, width, height).splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width


def test_every_ruling_is_a_word_beside_its_gate_and_reason():
    rows = [" ".join(line.strip("│ ").split()) for line in drawn(canary()).splitlines()]
    assert "pass unchanged:support_tickets 3 against 70; below 2x" in rows
    assert "FAIL no_degradation:satisfaction Satisfaction: worse than control" in rows
    assert "wait stable:engagement nothing seen on both arms yet" in rows


def test_reasons_that_matter_are_written_out_where_there_is_room():
    assert drawn(canary(), 80, 24).count("long") < 12
    assert drawn(canary(), 80, 30).count("long") == 12


def test_the_ladder_says_what_is_done_and_where_it_is():
    top = drawn(canary()).splitlines()[1]
    assert "shadow 0✓  canary 1✓ 2✓ [5%]  progressive 10 25 50 75 100  complete" in top
    complete = canary(phase="complete", plan_phase="progressive", step=4, gates=[], next=None)
    assert "[complete]" in drawn(complete)


def test_a_rollback_says_where_it_fell_and_how_to_go_on():
    back = canary(
        phase="rolled_back",
        traffic_percent=0.0,
        gates=[],
        triggers=[],
        next=None,
        incidents=[INCIDENT],
    )
    text = drawn(back, 120)
    assert "5✗" in text
    assert "ROLLED BACK: all traffic is on control" in text
    assert "molt resume --phase" in text
    assert "wf-11-i1 OPEN since 2026-03-04 12:00:00: error_rate -> roll_back (2 steps" in text


def test_the_hold_and_the_next_step_are_counted_down():
    text = drawn(canary())
    assert "12h05m of 24h, 11h55m left" in text
    assert "next: 10% in 2d11h, or molt promote in 11h55m" in text


def test_after_the_hold_a_person_may_go_on_once_no_gate_waits():
    over = canary(held_seconds=86_401.0)
    for waits, early in (("wait", "once all gates pass"), ("pass", "now")):
        gates = [{**g, "verdict": "pass" if g["name"] == "hold" else waits} for g in over["gates"]]
        assert f", or molt promote {early}" in drawn({**over, "gates": gates})


def test_a_halt_says_why_and_how_to_go_on():
    halt = {"kind": "question", "at": NOW, "reason": "error_rate waited for 7d", "incident": None}
    text = drawn(canary(halt=halt))
    assert "WAITS FOR A DECISION: error_rate waited for 7d. Go on: molt resume -m WHY" in text


def test_a_trigger_that_fires_tells_its_action_and_reason():
    fired = ruling("complaints", "fail", "11 complaints in 1h, limit 10", action="review")
    text = drawn(canary(triggers=[fired]))
    assert "complaints FIRES" in text
    assert "complaints -> review: 11 complaints in 1h, limit 10" in text


def test_both_arms_show_their_figures_and_no_data_is_no_zero():
    rows = [" ".join(line.strip("│ ").split()) for line in drawn(canary()).splitlines()]
    assert "control 1,234,567 0.16% 310 ms 1.21 s - 812" in rows
    unseen = arm(requests=0, error_rate=None, p50_ms=None, p95_ms=None, cost_per_1000=None)
    lines = drawn(canary(arms={"candidate": unseen})).splitlines()
    rows = [" ".join(line.strip("│ ").split()) for line in lines]
    assert "candidate 0 - - - - 812" in rows


def test_the_state_may_come_as_json_or_with_real_moments():
    following = canary()["next"] | {
        "earliest": (NOW + timedelta(hours=72)).isoformat(),
        "earliest_by_person": (NOW + timedelta(hours=24)).isoformat(),
    }
    assert drawn(canary(next=following)) == drawn(canary())


def test_a_terminal_without_unicode_gets_plain_signs():
    class Ascii(io.StringIO):
        encoding = "ascii"

    file = Ascii()
    Console(file=file, width=80, height=30).print(rollout_panel(canary()))
    file.getvalue().encode("ascii")
    assert "canary 1* 2* [5%]" in file.getvalue()


def test_plain_lines_tell_the_same_without_a_terminal():
    lines = state_lines(canary(incidents=[INCIDENT], alarms={"blind": "no traffic"}))
    assert "gate stable:engagement: wait: nothing seen on both arms yet" in lines
    assert "trigger cost: no data: no projected cost yet (action pause)" in lines
    assert "alarm blind: no traffic" in lines
    assert lines[1] == "phase: canary, step 3, 5% on the candidate"
    assert any(line.startswith("candidate (live): requests 12,345, errors 0.16%") for line in lines)


def test_status_prints_plain_lines_where_nobody_looks(started: Molt):
    out = started("status").out
    assert out.startswith("rollout tiny: playbook tiny, version 2, candidate not reported\n")
    assert "gate approval: wait: a person must approve: molt approve" in out
