"""Recorded series from elsewhere, replayed against the triggers of a plan."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from molt.apps.simulate.series_files import DEFAULT_REQUESTS, Row, columns_of, read_series
from molt.core.book import Book
from molt.core.errors import OperatorError
from molt.core.evidence import LIVE, Slot, SlotKey, Tally, over
from molt.core.playbook import AnyTrigger, ErrorRateTrigger, LatencyTrigger, Playbook
from molt.core.rollout import Phase, Rollout
from molt.core.scene import Scene
from molt.core.triggers import rule_all


def replay_series(path: Path, mapping: Sequence[str], plan: str) -> dict[str, Any]:
    """When each error and latency trigger of `plan` would have fired on the series in `path`.

    Raises `OperatorError` for a file, a column or a value that cannot be used.
    """
    from molt.adapters.playbooks import load_playbook

    playbook, columns = load_playbook(plan), columns_of(mapping)
    rows, left_out = read_series(path, columns)
    if not rows:
        raise OperatorError(f"{path}: expected at least one row with figures")
    watched = [t for t in playbook.triggers if _is_about(t, columns)]
    if not watched:
        raise OperatorError(f"{plan}: no trigger is about {' or '.join(set(columns) - {'time'})}")
    return {
        "points": len(rows),
        "left_out": left_out,
        "from": _shown(rows[0]["time"]),
        "to": _shown(rows[-1]["time"]),
        "watched": [t.kind for t in watched],
        "fired": _fired(rows, playbook.model_copy(update={"triggers": tuple(watched)})),
    }


def _is_about(trigger: AnyTrigger, columns: Iterable[str]) -> bool:
    """Whether the series has the figure that the trigger looks at."""
    if isinstance(trigger, ErrorRateTrigger):
        return not {"errors", "error_rate"}.isdisjoint(columns)
    return isinstance(trigger, LatencyTrigger) and not {"slow", "slow_rate"}.isdisjoint(columns)


def _fired(rows: Sequence[Row], watched: Playbook) -> list[dict[str, Any]]:
    """Feed the rows as slots, look after each, and note when a trigger begins and ends to fire."""
    times = np.array([row["time"] for row in rows])
    spacing = float(np.median(np.diff(times))) if len(times) > 1 else 10.0
    length = max(1.0, min(spacing, watched.timing.slot.total_seconds()))
    cuts = [
        over(t.above.total_seconds() * 1000)
        for t in watched.triggers
        if isinstance(t, LatencyTrigger)
    ]
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
