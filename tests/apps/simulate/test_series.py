"""Series from elsewhere against the triggers."""

import json
from pathlib import Path

import pytest

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
        replay_series(csv_file(tmp_path), ["time=at", "errors=oops"], "wf-11")
    with pytest.raises(OperatorError, match="expected FIGURE=COLUMN"):
        replay_series(csv_file(tmp_path), ["nonsense"], "wf-11")
