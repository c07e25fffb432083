"""A fact in one line: what it is about, and what was said of it."""

from datetime import UTC, datetime

import pytest

from molt.control.facts import told_of
from molt.core.events import (
    AlarmRaised,
    AnyEvent,
    CandidateChanged,
    Halved,
    IncidentOpened,
    ProcedureStepDone,
    RolloutStarted,
    Ruling,
    RulingsChanged,
    StepEntered,
    TaskAssigned,
)

AT = datetime(2026, 3, 2, tzinfo=UTC)
OPEN = (Ruling("hold", "wait", ""), Ruling("error_rate", "pass", ""))


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (
            StepEntered(
                at=AT, reason="all gates passed", phase="canary", step=0, share=2.5, epoch=3
            ),
            "canary at 2.5%: all gates passed",
        ),
        (
            RolloutStarted(
                at=AT,
                reason="no pager yet",
                rollout="r",
                playbook="{}",
                playbook_hash="h",
                salt="s",
                statistics_salt="t",
                agents=("guest",),
                waived=("alerts_configured",),
            ),
            "waived alerts_configured: no pager yet",
        ),
        (CandidateChanged(at=AT, epoch=1, version="2.1"), "version 2.1"),
        (CandidateChanged(at=AT, epoch=2, version="2", note="warmer"), "version 2: warmer"),
        (AlarmRaised(at=AT, alarm="blind", text="no request"), "blind: no request"),
        (RulingsChanged(at=AT, rulings=OPEN), "open: hold"),
        (RulingsChanged(at=AT, rulings=OPEN[1:]), "all conditions met"),
        (Halved(at=AT, incident="i", share=5, epoch=2, reason="slow"), "to 5%: slow"),
        (
            IncidentOpened(
                at=AT,
                incident="i",
                trigger="violation",
                action="roll_back",
                ruling=OPEN[0],
                reason="one violation",
                detail={"tool": "refund", "run": "r7"},
            ),
            "violation: one violation, tool refund, run r7",
        ),
        (
            ProcedureStepDone(at=AT, incident="i", step="disable", proof="read back", attempts=1),
            "disable: read back",
        ),
        (TaskAssigned(at=AT, task="Train support", owner="bea"), "Train support: owner bea"),
    ],
)
def test_a_fact_says_what_it_is_about(event: AnyEvent, told: str) -> None:
    assert told_of(event) == told
