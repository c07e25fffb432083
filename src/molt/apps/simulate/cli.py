"""`molt simulate`: a rollout before it happens."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from molt.apps.cli.options import Json
from molt.apps.cli.show import print_json, print_table
from molt.core.errors import OperatorError

if TYPE_CHECKING:
    from molt.apps.simulate.course import Course


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(simulate)


def simulate(
    scenario: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE", help="A shipped scenario or a file; see docs/simulator."
        ),
    ] = "healthy",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many worlds.")] = 1,
    first: Annotated[int, typer.Option("--seed", min=0, help="The first seed.")] = 1,
    playbook: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="The plan; default: the scenario's."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="REPORT", help="Also write a report of the first seed."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where recorded traces are; default: ../shared/data."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes; default: one for each core.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Play a rollout through in a made-up world: the production controller under a virtual clock.

    One seed prints its decisions, several a summary with intervals. The same seed always gives the
    same result. Ctrl-C keeps what is done.
    """
    from molt.adapters.playbooks import load_playbook
    from molt.apps.simulate.parallel import run_seeds
    from molt.apps.simulate.run import DATA
    from molt.apps.simulate.shipped import load_scenario
    from molt.apps.simulate.summary import as_data

    check_folder(html)
    name, world = load_scenario(scenario)
    plan = load_playbook(playbook or world.playbook)
    numbers = range(first, first + seeds)
    with progress(len(numbers)) as tick:
        courses, interrupted = run_seeds(
            world,
            plan,
            numbers,
            name=name,
            data=data or DATA,
            jobs=jobs,
            sample_every=timedelta(hours=2) if html else None,
            done=tick,
        )
    if interrupted:
        typer.echo(f"interrupted: {len(courses)} of {len(numbers)} seeds are done", err=True)
    if html and courses:
        from molt.apps.simulate.report import write_report

        write_report(html, name, world, plan, courses)
        typer.echo(f"report: {html}", err=True)
    if as_json:
        print_json(as_data(name, plan.name, courses))
    else:
        _show(name, world.title, courses)
    if interrupted:
        raise typer.Exit(1)


def check_folder(file: Path | None) -> None:
    """Say before the work begins that its result has no place. Raises `OperatorError`."""
    if file is not None and not file.parent.is_dir():
        raise OperatorError(f"{file}: there is no folder {file.parent}")


@contextmanager
def progress(total: int) -> Iterator[Callable[["Course"], None]]:
    """A bar on standard error, when somebody is looking."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("seeds"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("seeds", total=total)
        yield lambda _: bar.advance(task)


def _show(name: str, title: str, courses: Sequence["Course"]) -> None:
    from molt.apps.simulate.summary import summary

    typer.echo(f"{name}: {title or 'no title'}\n")
    if len(courses) == 1:
        _show_one(courses[0])
    elif courses:
        print_table(("seed", "verdict", "hours", "after onset", "failed orders"), _seeds(courses))
        typer.echo("")
    found = summary(courses)
    for verdict in ("promoted", "rolled_back", "inconclusive"):
        low, high = found["intervals"][verdict]
        share = f"{low * 100:.1f}-{high * 100:.1f}%"
        typer.echo(
            f"{verdict.replace('_', ' '):13} {found[verdict]:4} of {found['seeds']}  ({share})"
        )
    typer.echo(f"hours to the decision, median: {_hours(found['median_hours_to_decision'])}")
    if found["median_hours_after_onset"] is not None:
        typer.echo(f"  after the onset: {_hours(found['median_hours_after_onset'])}")
    typer.echo(f"failed orders before it, mean: {found['failed_orders_before_decision']:g}")


def _seeds(courses: Sequence["Course"]) -> list[tuple[object, ...]]:
    return [
        (c.seed, c.verdict, _hours(c.hours), _hours(c.hours_after_onset), round(c.failed_orders, 1))
        for c in courses
    ]


def _hours(hours: float | None) -> str:
    return "-" if hours is None else f"{hours:.1f} h"


def _show_one(course: "Course") -> None:
    """Every decision: when, where, by which rule, on what evidence."""
    from molt.apps.simulate.decisions import decision_rows

    rows: list[tuple[object, ...]] = []
    for row in decision_rows(course):
        place = f"{row['phase']} {row['share']:g}%"
        rows.append(
            (_when(row["hours"]), place, row["decision"], row["by"], row["reason"], "", "", "")
        )
        rows.extend(
            ("", "", f"  {rule['rule']}", rule["verdict"], *_numbers(rule)) for rule in row["rules"]
        )
    columns = ("time", "step", "decision", "by", "why", "log e", "units", "estimate")
    print_table(columns, rows)
    typer.echo("")


def _numbers(rule: dict[str, Any]) -> tuple[object, object, object, object]:
    evidence = " ".join(
        f"{name.removeprefix('log_e').strip('_') or 'e'} {value:.1f}"
        for name, value in rule.get("log_e", {}).items()
    )
    estimate = f"{rule['estimate']:.4g}" if "estimate" in rule else ""
    if "low" in rule and "high" in rule:
        estimate = f"{estimate} ({rule['low']:.4g} to {rule['high']:.4g})".strip()
    return "", evidence, rule.get("units", ""), estimate


def _when(hours: float) -> str:
    return f"day {int(hours // 24) + 1} {int(hours % 24):02d}:{round(hours * 60) % 60:02d}"
