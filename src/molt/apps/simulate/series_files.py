"""Recorded series as rows of figures: CSV, Parquet, or a Prometheus range query's JSON."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from molt.apps.simulate.curves import read_rows
from molt.core.errors import OperatorError

COUNTS: Final = ("requests", "errors", "slow")
RATES: Final = ("error_rate", "slow_rate")
FIGURES: Final = ("time", *COUNTS, *RATES)
DEFAULT_REQUESTS: Final = 100.0
"""Requests a point stands for when a series has only rates."""

Row = dict[str, float]
Cells = Mapping[str, Any]


class Series(NamedTuple):
    """Rows in order of time; `left_out` are points without their requests or rate."""

    rows: list[Row]
    left_out: int


def columns_of(mapping: Sequence[str]) -> dict[str, str]:
    """Figure -> column, from `FIGURE=COLUMN`. Raises `OperatorError`."""
    columns: dict[str, str] = {}
    for one in mapping:
        figure, _, column = one.partition("=")
        if figure not in FIGURES or not column:
            raise OperatorError(
                f"--map {one}: expected FIGURE=COLUMN with one of {', '.join(FIGURES)}"
            )
        columns[figure] = column
    for rate, count in (("error_rate", "errors"), ("slow_rate", "slow")):
        if rate in columns and count in columns:
            raise OperatorError(f"--map {rate}, --map {count}: expected one of them")
        if count in columns and "requests" not in columns:
            raise OperatorError(f"--map {count}: of how many? Add --map requests=COLUMN")
    return columns


def read_series(path: Path, columns: Mapping[str, str]) -> Series:
    """The figures of a file. Raises `OperatorError` for a file, column or value of no use.

    A count that is missing is nothing counted; without a rate, or without requests where they are
    mapped, a point is no data, and no point without errors.
    """
    if not any(figure in columns for figure in FIGURES[2:]):
        raise OperatorError(
            f"{path}: nothing to look at; say what its columns are: --map error_rate=COLUMN, or "
            "--map requests=COLUMN --map errors=COLUMN (slow_rate, slow: slower than the limit)"
        )
    if path.suffix == ".json":
        found = _prometheus(path, columns)
    else:
        found = _table(path, {"time": "time", **columns})
    needed = [figure for figure in columns if figure in RATES or figure == "requests"]
    rows: list[Row] = []
    left_out = 0
    for where, cells in found:
        row = _figures(where, cells)
        if all(figure in row for figure in needed):
            rows.append(row)
        else:
            left_out += 1
    return Series(sorted(rows, key=lambda row: row["time"]), left_out)


def _figures(where: str, cells: Cells) -> Row:
    """A point's figures without those that are missing or no number: Prometheus' 0/0 is NaN."""
    row = {"time": _time(where, cells["time"])}
    for figure, cell in cells.items():
        if figure == "time" or cell is None or cell == "":
            continue
        try:
            value = float(cell)
        except (TypeError, ValueError):
            raise OperatorError(f"{where}: {figure} is {cell!r}, expected a number") from None
        if math.isnan(value):
            continue
        most = 1.0 if figure in RATES else 1e15
        if not 0 <= value <= most:
            expected = "a share from 0 to 1 (0.05 is 5%)" if figure in RATES else "a count"
            raise OperatorError(f"{where}: {figure} is {cell}, expected {expected}")
        row[figure] = value
    for figure in ("errors", "slow"):
        if row.get(figure, 0) > row.get("requests", math.inf):
            raise OperatorError(
                f"{where}: {row[figure]:g} {figure} of {row['requests']:g} requests"
            )
    return row


def _time(where: str, cell: Any) -> float:
    try:
        if isinstance(cell, datetime):
            at = cell
        else:
            try:
                at = datetime.fromtimestamp(float(cell), UTC)
            except (TypeError, ValueError):
                at = datetime.fromisoformat(str(cell))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise OperatorError(
            f"{where}: time is {cell!r}, expected unix seconds or RFC 3339"
        ) from None


def _table(path: Path, wanted: Mapping[str, str]) -> Iterator[tuple[str, Cells]]:
    raw = _parquet(path) if path.suffix == ".parquet" else read_rows(path)
    for figure, column in wanted.items():
        if raw and column not in raw[0]:
            known = ", ".join(map(str, raw[0]))
            raise OperatorError(
                f"{path}: no column {column!r} for {figure}; it has: {known} (--map {figure}=COLUMN)"
            )
    for number, line in enumerate(raw, start=2):
        yield f"{path}:{number}", {figure: line[column] for figure, column in wanted.items()}


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        import duckdb
    except ImportError:
        raise OperatorError(
            "Parquet needs the extra `analytics`: pip install 'moltbot-rollout[analytics]'"
        ) from None
    if not path.is_file():
        raise OperatorError(f"{path}: not found")
    try:
        found = duckdb.read_parquet(str(path))
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
    except duckdb.Error as error:
        raise OperatorError(f"{path}: cannot be read as Parquet ({error})") from None


def _prometheus(path: Path, columns: Mapping[str, str]) -> list[tuple[str, Cells]]:
    """A matrix; each figure names the metric (`__name__`), or there is a single series."""
    result = _matrix(path)
    points: dict[float, dict[str, Any]] = {}
    for figure, name in columns.items():
        if figure == "time":
            continue
        found = [s for s in result if s["metric"].get("__name__") == name]
        chosen = found or (result if len(result) == 1 else [])
        if not chosen:
            known = ", ".join(str(s["metric"]) for s in result) or "none"
            raise OperatorError(f"{path}: no series {name!r} for {figure}; it has: {known}")
        if figure in RATES and len(chosen) > 1:
            raise OperatorError(
                f"{path}: {len(chosen)} series {name!r}; rates cannot be added. Ask Prometheus for "
                "one: sum(errors) / sum(requests), or map requests and errors"
            )
        for series in chosen:
            for at, value in series["values"]:
                point = points.setdefault(float(at), {"time": float(at)})
                point[figure] = float(value) + point.get(figure, 0.0)
    return [(f"{path}, at {at:.0f}", point) for at, point in points.items()]


def _matrix(path: Path) -> list[dict[str, Any]]:
    """The series of a range query's answer."""
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))
        if answer.get("status") == "error":
            raise OperatorError(f"{path}: Prometheus answered with an error: {answer.get('error')}")
        result = answer["data"]["result"]
        for series in result:
            _ = series["metric"].get, [float(v) for at_value in series["values"] for v in at_value]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OperatorError(
            f"{path}: expected the answer of a Prometheus range query, "
            f"/api/v1/query_range ({reason})"
        ) from None
    return result
