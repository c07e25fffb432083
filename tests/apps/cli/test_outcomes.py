"""Outcomes one at a time, from a file, and by the batch endpoint, against a real control API."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.apps.cli.conftest import TOKENS, Molt, Server


class TestOutcome:
    def test_counts_once_by_its_id(self, started: Molt):
        command = ("outcome", "order_completed", "--subject", "anna", "--id", "order-7")
        assert started.json(*command)["accepted"] == 1
        again = started(*command)
        assert again.code == 0
        assert "counted once" in again.out

    def test_gets_an_id_of_its_own_when_none_is_given(self, started: Molt):
        ids = {started.json("outcome", "order_completed", "-s", "anna")["id"] for _ in range(3)}
        assert len(ids) == 3

    def test_carries_value_and_time(self, started: Molt, server: Server):
        at = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
        ran = started("outcome", "order_completed", "-s", "anna", "--value", 9.5, "--at", at)
        assert ran.code == 0
        [kept] = server.call(
            server.store.outcomes("tiny", datetime.now(UTC) - timedelta(days=1), None)
        )
        assert (kept.value, kept.at.isoformat()) == (9.5, at)

    def test_of_last_week_does_not_count_and_says_so(self, started: Molt):
        at = (datetime.now(UTC) - timedelta(days=8)).isoformat()
        ran = started("outcome", "order_completed", "-s", "anna", "--at", at)
        assert ran.code == 1
        assert "not counted" in ran.err

    @pytest.mark.parametrize(
        "wrong",
        [
            ("Order!", "-s", "anna"),
            ("order_completed",),
            ("x", "-s", "a", "--at", "noon"),
            ("x", "-s", "a", "--value", "nan"),
            ("x", "-s", "a", "--value", "1e308"),
        ],
    )
    def test_that_cannot_be_meant_is_a_usage_error(self, started: Molt, wrong: tuple[str, ...]):
        ran = started("outcome", *wrong)
        assert ran.code == 2
        assert ran.err.count("\n") == 1


def rows(count: int, first: int = 0) -> str:
    at = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    lines = [f"o{i},user-{i},order_completed,{at}" for i in range(first, first + count)]
    return "\n".join(["id,subject,kind,at", *lines]) + "\n"


class TestFile:
    def test_counts_every_line_once_however_often_it_is_sent(self, started: Molt, tmp_path: Path):
        path = tmp_path / "outcomes.csv"
        path.write_text(rows(2500))
        first, again = (started.json("outcome", "--csv", path) for _ in range(2))
        assert (first["lines"], first["accepted"], first["repeated"]) == (2500, 2500, 0)
        assert (again["accepted"], again["repeated"]) == (0, 2500)
        state = started.json("status")
        both = [arm["outcomes"]["order_completed"] for arm in state["arms"].values()]
        assert sum(both) == 2500

    def test_names_each_bad_line_and_counts_the_others(self, started: Molt, tmp_path: Path):
        now = datetime.now(UTC)
        good, at, old = rows(1200), now.isoformat(), (now - timedelta(days=9)).isoformat()
        bad = [
            f"x1,u,Order!,{at},",
            "x2,u,order_completed,yesterday,",
            f"x3,u,order_completed,{at},many",
            f"x4,u,order_completed,{at}",
            f",u,order_completed,{at},",
            f"x6,u,order_completed,{old},",
        ]
        lines = good.replace("kind,at", "kind,at,value").splitlines()
        lines[1:] = [line + ",1.5" for line in lines[1:]]
        path = tmp_path / "outcomes.csv"
        path.write_text("\n".join([*lines, *bad]) + "\n")
        ran = started("outcome", "--csv", path)
        assert ran.code == 1
        assert (
            "1,206 lines: 1,200 accepted, 5 rejected, 1 not within the last seven days;" in ran.out
        )
        for line, what in ((1202, "kind"), (1203, "at"), (1204, "value"), (1206, "id")):
            assert f"line {line}: {what}: " in ran.err
        assert "line 1205: 4 fields, the header has 5" in ran.err

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("id,subject,kind\n", "line 1: no column at"),
            ("id,subject,kind,at,valu\n", "unknown column valu"),
            ("", "line 1: no column id"),
            ('id,subject,kind,at\n"a,b', "line 2: unexpected end of data"),
        ],
    )
    def test_that_is_no_such_file_is_refused_with_the_place(
        self, started: Molt, tmp_path: Path, text: str, told: str
    ):
        path = tmp_path / "outcomes.csv"
        path.write_text(text)
        ran = started("outcome", "--csv", path)
        assert ran.code == 2
        assert told in ran.err
        assert str(path) in ran.err

    def test_says_what_nothing_in_the_plan_counts(self, started: Molt):
        ran = started("outcome", "--csv", "-", stdin=rows(3).replace("order_completed", "odrer"))
        assert ran.code == 0
        assert "3 of a kind that nothing in the plan counts" in ran.out
        ran = started("outcome", "odrer", "--subject", "u")
        assert "nothing in the plan counts outcomes of this kind" in ran.out

    def test_comes_from_standard_input_too(self, started: Molt):
        ran = started("outcome", "--csv", "-", stdin=rows(3))
        assert ran.code == 0
        assert ran.out.startswith("3 lines: 3 accepted")

    def test_takes_agent_and_rollout_for_lines_that_name_none(self, started: Molt):
        ran = started("outcome", "--csv", "-", "--agent", "nobody", stdin=rows(2))
        assert ran.code == 1
        assert "line 2: Which rollout is this about?" in ran.err
        assert started("outcome", "--csv", "-", "--agent", "guest", stdin=rows(2)).code == 0

    def test_goes_on_where_it_was_when_molt_could_not_be_reached(
        self, offline: Molt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("molt.apps.cli.outcomes.WAITS", (0.0, 0.0))
        path = tmp_path / "outcomes.csv"
        path.write_text(rows(3))
        ran = offline("outcome", "--csv", path)
        assert ran.code == 3
        assert ran.err.count("trying again") == 2
        assert "All lines before 2 are in; run the same command again" in ran.err

    def test_is_not_mixed_with_a_single_outcome(self, started: Molt, tmp_path: Path):
        assert started("outcome", "order_completed", "--csv", tmp_path / "x.csv").code == 2


class TestBatch:
    @pytest.fixture
    def post(self, started: Molt, server: Server):
        def send(body: str, kind: str) -> httpx.Response:
            headers = {"authorization": f"Bearer {TOKENS['operator']}", "content-type": kind}
            url = f"{server.url}/api/v1/outcomes/batch"
            return httpx.post(url, content=body, headers=headers)

        return send

    def test_takes_csv_lines_of_json_or_an_array(self, post: Any):
        one = '{"id": "%s", "subject": "anna", "kind": "order_completed"}'
        assert post(rows(2), "text/csv; charset=utf-8").json()["accepted"] == 2
        lines = "\n".join(one % i for i in ("a", "b"))
        assert post(lines, "application/x-ndjson").json()["accepted"] == 2
        assert post(f"[{one % 'c'}, {one % 'c'}]", "application/json").json()["repeated"] == 1

    def test_rejects_a_line_not_the_batch(self, post: Any):
        body = '{"id": "a"}\nnonsense\n{"id": "b", "subject": "s", "kind": "k"}\n'
        found = post(body, "application/x-ndjson").json()
        assert (found["accepted"], found["rejected"]) == (1, 2)
        assert [e["line"] for e in found["errors"]] == [1, 2]
        assert "subject: Field required" in found["errors"][0]["error"]
        assert "not JSON" in found["errors"][1]["error"]

    def test_of_a_kind_that_it_cannot_read_is_refused(self, post: Any):
        assert post("x", "text/plain").status_code == 415
        assert post("{}", "application/json").status_code == 422
        assert post(rows(10_001), "text/csv").status_code == 413


class TestReport:
    def test_says_in_words_how_both_arms_do(self, started: Molt):
        assert started("outcome", "--csv", "-", stdin=rows(900)).code == 0
        abandoned = rows(300, 1000).replace("order_completed", "cart_abandoned")
        assert started("outcome", "--csv", "-", stdin=abandoned).code == 0
        ran = started("report")
        assert ran.code == 0
        assert re.search(
            r"not judged: orders: \d\d\.\d% with the agent, 7\d\.\d% without it", ran.out
        )

    def test_has_every_figure_as_json(self, started: Molt):
        found = started.json("report")
        [row] = found["metrics"]
        assert (row["name"], row["kind"], row["effect"]) == ("orders", "conversion", None)
        assert found["sample_ratio"]["mismatch"] is False
