"""Series from elsewhere against the triggers."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from molt.apps.cli.app import app
from molt.apps.simulate.series import replay_series
from molt.core.errors import OperatorError


def csv_file(folder: Path, bad_from: int = 120, bad_to: int = 200) -> Path:
    path = folder / "series.csv"
    lines = ["at,calls,failed"]
    for i in range(300):
        failed = 30 if bad_from <= i < bad_to else 0
        lines.append(f"{1_700_000_000 + 10 * i},100,{failed}")
    path.write_text("\n".join(lines))
    return path


MAP = ["time=at", "requests=calls", "errors=failed"]


def test_a_trigger_fires_when_the_rate_has_lasted_and_ends_with_it(tmp_path: Path) -> None:
    found = replay_series(csv_file(tmp_path), MAP, "wf-11")
    assert found["points"] == 300
    first = found["fired"][0]
    assert first["trigger"] == "error_rate"
    assert first["action"] == "roll_back"
    assert first["until"] is not None


def test_a_quiet_series_fires_nothing(tmp_path: Path) -> None:
    assert replay_series(csv_file(tmp_path, 0, 0), MAP, "wf-11")["fired"] == []


def test_parquet_and_prometheus_say_the_same_as_csv(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="the extra `analytics` is not installed")
    path = csv_file(tmp_path)
    wanted = replay_series(path, MAP, "wf-11")
    parquet = tmp_path / "series.parquet"
    duckdb.read_csv(str(path)).write_parquet(str(parquet))
    assert replay_series(parquet, MAP, "wf-11") == wanted
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    result = [
        {"metric": {"__name__": name}, "values": [[int(r[0]), r[i]] for r in rows]}
        for i, name in ((1, "calls"), (2, "failed"))
    ]
    prometheus = tmp_path / "series.json"
    prometheus.write_text(json.dumps({"status": "success", "data": {"result": result}}))
    assert replay_series(prometheus, MAP[1:], "wf-11") == wanted


def test_a_wrong_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="no column 'oops' for errors; it has: at, calls"):
        replay_series(csv_file(tmp_path), ["time=at", "requests=calls", "errors=oops"], "wf-11")
    with pytest.raises(OperatorError, match="expected FIGURE=COLUMN"):
        replay_series(csv_file(tmp_path), ["nonsense"], "wf-11")


def rates(folder: Path, cells: list[str], name: str = "series.csv") -> Path:
    path = folder / name
    lines = [f"{1_700_000_000 + 10 * i},{cell}" for i, cell in enumerate(cells)]
    path.write_text("\n".join(["time,rate", *lines]))
    return path


def test_points_without_a_rate_are_no_data_and_are_told(tmp_path: Path) -> None:
    cells = ["0"] * 100 + ["0.3"] * 100
    holes = ["NaN" if i % 7 == 0 else "" if i % 7 == 3 else c for i, c in enumerate(cells)]
    found = replay_series(rates(tmp_path, holes), ["error_rate=rate"], "wf-11")
    assert found["left_out"] == 58
    assert found["points"] == 142
    assert found["fired"]


def test_only_triggers_that_the_series_can_answer_are_looked_at(tmp_path: Path) -> None:
    found = replay_series(rates(tmp_path, ["0"]), ["error_rate=rate"], "wf-11")
    assert found["watched"] == ["error_rate"]
    assert replay_series(rates(tmp_path, ["0"]), ["slow_rate=rate"], "wf-11")["watched"] == [
        "latency"
    ]


@pytest.mark.parametrize(
    ("cells", "mapping", "says"),
    [
        (["0", "20"], ["error_rate=rate"], ":3: error_rate is 20, expected a share from 0 to 1"),
        (["-0.1"], ["error_rate=rate"], ":2: error_rate is -0.1, expected a share"),
        (["inf"], ["requests=rate", "errors=rate"], "requests is inf, expected a count"),
        (["20%"], ["error_rate=rate"], "error_rate is '20%', expected a number"),
        (["0"], ["time=rate", "error_rate=time"], "expected a share"),
        (["0"], [], "nothing to look at"),
        (["0"], ["errors=rate"], "of how many"),
        (["0"], ["errors=rate", "error_rate=rate"], "expected one of them"),
        (["NaN"], ["error_rate=rate"], "expected at least one row with figures"),
    ],
)
def test_values_that_mean_something_else_are_refused_by_line(
    tmp_path: Path, cells: list[str], mapping: list[str], says: str
) -> None:
    with pytest.raises(OperatorError, match=says):
        replay_series(rates(tmp_path, cells), mapping, "wf-11")


def test_times_in_milliseconds_and_more_errors_than_requests_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "series.csv"
    path.write_text("time,calls,failed\n1700000000000,3,1")
    with pytest.raises(OperatorError, match=r":2: time is '1700000000000', expected unix seconds"):
        replay_series(path, ["requests=calls", "errors=failed"], "wf-11")
    path.write_text("time,calls,failed\n1700000000,3,5")
    with pytest.raises(OperatorError, match=":2: 5 errors of 3 requests"):
        replay_series(path, ["requests=calls", "errors=failed"], "wf-11")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"status": "error", "error": "bad query"}, "answered with an error: bad query"),
        ([1, 2], "expected the answer of a Prometheus range query"),
        ({"data": {"result": [{"metric": {}, "value": [1, "2"]}]}}, "range query"),
        ({"data": {"result": []}}, "it has: none"),
        (
            {
                "data": {
                    "result": [
                        {"metric": {"__name__": "rate", "pod": pod}, "values": [[1, "0.1"]]}
                        for pod in "ab"
                    ]
                }
            },
            "rates cannot be added",
        ),
    ],
)
def test_what_prometheus_answers_otherwise_is_refused(
    tmp_path: Path, answer: object, says: str
) -> None:
    path = tmp_path / "series.json"
    path.write_text(json.dumps(answer))
    with pytest.raises(OperatorError, match=says):
        replay_series(path, ["error_rate=rate"], "wf-11")


def test_prometheus_tells_no_errors_by_no_point_and_no_requests_by_nan(tmp_path: Path) -> None:
    path = tmp_path / "series.json"
    series = {"calls": [[1, "10"], [11, "NaN"], [21, "10"]], "failed": [[21, "4"]]}
    result = [{"metric": {"__name__": name}, "values": v} for name, v in series.items()]
    path.write_text(json.dumps({"data": {"result": result}}))
    found = replay_series(path, ["requests=calls", "errors=failed"], "wf-11")
    assert (found["points"], found["left_out"]) == (2, 1)


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    pytest.importorskip("duckdb", reason="the extra `analytics` is not installed")
    path = tmp_path / "series.parquet"
    path.write_text("nope")
    with pytest.raises(OperatorError, match="cannot be read as Parquet"):
        replay_series(path, ["error_rate=rate"], "wf-11")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--map", "errors=failed"], "add --series FILE"),
        (["--series", "x.csv", "--metrics"], "leave one out"),
        (["--playbook", "wf-11", "--metrics"], "ask one after the other"),
        (["--agent", "guest"], "only together with --metrics"),
    ],
)
def test_options_that_would_be_passed_over_are_refused(options: list[str], says: str) -> None:
    result = CliRunner().invoke(app, ["replay", *options])
    assert result.exit_code == 2
    assert says in result.output
