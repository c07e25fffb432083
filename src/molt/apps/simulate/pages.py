"""The page and picture of every shipped scenario: `python -m molt.apps.simulate.pages DOCS [NAME ...]`."""

import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from molt.adapters.playbooks import load_playbook
from molt.apps.simulate.charts import evidence_of, gate_chart, share_chart, standalone
from molt.apps.simulate.course import Course
from molt.apps.simulate.decisions import decision_rows
from molt.apps.simulate.report import when
from molt.apps.simulate.run import run
from molt.apps.simulate.scenario import Scenario
from molt.apps.simulate.shipped import ORDER, load_scenario, shipped_text

SEED = 1


def write_pages(docs: Path, only: Sequence[str] = ()) -> None:
    """Play every shipped scenario (or `only` those) once, write its page, pictures, and the index."""
    folder = docs / "scenarios"
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Scenarios", "", "Each ships with Molt: `molt simulate NAME`.", ""]
    for name in ORDER:
        _, scenario = load_scenario(name)
        lines.append(f"- [{name}]({name}.md): {scenario.title}")
        if only and name not in only:
            continue
        course = run(
            scenario,
            load_playbook(scenario.playbook),
            SEED,
            name=name,
            sample_every=timedelta(hours=6),
        )
        (folder / f"{name}.svg").write_text(standalone(share_chart(course)), encoding="utf-8")
        (folder / f"{name}.md").write_text(page(name, scenario, course, folder), encoding="utf-8")
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def page(name: str, scenario: Scenario, course: Course, folder: Path) -> str:
    """The page; the evidence of the first comparing gate is drawn beside the share."""
    parts = [f"# {scenario.title}", "", scenario.about, ""]
    parts += ["```sh", f"molt simulate {name}", "```", ""]
    parts += [f"![The share over time]({name}.svg)", ""]
    drawn = [e for e in evidence_of(course) if e.name.startswith("no_degradation")]
    if drawn:
        svg = gate_chart(course, drawn[0].name, drawn[0].lines, drawn[0].limits)
        (folder / f"{name}-evidence.svg").write_text(standalone(svg), encoding="utf-8")
        parts += [
            f"Evidence of `{drawn[0].name}` (natural logarithm; blue for going on, red against):",
            "",
            f"![Evidence]({name}-evidence.svg)",
            "",
        ]
    parts += [f"Seed {SEED} comes out as **{course.verdict.replace('_', ' ')}**:", ""]
    parts += ["| when | step | decision | why |", "| --- | --- | --- | --- |"]
    parts += [
        f"| {when(r['hours'])} | {r['phase']} {r['share']:g}% | {r['decision'].replace('_', ' ')} "
        f"| {r['reason']} |"
        for r in decision_rows(course)[:40]
    ]
    return "\n".join([*parts, "", "```yaml", shipped_text(name).rstrip(), "```", ""])


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]), sys.argv[2:])
