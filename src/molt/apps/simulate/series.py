"""Recorded series from elsewhere, replayed against the triggers of a plan."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from molt.apps.simulate.curves import read_rows
from molt.core.book import Book
from molt.core.errors import OperatorError
from molt.core.evidence import LIVE, Slot, SlotKey, Tally, over
from molt.core.playbook import ErrorRateTrigger, LatencyTrigger, Playbook
from molt.core.rollout import Phase, Rollout
from molt.core.scene import Scene
from molt.core.triggers import rule_all

FIGURES: Final = ("time", "requests", "errors", "error_rate", "slow", "slow_rate")
DEFAULT_REQUESTS: Final = 100.0
"""Requests a point stands for when a series has only rates."""

Row = dict[str, float]


def replay_series(path: Path, mapping: Sequence[str], plan: str) -> dict[str, Any]:
    """When each error and latency trigger of `plan` would have fired on the series in `path`.

    Raises `OperatorError` for a file, a column or a value that cannot be used.
    """
    from molt.adapters.playbooks import load_playbook

    playbook = load_playbook(plan)
    rows = read_series(path, _columns(mapping))
    if not rows:
        raise OperatorError(f"{path}: expected at least one row")
    return {
        "points": len(rows),
        "from": _shown(rows[0]["time"]),
        "to": _shown(rows[-1]["time"]),
        "fired": _fired(rows, playbook),
    }


def _columns(mapping: Sequence[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for one in mapping:
        figure, _, column = one.partition("=")
        if figure not in FIGURES or not column:
            raise OperatorError(
                f"--map {one}: expected FIGURE=COLUMN with one of {', '.join(FIGURES)}"
            )
        columns[figure] = column
    return columns


def read_series(path: Path, columns: dict[str, str]) -> list[Row]:
    """Rows of figures in order of time, from CSV, Parquet or a Prometheus range query's JSON."""
    if path.suffix == ".json":
        return _prometheus(path, columns)
    raw = _parquet(path) if path.suffix == ".parquet" else read_rows(path)
    wanted = {"time": "time", **columns}
    for figure, column in wanted.items():
        if raw and column not in raw[0]:
            known = ", ".join(map(str, raw[0]))
            raise OperatorError(f"{path}: no column {column!r} for {figure}; it has: {known}")
    rows: list[Row] = []
    for number, line in enumerate(raw, start=2):
        try:
            rows.append({f: _value(f, line[c]) for f, c in wanted.items()})
        except ValueError:
            raise OperatorError(f"{path}:{number}: not a number or a time: {line}") from None
    return sorted(rows, key=lambda row: row["time"])


def _value(figure: str, cell: Any) -> float:
    if figure != "time":
        return float(cell or 0)
    if isinstance(cell, datetime):
        return (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).timestamp()
    try:
        return float(cell)
    except (TypeError, ValueError):
        at = datetime.fromisoformat(str(cell))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        import duckdb
    except ImportError:
        raise OperatorError(
            "Parquet needs the extra `analytics`: pip install 'moltbot-rollout[analytics]'"
        ) from None
    if not path.is_file():
        raise OperatorError(f"{path}: not found")
    found = duckdb.read_parquet(str(path))
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def _prometheus(path: Path, columns: dict[str, str]) -> list[Row]:
    """A matrix; each figure names the metric (`__name__`), or there is a single series."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))["data"]["result"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OperatorError(
            f"{path}: expected the answer of a Prometheus range query ({error})"
        ) from None
    rows: dict[float, Row] = {}
    figures = {f: c for f, c in columns.items() if f != "time"} or {"error_rate": ""}
    for figure, name in figures.items():
        found = [s for s in result if s["metric"].get("__name__") == name]
        chosen = found or (result if len(result) == 1 else [])
        if not chosen:
            known = ", ".join(str(s["metric"]) for s in result)
            raise OperatorError(f"{path}: no series {name!r} for {figure}; it has: {known}")
        for series in chosen:
            for at, value in series["values"]:
                row = rows.setdefault(float(at), {"time": float(at)})
                row[figure] = row.get(figure, 0.0) + float(value)
    return [rows[at] for at in sorted(rows)]


def _fired(rows: Sequence[Row], playbook: Playbook) -> list[dict[str, Any]]:
    """Feed the rows as slots, look after each, and note when a trigger begins and ends to fire."""
    triggers = [t for t in playbook.triggers if isinstance(t, ErrorRateTrigger | LatencyTrigger)]
    times = np.array([row["time"] for row in rows])
    spacing = float(np.median(np.diff(times))) if len(times) > 1 else 10.0
    length = max(1.0, min(spacing, playbook.timing.slot.total_seconds()))
    watched = playbook.model_copy(update={"triggers": tuple(triggers)})
    cuts = [over(t.above.total_seconds() * 1000) for t in triggers if isinstance(t, LatencyTrigger)]
    book, start = Book(length), datetime.fromtimestamp(float(times[0]) - 86400, UTC)
    rollout = Rollout(id="series", phase=Phase.PROGRESSIVE, window_since=start)
    fired: list[dict[str, Any]] = []
    firing: dict[str, dict[str, Any]] = {}
    for row in rows:
        book.add_slot(_slot(row, cuts, length))
        now = datetime.fromtimestamp(row["time"], UTC) + timedelta(seconds=length)
        book.forget(now)
        for one in rule_all(Scene(rollout, watched, book, now)):
            name = one.ruling.name
            if one.ruling.verdict == "fail" and name not in firing:
                entry = {"trigger": name, "action": one.action, "at": now.isoformat()}
                firing[name] = {**entry, "until": None, "reason": one.ruling.reason}
                fired.append(firing[name])
            elif one.ruling.verdict != "fail" and name in firing:
                firing.pop(name)["until"] = now.isoformat()
    return fired


def _slot(row: Row, cuts: Sequence[str], length: float) -> Slot:
    """One point as a slot. Nothing is known of subjects: every event counts as another's."""
    requests = round(row.get("requests", DEFAULT_REQUESTS))
    errors = round(row["errors"] if "errors" in row else row.get("error_rate", 0.0) * requests)
    slow = round(row["slow"] if "slow" in row else row.get("slow_rate", 0.0) * requests)
    key = SlotKey("series", 0, "agent", "candidate", LIVE, int(row["time"] // length * length))
    return Slot(key, requests, _tally(errors), {cut: _tally(slow) for cut in cuts})


def _tally(count: int) -> Tally:
    return Tally(count, ((1 << min(256, max(0, count))) - 1).to_bytes(32, "little"))


def _shown(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
