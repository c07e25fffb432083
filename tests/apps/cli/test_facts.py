"""Flags, history and incidents, against a real control API."""

import pytest
from tests.apps.cli.conftest import Molt, Server


class TestFlags:
    def test_are_shown_with_bounds_and_gateways(self, started: Molt):
        found = started.json("flags")
        assert found["flags"]["rollouts"][0]["share"] == 1000
        ran = started("flags")
        assert ran.code == 0
        assert "10%" in ran.out
        assert "gateways: none was heard of lately" in ran.out

    def test_say_so_when_no_rollout_is_in_force(self, molt: Molt):
        ran = molt("flags")
        assert (ran.code, "everybody gets control" in ran.out) == (0, True)
        assert "ROLLOUT" not in ran.out

    def test_name_what_is_wrong_in_the_flags_file(self, started: Molt, server: Server):
        (server.folder / "flags.env").write_text("MOLTBOT_TRAFFIC_PERCENT=5\n")
        server.later(seconds=1)
        assert "bounds: traffic_percent 5" in started("flags").out
        (server.folder / "flags.env").write_text("MOLTBOT_TRAFFIC_PERCENT=many\n")
        server.later(seconds=1)
        out = started("flags").out
        assert "the last good flags stay" in out
        assert "bounds: traffic_percent 5" in out


class TestHistory:
    def test_tells_every_fact_with_its_author_and_reason(self, started: Molt):
        started("pause", "-m", "lunch")
        records = started.json("history")
        assert [r["type"] for r in records] == ["RolloutStarted", "StepEntered", "Paused"]
        assert all(r["hash"] for r in records)
        line = started("history").out.splitlines()[-1]
        assert "Paused" in line
        assert "admin" in line
        assert "lunch" in line

    def test_begins_behind_a_record_and_ends_at_a_limit(self, started: Molt):
        for n in range(5):
            started("note", f"remark {n}")
        assert [r["seq"] for r in started.json("history", "--after", 3)] == [4, 5, 6, 7]
        assert [r["seq"] for r in started.json("history", "--after", 3, "--limit", 2)] == [4, 5]

    def test_is_read_page_by_page(self, started: Molt, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("molt.apps.cli.history.PAGE", 2)
        for n in range(4):
            started("note", f"remark {n}")
        assert [r["seq"] for r in started.json("history")] == [1, 2, 3, 4, 5, 6]


class TestIncidents:
    @pytest.fixture
    def rolled_back(self, started: Molt, server: Server) -> Molt:
        assert started("rollback", "--yes", "-m", "guests complain").code == 0
        server.rollbacks_done()
        return started

    def test_are_listed(self, rolled_back: Molt):
        [incident] = rolled_back.json("incident", "list")
        assert (incident["id"], incident["open"]) == ("tiny-i1", True)
        assert "guests complain" in rolled_back("incident", "list").out

    def test_none_is_said(self, started: Molt):
        assert started("incident", "list").out == "no incidents\n"
        assert started.json("incident", "list") == []

    def test_show_is_a_page_with_evidence_and_timeline(self, rolled_back: Molt):
        page = rolled_back("incident", "show", "tiny-i1").out
        assert page.startswith("# Incident tiny-i1")
        assert "document_timeline" in page
        record = rolled_back.json("incident", "show", "tiny-i1")
        assert record["steps"] == record["plan"]

    def test_get_notes_and_are_closed_once_with_their_cause(self, rolled_back: Molt):
        assert rolled_back("incident", "note", "tiny-i1", "called the bar").code == 0
        assert "called the bar" in rolled_back("incident", "show", "tiny-i1").out
        closed = rolled_back.json("incident", "close", "tiny-i1", "--cause", "old menu")
        assert (closed["open"], closed["cause"]) == (False, "old menu")
        assert rolled_back("incident", "close", "tiny-i1", "--cause", "again").code == 1
        assert rolled_back.json("incident", "list", "--open") == []

    def test_that_do_not_exist_are_named_with_those_that_do(self, rolled_back: Molt):
        ran = rolled_back("incident", "show", "tiny-i9")
        assert ran.code == 2
        assert "tiny-i1" in ran.err
