"""Numbers and times as people read them; the same words in every page."""

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from markupsafe import Markup, escape

NOTHING: Final = "–"
NO_TIME: Final = Markup("–")


def when(value: Any) -> Markup:
    """A `<time>`: UTC in the page, local time once the browser has it, both on hover."""
    at = instant(value)
    if at is None:
        return NO_TIME
    utc = at.astimezone(UTC)
    text = f"{utc:%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        utc.isoformat(timespec="milliseconds"), text, text
    )


def instant(value: Any) -> datetime | None:
    """The moment, whether it came as text or as it is."""
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    return value if isinstance(value, datetime) else None


def span(value: Any) -> str:
    """A length of time in its two largest units: `3 d 4 h`, `47 min`, `12 s`."""
    if value is None:
        return NOTHING
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if not math.isfinite(seconds):
        return NOTHING
    whole = max(0, round(seconds))
    days, hours, minutes = whole // 86400, whole % 86400 // 3600, whole % 3600 // 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    if minutes:
        return f"{minutes} min {whole % 60} s" if minutes < 10 and whole % 60 else f"{minutes} min"
    return f"{whole} s"


def percent(value: Any, digits: int = 2) -> str:
    """A share 0..1 as a percentage."""
    return NOTHING if value is None else f"{100 * value:.{digits}f}%"


def share(value: Any) -> str:
    """A traffic share that is in percent already."""
    return NOTHING if value is None else f"{value:g}%"


def number(value: Any) -> str:
    """A count with thin groups, or a figure with four digits that matter."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    if not math.isfinite(value):
        return NOTHING
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def figure(value: Any) -> str:
    """What a ruling was made from: a number, a word, or several in one line."""
    if isinstance(value, list | tuple):
        return ", ".join(map(figure, value))
    return number(value) if value is None or isinstance(value, int | float) else str(value)


def raw(value: Any) -> str:
    """A field of a record as it was written; lists of words in one line, the rest as JSON."""
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        return ", ".join(value) or NOTHING
    return json.dumps(value) if isinstance(value, list | dict | bool) else str(value)


def ms(value: Any) -> str:
    """Milliseconds, or seconds when they are many."""
    if value is None:
        return NOTHING
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.0f} ms"


def money(value: Any) -> str:
    """US dollars."""
    if value is None:
        return NOTHING
    return f"${value:,.2f}" if abs(value) >= 1 or value == 0 else f"${value:.4f}"


def words(value: Any) -> str:
    """`rolled_back` -> `rolled back`; `no_degradation:x_y` -> `no degradation: x y`."""
    return str(value).replace("_", " ").replace(":", ": ")


def lines(value: Any) -> Markup:
    """Text with its line ends kept."""
    return Markup("<br>").join(escape(line) for line in str(value).splitlines())


def told(value: Any) -> Markup:
    """Text with its line ends kept, and each moment in it as a `<time>`."""
    return Markup("<br>").join(
        Markup("").join(
            when(part) if i % 2 else escape(part) for i, part in enumerate(_MOMENT.split(line))
        )
        for line in str(value).splitlines()
        if line.strip()
    )


_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))")


def call(value: Any) -> str:
    """A tool call as `tool(name=value, ...)`."""
    if not isinstance(value, dict):
        return str(value)
    given = value.get("arguments") or {}
    shown = given.items() if isinstance(given, dict) else [("", given)]
    return f"{value.get('tool', '?')}({', '.join(f'{k}={v!r}' for k, v in shown)})"


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "when": when,
    "span": span,
    "percent": percent,
    "share": share,
    "number": number,
    "figure": figure,
    "raw": raw,
    "ms": ms,
    "money": money,
    "words": words,
    "lines": lines,
    "told": told,
    "call": call,
}
