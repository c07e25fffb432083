"""A report of a simulation as one HTML file: no script, nothing from elsewhere."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment

from molt.apps.simulate.charts import STYLE, evidence_of, gate_chart, share_chart
from molt.apps.simulate.course import Course
from molt.apps.simulate.decisions import decision_rows
from molt.apps.simulate.scenario import Scenario
from molt.apps.simulate.summary import summary
from molt.core.events import IncidentOpened
from molt.core.playbook import Playbook

_TEMPLATE = files("molt") / "apps" / "simulate" / "report.html.j2"


def write_report(
    path: Path, name: str, scenario: Scenario, playbook: Playbook, courses: Sequence[Course]
) -> None:
    """Write the report of `courses`, with pictures of the first. Raises OSError."""
    path.write_text(report(name, scenario, playbook, courses), encoding="utf-8")


def report(name: str, scenario: Scenario, playbook: Playbook, courses: Sequence[Course]) -> str:
    """The report as HTML text."""
    first, found = courses[0], summary(courses)
    template = Environment(autoescape=True).from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        name=name,
        title=scenario.title,
        about=scenario.about,
        playbook=playbook.name,
        course=first,
        summary=found,
        facts=_facts(found),
        style=STYLE,
        share=share_chart(first),
        rows=[{**row, "when": when(row["hours"])} for row in decision_rows(first)],
        incidents=_incidents(first),
        gates=[
            {"name": e.name, "svg": gate_chart(first, e.name, e.lines, e.limits)}
            for e in evidence_of(first)
        ],
    )


def when(hours: float) -> str:
    """`day 12, 06:30`, counted from the start."""
    minutes = round(hours * 60)
    return f"day {minutes // 1440 + 1}, {minutes // 60 % 24:02d}:{minutes % 60:02d}"


def _facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [
        (
            f"{found[verdict]} of {found['seeds']}",
            f"{verdict.replace('_', ' ')} ({low:.0%} to {high:.0%})",
        )
        for verdict, (low, high) in found["intervals"].items()
    ]
    hours, after = found["median_hours_to_decision"], found["median_hours_after_onset"]
    facts.append(("-" if hours is None else f"{hours / 24:.1f} days", "to the decision, median"))
    if after is not None:
        facts.append((f"{after:.1f} h", "from the onset to the decision, median"))
    facts.append((f"{found['failed_orders_before_decision']:g}", "failed orders before, mean"))
    return facts


def _incidents(course: Course) -> list[dict[str, str]]:
    return [
        {
            "when": when((e.at - course.started_at).total_seconds() / 3600),
            "trigger": e.trigger,
            "action": e.action,
            "reason": e.reason,
        }
        for e in course.events
        if isinstance(e, IncidentOpened)
    ]
