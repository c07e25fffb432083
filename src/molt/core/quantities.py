"""Quantities as people write them in a playbook: `48h`, `5%`, `3x`."""

import math
import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(value: object) -> object:
    """A timedelta from `90s`, `48h`, `1h30m`; other types pass through to pydantic."""
    if not isinstance(value, str):
        if isinstance(value, int | float):
            raise ValueError("expected a duration with a unit, such as 30s, 5m, 48h or 7d")
        return value
    text = value.replace(" ", "")
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("expected a duration such as 30s, 5m, 48h or 7d")
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))


def show_duration(value: timedelta) -> str:
    """The shortest exact form: `48h` for two days, `500ms` for half a second."""
    seconds = value.total_seconds()
    if seconds and seconds % 86400 == 0 and seconds >= 7 * 86400:
        return f"{seconds / 86400:.0f}d"
    for unit in ("h", "m", "s"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{value / timedelta(milliseconds=1):.3f}".rstrip("0").rstrip(".") + "ms"


def show_seconds(seconds: int) -> str:
    """A length to the second, as a person reads it: `47h59m54s`, `5m00s`, `8s`."""
    if seconds >= 3600:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m{seconds % 60:02d}s"
    return f"{seconds // 60}m{seconds % 60:02d}s" if seconds >= 60 else f"{seconds}s"


def parse_fraction(value: object) -> object:
    """0.05 from `5%`, at most 100%; plain numbers are refused so that 5 is never read as 500%."""
    share = parse_margin(value)
    if share > 1:
        raise ValueError("expected a percentage of at most 100%, such as 5% or 0.5%")
    return share


def parse_margin(value: object) -> float:
    """The same without an upper end: something can be four times as large, 400%."""
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            share = float(value.strip()[:-1]) / 100
        except ValueError:
            share = math.nan
        if 0 <= share < math.inf:
            return share
    if isinstance(value, float) and 0 <= value <= 1:
        return value
    raise ValueError("expected a percentage such as 5% or 0.5%")


def show_fraction(value: float) -> str:
    """`5%` for 0.05."""
    return f"{value * 100:.10g}%"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(show_duration, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["30s", "5m", "48h", "7d"]}),
]
"""A length of time with its unit."""

Fraction = Annotated[
    float,
    BeforeValidator(parse_fraction),
    PlainSerializer(show_fraction, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["5%", "0.5%"]}),
]
"""A share of a whole, written as a percentage."""

Margin = Annotated[
    float,
    BeforeValidator(parse_margin),
    PlainSerializer(show_fraction, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["10%", "50%"]}),
]
"""A relative difference, written as a percentage; it may be above 100%."""

Share = Annotated[float, Field(ge=0, le=100)]
"""A traffic share in percent, 0 to 100."""
