"""Pictures of a run as inline SVG: the share, and each gate's evidence against its limits."""

import math
from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Final, NamedTuple

from molt.apps.simulate.course import Course
from molt.core.events import IncidentOpened

WIDTH: Final = 720
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 26
_MARKS: Final = {"roll_back": "bad", "halve": "warn", "pause": "warn", "review": "warn"}

STYLE: Final = """
svg.chart{width:100%;height:auto;display:block;font:12px system-ui,sans-serif}
svg.chart text{fill:#556}svg.chart .grid{stroke:#e3e6ec}svg.chart .line{fill:none;stroke:#2563eb;
stroke-width:1.8;stroke-linejoin:round}svg.chart .fill{fill:#2563eb22}svg.chart .limit{stroke-width:1.2;
stroke-dasharray:5 4}svg.chart .good{stroke:#15803d}svg.chart .bad{stroke:#b91c1c}svg.chart .warn
{stroke:#b45309}svg.chart .line.against{stroke:#b91c1c}svg.chart text.bad{fill:#b91c1c;stroke:none}
@media (max-width:34rem){svg.chart{font-size:20px;overflow:visible}}
svg.chart text.good{fill:#15803d;stroke:none}svg.chart text.warn{fill:#b45309;stroke:none}
"""


class Line(NamedTuple):
    """A series of (days since the start, value), drawn in a class of `STYLE`."""

    points: Sequence[tuple[float, float]]
    look: str = "line"


class Limit(NamedTuple):
    """A level with a name."""

    value: float
    name: str
    look: str


def share_chart(course: Course) -> str:
    """The share over time, with incidents."""
    steps = [(_days(course, s.at), s.share) for s in course.stays]
    end = max(0.1, _days(course, course.ended_at))
    points: list[tuple[float, float]] = []
    for (at, share), after in zip(steps, [*steps[1:], (end, 0.0)], strict=True):
        points += [(at, share), (after[0], share)]
    highest = max([1.0, *(share for _, share in steps)])
    frame = _Frame(end, 0.0, highest * 1.25 if highest < 100 else 100.0, 200)
    parts = [
        frame.grid([0, highest / 2, highest], "%"),
        frame.area(points),
        frame.path(Line(points)),
    ]
    for i, event in enumerate(e for e in course.events if isinstance(e, IncidentOpened)):
        look = _MARKS.get(event.action, "warn")
        parts.append(frame.mark(_days(course, event.at), event.trigger, look, i))
    return frame.svg("The share of users on the candidate over time", parts)


def gate_chart(course: Course, name: str, lines: Sequence[Line], limits: Sequence[Limit]) -> str:
    """One gate's evidence over time against its limits."""
    end = max(0.1, _days(course, course.ended_at))
    values = [v for line in lines for _, v in line.points] + [m.value for m in limits]
    low, high = min([0.0, *values]), max([1.0, *values])
    high = min(high, 4 * max([1.0, *(m.value for m in limits)]))
    low = max(low, -high)
    frame = _Frame(end, low, high * 1.08, 130)
    parts = [frame.grid([low, 0, high] if low < -0.2 * high else [0, high], "")]
    parts += [frame.path(line) for line in lines]
    parts += [frame.level(limit) for limit in limits]
    return frame.svg(f"Evidence of {name} over time", parts)


class Evidence(NamedTuple):
    """What a report draws for one gate."""

    name: str
    lines: list[Line]
    limits: list[Limit]


def evidence_of(course: Course) -> list[Evidence]:
    """Per gate its log e-values over time: for going on, and against."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for sample in course.samples:
        for ruling in sample.rulings:
            for key, value in ruling.numbers.items():
                if key.startswith("log_e") and isinstance(value, float) and math.isfinite(value):
                    series = found.setdefault(ruling.name, {}).setdefault(key, [])
                    series.append((_days(course, sample.at), value))
    return [_evidence(name, series) for name, series in found.items()]


_FOR: Final = ("log_e_below", "log_e_within")
_AGAINST: Final = ("log_e_above", "log_e_harm")


def _evidence(name: str, series: dict[str, list[tuple[float, float]]]) -> Evidence:
    lines = [Line(points) for key, points in series.items() if key in _FOR]
    lines += [Line(points, "line against") for key, points in series.items() if key in _AGAINST]
    shared = name.startswith("no_degradation")
    fail = math.log(80) if shared else math.log(100)
    limits = [Limit(math.log(20), "pass", "good"), Limit(fail, "fail", "bad")]
    return Evidence(name, lines, limits)


def _days(course: Course, at: datetime) -> float:
    return (at - course.started_at).total_seconds() / 86400


class _Frame:
    """Axes: days to the right, values upwards."""

    def __init__(self, days: float, low: float, high: float, height: int) -> None:
        self.days, self.low, self.high, self.height = days, low, max(high, low + 1e-9), height

    def x(self, day: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, day / self.days), 1)

    def y(self, value: float) -> float:
        inside = min(self.high, max(self.low, value))
        part = (inside - self.low) / (self.high - self.low)
        return round(self.height - BOTTOM - (self.height - TOP - BOTTOM) * part, 1)

    def grid(self, levels: Sequence[float], unit: str) -> str:
        rows = "".join(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.y(v)}" y2="{self.y(v)}"/>'
            f'<text x="{LEFT - 6}" y="{self.y(v) + 4}" text-anchor="end">{v:.3g}{unit}</text>'
            for v in dict.fromkeys(levels)
        )
        every = max(1, math.ceil(self.days / 10))
        days = "".join(
            f'<text x="{self.x(d)}" y="{self.height - 6}" text-anchor="middle">{d}</text>'
            for d in range(0, int(self.days) + 1, every)
        )
        return rows + days

    def _points(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(d)},{self.y(v)}" for d, v in points)

    def path(self, line: Line) -> str:
        return f'<polyline class="{line.look}" points="{self._points(line.points)}"/>'

    def area(self, points: Sequence[tuple[float, float]]) -> str:
        if not points:
            return ""
        base = [(points[-1][0], self.low), (points[0][0], self.low)]
        return f'<polygon class="fill" points="{self._points([*points, *base])}"/>'

    def level(self, limit: Limit) -> str:
        y = self.y(limit.value)
        return (
            f'<line class="limit {limit.look}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
            f'<text class="{limit.look}" x="{WIDTH - RIGHT}" y="{y - 4 if limit.look == "bad" else y + 13}" text-anchor="end">'
            f"{escape(limit.name)}</text>"
        )

    def mark(self, day: float, name: str, look: str, i: int) -> str:
        x, y = self.x(day), TOP + 12 + 14 * (i % 4)
        side = "end" if x > WIDTH / 2 else "start"
        return (
            f'<line class="limit {look}" x1="{x}" x2="{x}" y1="{TOP}" y2="{self.height - BOTTOM}"/>'
            f'<text class="{look}" x="{x - 4 if side == "end" else x + 4}" y="{y}" '
            f'text-anchor="{side}">{escape(name)}</text>'
        )

    def svg(self, title: str, parts: Sequence[str]) -> str:
        return (
            f'<svg class="chart" viewBox="0 0 {WIDTH} {self.height}" role="img" '
            f'xmlns="http://www.w3.org/2000/svg" aria-label="{escape(title)}">'
            f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
        )


def standalone(svg: str) -> str:
    """The picture as a file of its own, for documentation."""
    return svg.replace("</title>", f"</title><style>{STYLE}</style>", 1) + "\n"
