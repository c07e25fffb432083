"""What one run did, on a line of time: pure, from audit records and calls to positions."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

WIDTH: Final = 1000.0
NARROWEST: Final = 4.0


class Bar(NamedTuple):
    """One request or call. `x` and `width` are of 1000; `data` is all that is known of it."""

    kind: str
    name: str
    verdict: str
    start_ms: float
    latency_ms: float
    x: float
    width: float
    data: Mapping[str, Any]


class Waterfall(NamedTuple):
    """A run: its requests and calls in order of time, and sums over the calls or requests."""

    bars: Sequence[Bar]
    began: datetime
    length_ms: float
    totals: Mapping[str, Any]


def waterfall(
    records: Sequence[Mapping[str, Any]], calls: Sequence[Mapping[str, Any]]
) -> Waterfall | None:
    """The picture of a run; None when nothing is known of it.

    A call that came through the egress is in both; the one kept of calls counts.
    """
    known = {call["id"] for call in calls}
    rows = [_of_record(r) for r in records if r.get("id") not in known and "latency_ms" in r]
    rows += [_of_report(r) for r in records if "latency_ms" not in r and r.get("tools")]
    rows += [_of_call(call) for call in calls]
    if not rows:
        return None
    began = min(start for start, *_ in rows)
    ended = max(start + timedelta(milliseconds=latency) for start, latency, *_ in rows)
    length = max(1.0, (ended - began).total_seconds() * 1000)
    bars = [_bar(row, began, length) for row in sorted(rows, key=lambda row: (row[0], -row[1]))]
    return Waterfall(bars, began, length, _totals(records, calls))


_Row = tuple[datetime, float, str, str, str, Mapping[str, Any]]


def _of_record(record: Mapping[str, Any]) -> _Row:
    ended, latency = datetime.fromisoformat(record["at"]), float(record["latency_ms"])
    kind = str(record.get("kind", "request")).removesuffix("_call")
    name = f"{record.get('method', '')} {record.get('path', '')}".strip()
    if kind != "request":
        name = (record.get("tools") or [record.get("model", "")])[0]
    where = record.get("arm") or "control"
    failed = record.get("status", 200) >= 400 or record.get("outcome") or record.get("fallback")
    verdict = record.get("disposition") or ("error" if failed else "ok")
    label = f"{name} → {where}" if kind == "request" else name
    return ended - timedelta(milliseconds=latency), latency, kind, label, verdict, record


def _of_report(record: Mapping[str, Any]) -> _Row:
    """A call that the agent reported before it acted; how long it took is not known."""
    at = datetime.fromisoformat(record["at"])
    return at, 0.0, "reported", ", ".join(record["tools"]), "reported", record


def _of_call(call: Mapping[str, Any]) -> _Row:
    ended, latency = datetime.fromisoformat(call["at"]), float(call["latency_ms"])
    start = ended - timedelta(milliseconds=latency)
    return start, latency, call["kind"], call["name"], call["disposition"], call


def _bar(row: _Row, began: datetime, length: float) -> Bar:
    start, latency, kind, name, verdict, data = row
    offset = (start - began).total_seconds() * 1000
    width = max(NARROWEST, WIDTH * latency / length)
    x = min(WIDTH * offset / length, WIDTH - width)
    return Bar(kind, name, verdict, offset, latency, round(max(0.0, x), 2), round(width, 2), data)


def _totals(
    records: Sequence[Mapping[str, Any]], calls: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Tokens and cost of the model calls where the egress saw them, else of the requests."""
    models = [c for c in calls if c["kind"] == "model"]
    source = models or [r for r in records if r.get("kind") == "request"]

    def total(key: str) -> float | None:
        found = [row[key] for row in source if row.get(key) is not None]
        return sum(found) if found else None

    tools = sum(c["kind"] == "tool" for c in calls)
    if not calls:
        tools = sum(len(r.get("tools") or ()) for r in records if r.get("kind") == "request")
    return {
        "model_calls": len(models) if calls else None,
        "tool_calls": tools,
        "tokens_in": total("tokens_in"),
        "tokens_out": total("tokens_out"),
        "cost": total("cost"),
    }
