"""The small forms that the sections of a retrospective are written in."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

Row = Sequence[object]

CELLS: Final = 10
"""Characters of a bar; a page draws it finer."""


def section(title: str, lines: Sequence[str]) -> list[str]:
    """A heading and what stands under it."""
    return [f"## {title}", "", *lines, ""]


def table(head: Row, rows: Sequence[Row], empty: str) -> list[str]:
    """A Markdown table; the sentence `empty` where it would have no row."""
    if not rows:
        return [empty]
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(_cell(c) for c in line) + " |" for line in lines]


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def bar(used: float) -> str:
    """How much of a limit was used: `███░░░░░░░ 27%`; full from the limit on."""
    if not math.isfinite(used):
        return f"{'█' * CELLS} over"
    percent = round(100 * used)
    cells = min(CELLS, max(0, round(percent * CELLS / 100)))
    figure = f"{percent}%"
    return f"{'█' * cells}{'░' * (CELLS - cells)} {figure}"


def moment(at: datetime, seconds: bool = False) -> str:
    """An instant, to the minute or to the second."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if seconds else f"{at:%Y-%m-%d %H:%M} UTC"


def signed(length: timedelta) -> str:
    """A difference of times with its sign."""
    return f"{'+' if length > timedelta() else '-'}{span(abs(length))}"


def span(length: timedelta) -> str:
    """A length of time in its two largest units."""
    seconds = length.total_seconds()
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {int(seconds % 60)} s" if minutes else f"{int(seconds)} s"


def usd(amount: float) -> str:
    """Dollars; small amounts keep their digits."""
    return f"${amount:,.2f}" if amount >= 1 or not amount else f"${amount:,.4f}"
