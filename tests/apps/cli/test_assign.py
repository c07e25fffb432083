"""`molt assign`: offline, and by the flags of a running Molt."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.apps.cli.conftest import Molt, cpu_seconds
from typer.testing import CliRunner

from molt.apps.cli.app import app
from molt.core.assignment import bucket_of

SUBJECTS = [f"user-{n}" for n in range(2000)]


def answers(molt: Molt, *args: object, stdin: str | bytes = "") -> list[dict[str, object]]:
    ran = molt("assign", *args, "--json", stdin=stdin)
    assert ran.code == 0, ran
    return [json.loads(line) for line in ran.out.splitlines()]


def test_one_subject_offline(offline: Molt):
    bucket = bucket_of("pepper", "anna")
    [answer] = answers(offline, "anna", "--salt", "pepper", "--percent", (bucket + 1) / 100)
    assert answer == {
        "subject": "anna",
        "bucket": bucket,
        "arm": "candidate",
        "reason": "in_share",
    }
    [answer] = answers(offline, "anna", "--salt", "pepper", "--percent", bucket / 100)
    assert (answer["arm"], answer["reason"]) == ("control", "out_of_share")


def test_text_has_a_line_of_four_columns(offline: Molt):
    ran = offline("assign", "anna", "bob", "--salt", "s", "--percent", 100)
    assert [line.split("\t")[::2] for line in ran.out.splitlines()] == [
        ["anna", "candidate"],
        ["bob", "candidate"],
    ]


def test_whoever_was_in_stays_in_when_the_share_grows(offline: Molt):
    lines = "\n".join(SUBJECTS)
    inside: set[object] = set()
    for percent in (0, 1, 5, 50, 100):
        found = answers(offline, "--stdin", "--salt", "s", "--percent", percent, stdin=lines)
        now_inside = {a["subject"] for a in found if a["arm"] == "candidate"}
        assert inside <= now_inside
        inside = now_inside
    assert len(inside) == len(SUBJECTS)


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r\n")), min_size=1, max_size=20
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_every_line_gets_one_answer_in_order(subjects: list[str], end: str, ended: bool):
    text = end.join(subjects) + (end if ended or not subjects[-1] else "")
    ran = CliRunner().invoke(
        app,
        ["assign", "--stdin", "--salt", "s", "--percent", "50", "--json"],
        input=text.encode(),
    )
    assert ran.exit_code == 0
    found = [json.loads(line) for line in ran.stdout_bytes.splitlines()]
    assert [a["subject"] for a in found] == subjects
    assert [a["bucket"] for a in found] == [bucket_of("s", s) if s else None for s in subjects]


def test_an_empty_line_is_a_request_without_a_subject(offline: Molt):
    [answer] = answers(offline, "--stdin", "--salt", "s", "--percent", 50, stdin="\n")
    assert (answer["arm"], answer["reason"], answer["bucket"]) == ("control", "no_subject", None)


def test_a_line_that_is_no_text_is_named(offline: Molt):
    ran = offline("assign", "--stdin", "--salt", "s", "--percent", 5, stdin=b"a\nb\n\xff\xfe\n")
    assert ran.code == 2
    assert "line 3" in ran.err


def test_a_running_molt_is_asked_when_salt_or_share_is_not_given(started: Molt):
    salt = started.json("flags")["flags"]["rollouts"][0]["salt"]
    found = answers(started, *SUBJECTS[:200])
    assert [a["bucket"] for a in found] == [bucket_of(salt, s) for s in SUBJECTS[:200]]
    assert {a["arm"] for a in found} == {"control", "candidate"}
    [answer] = answers(started, "anna", "--percent", 100)
    assert (answer["bucket"], answer["reason"]) == (bucket_of(salt, "anna"), "in_share")
    [answer] = answers(started, "anna", "--salt", "other")
    assert answer["bucket"] == bucket_of("other", "anna")


def test_shadow_answers_control_for_everybody_and_a_share_asks_what_if(molt: Molt):
    molt("start", "wf-11", "--waive", "all", "-m", "a test")
    [answer] = answers(molt, "anna", "--agent", "guest")
    assert (answer["arm"], answer["reason"]) == ("control", "shadow")
    [answer] = answers(molt, "anna", "--percent", 100)
    assert answer["arm"] == "candidate"
    [answer] = answers(molt, "anna", "--agent", "research")
    assert answer["reason"] == "agent_disabled"


def test_no_rollout_in_force_is_said(molt: Molt):
    ran = molt("assign", "anna")
    assert ran.code == 1
    assert "everybody gets control" in ran.err


@pytest.mark.parametrize(
    "wrong",
    [(), ("anna", "--stdin"), ("anna", "--percent", "101"), ("anna", "--percent", "half")],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_a_usage_error(offline: Molt, wrong: tuple[str, ...]):
    ran = offline("assign", *wrong, "--salt", "s")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1


def test_a_hundred_thousand_lines_take_less_than_a_second():
    lines = "".join(f"user-{n}\n" for n in range(100_000)).encode()
    command = [sys.executable, "-m", "molt.apps.cli", "assign", "--stdin", "--json"]
    seconds, out = cpu_seconds([*command, "--salt", "s", "--percent", "5"], lines)
    assert out.count(b"\n") == 100_000
    assert seconds < 1, "start of the command included"
