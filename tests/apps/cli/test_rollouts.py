"""Commands that move a rollout, against a real control API."""

from pathlib import Path

import pytest
from tests.apps.cli.conftest import PLAYBOOK, TOKENS, Molt, Server

COMMANDS = [
    ("start", "wf-11"),
    ("status",),
    ("status", "--rollout", "tiny"),
    ("approve", "-r", "tiny"),
    ("promote", "-r", "tiny"),
    ("pause", "-r", "tiny"),
    ("resume", "-r", "tiny"),
    ("rollback", "-r", "tiny", "--yes"),
    ("abort", "-r", "tiny", "--yes", "-m", "over"),
    ("note", "warmer prompts", "-r", "tiny"),
    ("flags",),
    ("assign", "anna"),
    ("outcome", "order_completed", "--subject", "anna"),
    ("history", "-r", "tiny"),
    ("incident", "list"),
    ("incident", "show", "tiny-i1"),
    ("incident", "show", "tiny-i1", "--json"),
    ("incident", "note", "tiny-i1", "looked"),
    ("incident", "close", "tiny-i1", "--cause", "fixed"),
    ("audit", "export"),
    ("audit", "verify"),
]
"""Every command that talks to Molt."""


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
class TestEveryCommandThatTalksToMolt:
    def test_ends_with_3_and_one_line_when_molt_cannot_be_reached(
        self, offline: Molt, command: tuple[str, ...]
    ):
        ran = offline(*command)
        assert ran.code == 3
        assert ran.out == ""
        assert ran.err.count("\n") == 1
        assert "cannot be reached" in ran.err

    def test_ends_with_3_when_the_token_is_refused(self, started: Molt, command: tuple[str, ...]):
        ran = started(*command, MOLT_TOKEN="molt_unknown")
        assert (ran.code, ran.out) == (3, "")
        assert "refuses the token" in ran.err

    def test_says_where_tokens_come_from_when_there_is_none(
        self, started: Molt, command: tuple[str, ...]
    ):
        ran = started(*command, MOLT_TOKEN=None)
        assert (ran.code, ran.out) == (3, "")
        assert "molt token add" in ran.err


WAIVED = ("--waive", "all", "--reason", "a test")


class TestStart:
    def test_starts_a_shipped_playbook_in_shadow(self, molt: Molt):
        state = molt.json("start", "wf-11", *WAIVED)
        assert (state["rollout"], state["phase"], state["traffic_percent"]) == (
            "wf-11",
            "shadow",
            0,
        )

    def test_starts_wf_11_when_nothing_else_is_said(self, molt: Molt):
        ran = molt("start", *WAIVED)
        assert ran.code == 0
        assert ran.out.startswith("wf-11: shadow at 0%\nnext: 1%, not before ")

    def test_starts_a_file_under_an_id_with_a_salt(self, molt: Molt, playbook: Path):
        state = molt.json("start", playbook, "--rollout", "mine", "--salt", "pepper")
        assert (state["rollout"], state["playbook"], state["phase"]) == ("mine", "tiny", "canary")
        assert molt.json("flags")["flags"]["rollouts"][0]["salt"] == "pepper"

    def test_starts_the_playbook_of_molt_yaml(self, molt: Molt, playbook: Path, tmp_path: Path):
        (tmp_path / "molt.yaml").write_text(
            "upstreams: {control: {url: 'http://a:1'}, candidate: {url: 'http://b:1'}}\n"
            f"playbook: {playbook.name}\n"
        )
        assert molt.json("start")["playbook"] == "tiny"

    def test_names_the_place_of_a_mistake_before_it_asks_molt(self, offline: Molt, playbook: Path):
        playbook.write_text(PLAYBOOK.replace("share: 50", "shares: 50"))
        ran = offline("start", playbook)
        assert ran.code == 2
        assert "tiny.yaml:12:10" in ran.err

    def test_says_which_playbooks_there_are_when_the_name_is_unknown(self, molt: Molt):
        ran = molt("start", "wf-12")
        assert ran.code == 2
        assert "wf-11" in ran.err

    def test_is_refused_while_another_rollout_covers_its_agents(self, started: Molt):
        ran = started("start", "wf-11", *WAIVED)
        assert ran.code == 1
        assert "covers guest already" in ran.err

    def test_nobody_mends_a_checklist_for_what_would_be_refused_anyway(self, started: Molt):
        ran = started("start", "wf-11")
        assert (ran.code, "covers guest already" in ran.err) == (1, True)

    def test_needs_a_reason_to_waive_a_checklist_item(self, molt: Molt):
        assert molt("start", "--waive", "all").code == 2
        one = molt("start", "--waive", "audit_export", "-m", "no dashboard yet")
        assert (one.code, "Run `molt preflight`" in one.err) == (1, True)
        assert molt("start", *WAIVED).code == 0

    def test_wants_the_checklist_passed_which_preflight_runs(self, molt: Molt):
        ran = molt("preflight")
        assert (ran.code, ran.out.endswith("passed: molt start\n")) == (0, True), ran
        assert "an event travelled" in ran.out
        assert molt("start").code == 0


class TestTheClimb:
    def test_goes_on_when_approved_after_its_hold(self, started: Molt, server: Server):
        early = started("approve")
        assert early.code == 1
        assert "to go" in early.err
        server.later(seconds=2)
        own = started("approve", "-m", "figures are good")
        assert (own.code, "Somebody else must approve" in own.err) == (1, True)
        state = started.json("approve", "-m", "figures are good", MOLT_TOKEN=TOKENS["approver"])
        assert state["approved_by"] == "approver"
        server.later(seconds=1)
        assert started.json("status")["traffic_percent"] == 50

    def test_is_not_promoted_past_its_hold_nor_past_gates_that_wait(
        self, started: Molt, server: Server
    ):
        ran = started("promote")
        assert (ran.code, "held for at least" in ran.err) == (1, True)
        server.later(minutes=1)
        ran = started("promote")
        assert (ran.code, "approval" in ran.err) == (1, True)

    def test_is_promoted_when_its_gates_have_passed(self, started: Molt, server: Server):
        server.later(seconds=2)
        started("approve", MOLT_TOKEN=TOKENS["approver"])
        state = started.json("promote", "-m", "hurry")
        assert state["phase"] == "progressive"

    def test_can_be_asked_for_and_then_somebody_else_must_answer_what_they_saw(
        self, started: Molt, server: Server
    ):
        server.later(seconds=2)
        approver = TOKENS["approver"]
        assert started("ask", "-m", "please look", MOLT_TOKEN=approver).code == 0
        asked = started.json("status")["approval"]
        assert (asked["asked_by"], asked["not_by"]) == ("approver", ["approver", "admin"])
        for token in (approver, TOKENS["admin"]):
            assert started("approve", MOLT_TOKEN=token).code == 1
        assert started("ask", "-m", "the same", MOLT_TOKEN=TOKENS["operator"]).code == 0
        digest = started.json("status")["approval"]["digest"]
        stale = started("approve", "--digest", asked["digest"], MOLT_TOKEN=approver)
        assert (stale.code, "Look again" in stale.err) == (1, True)
        assert started("approve", "--digest", digest, MOLT_TOKEN=approver).code == 0

    def test_stops_and_goes_on_with_a_fresh_hold(self, started: Molt):
        paused = started("pause", "-m", "looking at it")
        assert paused.code == 0
        assert paused.out == "tiny: canary at 10%, paused (looking at it)\n"
        assert started.json("resume", "-m", "nothing found")["halt"] is None

    def test_records_a_changed_candidate_as_a_new_epoch(self, started: Molt):
        before = started.json("status")["epoch"]
        state = started.json("note", "kinder greeting", "--candidate-version", "v2")
        assert (state["candidate_version"], state["epoch"]) == ("v2", before + 1)

    def test_records_a_remark(self, started: Molt):
        assert started("note", "the bar was closed").code == 0
        assert "the bar was closed" in started("history").out


class TestTheWayBack:
    def test_takes_everything_back_and_resumes_only_from_a_named_phase(
        self, started: Molt, server: Server
    ):
        state = started.json("rollback", "--yes", "-m", "guests complain")
        assert (state["phase"], state["traffic_percent"]) == ("rolled_back", 0)
        server.rollbacks_done()
        assert started("resume", "-m", "mended").code == 1
        state = started.json("resume", "--phase", "canary", "-m", "mended")
        assert (state["phase"], state["traffic_percent"]) == ("canary", 10)

    def test_says_what_keeps_the_next_rollout_back_and_how_to_lift_it(
        self, started: Molt, server: Server, playbook: Path
    ):
        started("rollback", "--yes", "-m", "guests complain")
        server.rollbacks_done()
        started("abort", "--yes", "-m", "another agent")
        file = server.folder / "flags.env"
        says = (
            "HELD BACK: the operator has switched it off (MOLTBOT_ENABLED). To let it go on, "
            f"set MOLTBOT_ENABLED=true in {file}, which is read at once\n"
        )
        assert says in started("start", playbook, "-r", "second").out
        assert says in started("status", "-r", "second").out
        assert started.json("status", "-r", "second")["held_back"]["do"].startswith("set MOLTBOT_")

    def test_needs_no_reason_in_a_hurry(self, started: Molt):
        assert started.json("rollback", "--yes")["phase"] == "rolled_back"
        assert "no reason given" in started("history").out

    def test_ends_for_good(self, started: Molt):
        assert started.json("abort", "--yes", "-m", "other plans")["phase"] == "aborted"
        assert started("resume", "-m", "yes").code == 1

    @pytest.mark.parametrize("command", ["rollback", "abort"])
    def test_asks_first_and_does_nothing_where_nobody_can_answer(self, started: Molt, command: str):
        ran = started(command, "-m", "why not", stdin="y\n")
        assert (ran.code, ran.out) == (2, "")
        assert "--yes" in ran.err
        assert started.json("status")["phase"] == "canary"


class TestWhichRollout:
    def test_there_must_be_one(self, molt: Molt):
        for command in ("status", "pause"):
            ran = molt(command)
            assert ran.code == 2
            assert "molt start" in ran.err

    def test_must_be_said_when_there_are_several(self, started: Molt, playbook: Path):
        playbook.write_text(PLAYBOOK.replace("guest:", "admin:"))
        started("start", playbook, "--rollout", "other")
        ran = started("pause")
        assert ran.code == 2
        assert "tiny, other" in ran.err
        assert started.json("pause", "--rollout", "other")["rollout"] == "other"
        assert [s["rollout"] for s in started.json("status")] == ["tiny", "other"]

    def test_is_the_one_that_was_not_aborted(self, started: Molt, playbook: Path):
        started("abort", "--yes", "-m", "other plans")
        started("start", playbook, "--rollout", "second")
        assert started.json("pause")["rollout"] == "second"

    def test_is_named_with_the_known_ones_when_it_does_not_exist(self, started: Molt):
        ran = started("pause", "--rollout", "nope")
        assert ran.code == 2
        assert "known: tiny" in ran.err


def test_a_rollout_that_changed_since_is_a_conflict_with_what_changed(started: Molt):
    seen = started.json("status")["version"]
    started("note", "somebody was faster")
    ran = started("pause", "--expected-version", seen)
    assert ran.code == 4
    assert "Noted" in ran.err
    assert started("pause", "--expected-version", seen + 1).code == 0


def test_a_role_that_may_not_is_told_which_may(started: Molt):
    ran = started("approve", MOLT_TOKEN=TOKENS["operator"])
    assert ran.code == 3
    assert "approver" in ran.err


def test_options_beat_the_environment(started: Molt, server: Server):
    ran = started("pause", "--url", server.url, "--token", TOKENS["operator"], MOLT_URL="http://x")
    assert ran.code == 0


def test_the_url_comes_from_molt_yaml_when_nobody_says_it(
    started: Molt, server: Server, tmp_path: Path
):
    (tmp_path / "molt.yaml").write_text(
        "upstreams: {control: {url: 'http://a:1'}, candidate: {url: 'http://b:1'}}\n"
        f"api: {server.url.removeprefix('http://')}\n"
    )
    assert started("status", MOLT_URL=None).code == 0
    (tmp_path / "molt.yaml").rename(tmp_path / "other.yaml")
    assert started("status", MOLT_URL=None, MOLT_CONFIG="other.yaml").code == 0
    assert started("status", MOLT_URL=None, MOLT_CONFIG="none.yaml").code == 2


def test_a_url_that_is_none_is_a_usage_error(started: Molt):
    assert started("status", MOLT_URL="localhost:8081").code == 2


def test_something_that_is_not_molt_is_told_apart(started: Molt, server: Server):
    ran = started("status", MOLT_URL=f"{server.url}/elsewhere")
    assert ran.code == 3
    assert "not as Molt" in ran.err
