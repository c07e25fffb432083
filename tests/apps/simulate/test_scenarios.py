"""The scenarios that ship, and what is said about those that are wrong."""

import json
from pathlib import Path

import pytest
from tests.apps.simulate.worlds import PLAN
from typer.testing import CliRunner

from molt.adapters.playbooks import load_playbook
from molt.adapters.problems import ConfigError
from molt.apps.cli.app import app
from molt.apps.simulate.processes import processes_of
from molt.apps.simulate.shipped import ORDER, load_scenario


@pytest.mark.parametrize("name", ORDER)
def test_every_shipped_scenario_fits_its_playbook(name: str) -> None:
    found, scenario = load_scenario(name)
    assert found == name
    assert scenario.title
    assert scenario.about
    processes_of(load_playbook(scenario.playbook), scenario)


def test_a_wrong_scenario_is_refused_with_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("effects:\n  - {metric: error_rate, size: 10}\nusres: {}\n")
    with pytest.raises(ConfigError) as error:
        load_scenario(str(path))
    assert "bad.yaml:2:" in str(error.value)
    assert "-10%" in str(error.value)
    assert "bad.yaml:3:1" in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("arrivals: {requests_per_day: .inf}", "requests_per_day: inf is wrong"),
        ("users: {correlation: 100%}", "users.correlation: "),
        ("candidate: {latency: {median: 0s}}", "median: '0s' is wrong; expected more than 0s"),
        ("control: {latency: {median: 3s}}", "p95: expected at least the median"),
        ("effects: [{metric: latency, to: 20%}]", "to: latency is no rate"),
        ("effects: [{metric: latency, size: 0x}]", "expected latencies above nothing"),
        (
            "effects: [{metric: staff_response, to: 20%}]",
            "effects.0.to: staff_response is no share",
        ),
        ("arrivals: {trace: nowhere}", "'nowhere' is no file, and none of azure_llm_2023"),
        ("arrivals: {trace: /}", "'/' is no file, and none of azure_llm_2023"),
    ],
)
def test_a_world_that_cannot_be_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    result = CliRunner().invoke(app, ["simulate", str(path), "--jobs", "1"])
    assert result.exit_code == 2
    assert says in result.output


def test_the_command_prints_counts_and_every_seed_and_more_cores_change_nothing(
    tmp_path: Path,
) -> None:
    plan, world = tmp_path / "short.yaml", tmp_path / "world.yaml"
    plan.write_text(PLAN)
    world.write_text(
        "days: 0.3\narrivals: {requests_per_day: 60000}\nusers: {count: 2000}\n"
        "faults: [{kind: dead_agent, onset: 80m}]\n"
    )
    outputs: list[str] = []
    for jobs in ("1", "2"):
        command = ["simulate", str(world), "--playbook", str(plan), "--seeds", "2", "--json"]
        result = CliRunner().invoke(app, [*command, "--jobs", jobs])
        assert result.exit_code == 0, result.output
        outputs.append(result.stdout)
    assert outputs[0] == outputs[1]
    found = json.loads(outputs[0])
    assert found["seeds"] == 2
    assert found["rolled_back"] == 2
    assert [run["seed"] for run in found["runs"]] == [1, 2]
    last = found["runs"][0]["decisions"][-1]
    assert last["decision"] == "roll_back"
    assert last["rules"][0]["rule"] == "error_rate"
