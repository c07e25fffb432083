"""The report and the plan, as their users get them."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.apps.simulate.worlds import PLAN, plan, scenario
from typer.testing import CliRunner

from molt.apps.cli.app import app
from molt.apps.simulate.own import own_plan, own_world
from molt.apps.simulate.planner import predict
from molt.apps.simulate.report import report
from molt.apps.simulate.run import run
from molt.core.playbook import Cost

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_report_stands_alone_and_shows_share_gates_and_incidents() -> None:
    world = scenario(effects=[{"metric": "error_rate", "to": "40%", "step": 20}])
    course = run(world, plan(), 1, name="bad", sample_every=timedelta(minutes=20))
    text = report("bad", world, plan(), [course])
    assert not re.search(r"(src|href)=|@import|url\(|<script", text)
    assert text.count("<svg") >= 3
    assert "no_degradation:orders" in text
    assert "errors 4" in text or "errors 3" in text
    assert "NaN" not in text


def test_a_plan_foresees_steps_gates_duration_and_what_a_bad_agent_costs() -> None:
    found = predict(plan(), scenario(), seeds=1, made_at=START, jobs=1)
    assert [s.share for s in found.steps] == [0, 5, 20, 50, 100]
    canary = found.steps[1]
    assert canary.requests == pytest.approx(200_000 * 0.05 / 12)
    assert 0 < canary.users < 8000 * 0.05
    assert canary.smallest_harm["orders"] > found.steps[3].smallest_harm["orders"] > 0
    assert {g.gate for g in canary.gates} >= {"hold", "no_degradation:orders"}
    assert found.promoted == 1
    assert found.duration_days[1] is not None
    assert found.bad_failed_orders[1] > 0


def test_thin_traffic_is_told_in_plain_words(tmp_path: Path) -> None:
    path, kept = tmp_path / "short.yaml", tmp_path / "prediction.json"
    path.write_text(PLAN.replace("margin: 50%", "margin: 5%"))
    thin = tmp_path / "thin.yaml"
    thin.write_text("days: 0.2\n")
    command = ["plan", "--playbook", str(path), "--traffic", "2000", "--users", "500"]
    command += ["--world", str(thin), "--seeds", "1", "--jobs", "1", "--save", str(kept)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "At 5% you will see about 25 users a day" in result.output
    assert json.loads(kept.read_text())["traffic"] == 2000


CONFIG = """
upstreams: {control: {url: "http://127.0.0.1:9"}, candidate: {url: "http://127.0.0.1:9"}}
playbook: short.yaml
agents: {model: my-model}
prices: {"my-*": {input: 2.0, output: 10.0}}
cost: {budget_per_1000: 7}
"""


def test_the_users_own_config_gives_playbook_money_and_prices(tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text(PLAN.replace("cost: {projected_per_request: 0.002}", ""))
    (tmp_path / "molt.yaml").write_text(CONFIG)
    own = own_plan(tmp_path / "molt.yaml", None)
    assert own.playbook.name == "short"
    assert own.playbook.cost.budget_per_1000 == 7
    world, said = own_world(scenario(), own, traffic=3000, users=700)
    assert world.cost.per_request == pytest.approx(900 * 2e-6 + 180 * 10e-6)
    assert (world.arrivals.requests_per_day, world.users.count) == (3000, 700)
    assert "of my-model" in said
    projected = own.playbook.with_money(Cost(projected_per_request=0.5))
    world, said = own_world(scenario(), own._replace(playbook=projected), traffic=1, users=10)
    assert (world.cost.per_request, "as projected" in said) == (0.5, True)
    assert own_plan(None, None).playbook.name == "wf-11"


def test_traffic_that_cannot_be_is_refused() -> None:
    for option in (["--traffic", "inf"], ["--users", "100000000"]):
        result = CliRunner().invoke(app, ["plan", *option])
        assert result.exit_code == 2
        assert f"Invalid value for '{option[0]}'" in result.output


@pytest.mark.parametrize("command", [["plan", "--save"], ["simulate", "--html"]])
def test_a_result_without_a_place_is_refused_before_the_work(
    tmp_path: Path, command: list[str]
) -> None:
    result = CliRunner().invoke(app, [*command, str(tmp_path / "nowhere" / "x"), "--jobs", "1"])
    assert result.exit_code == 2
    assert "there is no folder" in result.output
