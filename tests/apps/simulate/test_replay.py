"""Decisions made again from the journal: the same plan decides the same, another one tells what if."""

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import pytest
from tests.apps.simulate.worlds import PLAN, plan, scenario
from typer.testing import CliRunner

from molt.adapters.journal import FileJournal
from molt.adapters.sql.store import SqlStore
from molt.apps.cli.app import app
from molt.apps.simulate.course import Course
from molt.apps.simulate.run import ROLLOUT, run
from molt.control.again import played as told
from molt.control.again import replay, what_if
from molt.control.course import POINTS, course
from molt.core.comparisons import strata
from molt.core.stats import ratio

STORIES: dict[str, dict[str, Any]] = {
    "healthy": {},
    "harm": {"effects": [{"metric": "orders", "size": "-60%"}]},
    "errors": {"effects": [{"metric": "error_rate", "to": "40%", "step": 20}]},
    "complaints": {"effects": [{"metric": "complaints", "size": "40x", "step": 20}]},
}


def played(folder: Path, story: str) -> tuple[Course, FileJournal]:
    journal = FileJournal(folder / "journal")
    return run(scenario(**STORIES[story]), plan(), 1, journal=journal), journal


@pytest.mark.parametrize("story", STORIES)
def test_the_same_plan_decides_exactly_the_same_again(tmp_path: Path, story: str) -> None:
    course, journal = played(tmp_path, story)
    again = replay(course.records, journal.frames(ROLLOUT))
    assert again.differences == []
    assert again.decisions > 5
    assert again.gaps == 0


def test_a_journal_that_was_tampered_with_does_not_decide_the_same(tmp_path: Path) -> None:
    course, journal = played(tmp_path, "errors")
    frames = list(journal.frames(ROLLOUT))
    for frame in frames:
        for slot in frame.portion.slots:
            slot.errors.count = 0
    assert replay(course.records, frames).differences


def test_another_plan_tells_what_would_have_happened_and_when(tmp_path: Path) -> None:
    course, journal = played(tmp_path, "errors")
    tolerant = plan().model_copy(update={"triggers": plan().triggers[2:]})
    stays = what_if(course.records, journal.frames(ROLLOUT), tolerant)
    assert [s.share for s in stays][:3] == [0, 5, 20]
    assert stays[1].passed_at is not None
    assert all(s.stopped_at is None for s in stays[:2])
    strict = [s for s in what_if(course.records, journal.frames(ROLLOUT), plan()) if s.stopped_at]
    assert strict[0].share == 20
    assert strict[0].rule is not None
    assert strict[0].rule.name == "error_rate"


def test_the_command_replays_what_a_data_directory_holds(tmp_path: Path) -> None:
    course, _ = played(tmp_path, "errors")
    other = tmp_path / "other.yaml"
    other.write_text(PLAN.replace("above: 5%, for: 5m", "above: 60%, for: 5m"))

    async def keep() -> None:
        async with await SqlStore.open(tmp_path / "molt.db") as store:
            await store.append(ROLLOUT, course.events, expected_version=0)

    asyncio.run(keep())
    same = CliRunner().invoke(app, ["replay", "--dir", str(tmp_path), "--json"])
    assert same.exit_code == 0, same.output
    assert json.loads(same.stdout)["identical"] is True
    command = ["replay", "--dir", str(tmp_path), "--playbook", str(other), "--json"]
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 0, told.output
    assert not any(
        s["stopped_at"] and "error" in s["rule"] for s in json.loads(told.stdout)["stays"]
    )


def test_the_metrics_are_told_over_time_and_their_intervals_close_in(tmp_path: Path) -> None:
    played_course, journal = played(tmp_path, "healthy")
    points = course(played_course.records, journal.frames(ROLLOUT))
    orders = [p for p in points if p.metric == "orders"]
    assert [p.at for p in orders] == sorted(p.at for p in orders)
    assert 10 < len(orders) <= 2 * POINTS + 1
    finite = [p for p in orders if math.isfinite(p.low)]
    assert finite[-1].high - finite[-1].low < finite[0].high - finite[0].low
    assert finite[-1].low < 0 < finite[-1].high
    assert course(played_course.records, journal.frames(ROLLOUT), agent="nobody") == []


def test_the_metrics_are_those_of_the_evidence_taken_in_look_by_look(tmp_path: Path) -> None:
    played_course, journal = played(tmp_path, "harm")
    points = {(p.at, p.metric): p for p in course(played_course.records, journal.frames(ROLLOUT))}
    compared = 0
    for desk, frame in told(played_course.records, journal.frames(ROLLOUT)):
        for name, metric in desk.playbook.metrics.items():
            if (point := points.get((frame.at, name))) is None:
                continue
            d = ratio.difference(strata(desk.scene(frame.at), metric), binary=metric.binary)
            assert d is not None
            assert point.difference == pytest.approx(d.estimate, rel=1e-9, abs=1e-12)
            assert point.candidate_n == d.candidate_n
            compared += 1
    assert compared >= len(points) > 20
