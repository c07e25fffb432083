"""What every command prints with: JSON, tables, and lines that other programs can read."""

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import typer


def print_json(value: Any) -> None:
    """One indented JSON value on standard output."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table in a terminal; elsewhere aligned columns, uncut, one line a row."""
    cells = [[_text(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(columns, cells)
        return
    lines = [[c.upper() for c in columns], *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        pairs = zip(line, widths, strict=True)
        typer.echo("  ".join(cell.ljust(width) for cell, width in pairs).rstrip())


def _print_rich(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:g}"
    return printable(" ".join(str(cell).split()))


_CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if code != ord("\n")}


def printable(value: Any) -> Any:
    """`value` with no control character in any of its texts but line ends.

    Reasons may quote what an agent sent; nobody's terminal is to obey it.
    """
    if isinstance(value, str):
        return value.translate(_CONTROLS)
    if isinstance(value, dict):
        return {printable(name): printable(inner) for name, inner in value.items()}
    return [printable(inner) for inner in value] if isinstance(value, list | tuple) else value


def instant(value: object) -> datetime | None:
    """The moment in a state, whether it came as JSON or as it is."""
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    return value if isinstance(value, datetime) else None


def moment(value: object) -> str:
    """`2026-01-31 12:00:00` in UTC; `-` for none."""
    at = instant(value)
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else "-"


def span(seconds: float) -> str:
    """A length of time in its two largest units: `3d04h`, `47h05m`, `3m20s`, `12s`."""
    whole = max(0, round(seconds))
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours >= 48:
        return f"{hours // 24}d{hours % 24:02d}h"
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{whole % 60:02d}s" if minutes else f"{whole}s"


def place(state: dict[str, Any]) -> str:
    """Where a rollout is, in one line."""
    state = printable(state)
    phase = str(state["phase"]).replace("_", " ")
    text = f"{state['rollout']}: {phase} at {state['traffic_percent']:g}%"
    if halt := state.get("halt"):
        text += f", {HALTS.get(halt['kind'], halt['kind'])} ({halt['reason'] or 'no reason given'})"
    return text


HALTS = {
    "paused": "paused",
    "review": "waits for a review",
    "question": "waits for a decision",
    "halved": "halved, holding",
}
"""How a halt reads."""


def changed(state: dict[str, Any], as_json: bool) -> None:
    """Print the state that a command has led to."""
    if as_json:
        print_json(state)
        return
    typer.echo(place(state))
    for line in filter(None, (held_back_line(state), approval_line(state), next_line(state))):
        typer.echo(line)


def held_back_line(state: dict[str, Any]) -> str:
    """What the operator's flags keep back, and what to do; empty while they allow the step."""
    held = printable(state.get("held_back"))
    return f"HELD BACK: {held['what']}. To let it go on, {held['do']}" if held else ""


def approval_line(state: dict[str, Any]) -> str:
    """Who asks for an approval, and who may not give it; empty when nobody asks."""
    asked = printable(state.get("approval"))
    if not asked:
        return ""
    what = "go on past gates that wait" if asked["beyond"] else "leave this step"
    others = " or ".join(asked["not_by"])
    text = f"approval asked by {asked['asked_by']} to {what}: {asked['reason']}"
    return text + (f"; by somebody other than {others}: molt approve" if others else "")


def next_line(state: dict[str, Any]) -> str:
    """What comes next and what it waits for; empty when nothing comes by itself."""
    following = state.get("next")
    if not following or state.get("halt"):
        return ""
    target = "complete" if following["phase"] == "complete" else f"{following['share']:g}%"
    open_gates = [g["name"] for g in state["gates"] if g["verdict"] != "pass"]
    if "hold" not in open_gates and following["earliest"] == following["earliest_by_person"]:
        when = " as soon as all gates pass"
    else:
        when = f", not before {moment(following['earliest'])} UTC"
    return f"next: {target}{when}" + (f"; open: {', '.join(open_gates)}" if open_gates else "")
