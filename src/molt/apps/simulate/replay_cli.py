"""`molt replay`: decisions made again, from a rollout's own evidence or from recorded series."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from molt.apps.cli.exits import NotHeld
from molt.apps.cli.options import Json, Rollout
from molt.apps.cli.show import print_json, print_table
from molt.core.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from molt.adapters.journal import FileJournal
    from molt.adapters.sql.store import SqlStore
    from molt.core.events import Recorded
    from molt.ports import Frame


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(replay)


def replay(
    rollout: Rollout = None,
    playbook: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Another plan: what would have happened?"),
    ] = None,
    series: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A series from elsewhere: CSV, Parquet, Prometheus JSON."
        ),
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="FIGURE=COLUMN",
            help="Which column is what: time, requests, error_rate, errors, slow_rate, slow.",
        ),
    ] = None,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Each A/B metric with its interval, over time.")
    ] = False,
    agent: Annotated[
        str | None, typer.Option(metavar="TYPE", help="With --metrics: of this agent type only.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Molt's data directory.")
    ] = None,
    progress: Annotated[
        bool, typer.Option("--progress", help="Say on standard error how far it is.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Decide again on what was recorded: the same plan must decide the same.

    With `--playbook`, say what another plan would have decided on the same evidence, and when. With
    `--metrics`, tell the A/B metrics as they stood over time. With `--series`, say when the triggers
    of a plan would have fired on a recorded series.
    """
    _one_question(rollout, playbook, series, mapping, metrics, agent)
    if series is not None:
        from molt.apps.simulate.series import replay_series

        found = replay_series(series, mapping or [], playbook or "wf-11")
        if as_json:
            print_json(found)
        else:
            _show_series(found)
        return
    name, records, journal = _recorded(rollout, folder)
    if metrics:
        frames = journal.frames(name)
        if progress:
            frames = _telling_progress(frames, records, journal.path(name))
        _tell_metrics(name, records, frames, agent, as_json)
    elif playbook is not None:
        from molt.adapters.playbooks import load_playbook
        from molt.control.again import what_if

        _tell_what_if(what_if(records, journal.frames(name), load_playbook(playbook)), as_json)
    else:
        _replay_rollout(name, records, journal.frames(name), as_json)


def _one_question(
    rollout: str | None,
    playbook: str | None,
    series: Path | None,
    mapping: list[str] | None,
    metrics: bool,
    agent: str | None,
) -> None:
    """Refuse options that would be passed over in silence. Raises `OperatorError`."""
    if mapping and series is None:
        raise OperatorError("--map: says what the columns of a series are; add --series FILE")
    if series is not None and (metrics or rollout):
        other = "--metrics" if metrics else "--rollout"
        raise OperatorError(f"--series and {other}: a series is no rollout's record; leave one out")
    if metrics and playbook is not None:
        raise OperatorError("--metrics and --playbook: two questions; ask one after the other")
    if agent and not metrics:
        raise OperatorError("--agent: only together with --metrics")


def _recorded(
    rollout: str | None, folder: Path | None
) -> "tuple[str, list[Recorded], FileJournal]":
    """The rollout's log and its journal. Raises `OperatorError` where either is missing."""
    from molt.adapters.journal import FileJournal
    from molt.apps.cli.configured import data_dir
    from molt.apps.cli.data_dir import with_store

    where = folder or data_dir()

    async def load(store: "SqlStore") -> "tuple[str, list[Recorded]]":
        known = list(await store.rollouts())
        name = rollout or (known[-1] if known else None)
        if name is None or name not in known:
            raise OperatorError(f"No rollout {name or ''!r}; known: {', '.join(known) or 'none'}")
        return name, list(await store.load(name))

    name, records = with_store(where, load)
    journal = FileJournal(where / "journal")
    if not journal.path(name).exists():
        raise OperatorError(
            f"{journal.path(name)}: not found; the rollout's evidence was not recorded"
        )
    return name, records, journal


def _replay_rollout(
    name: str, records: "list[Recorded]", frames: "Iterable[Frame]", as_json: bool
) -> None:
    from molt.control import again

    found = again.replay(records, frames)
    if as_json:
        print_json(
            {
                "rollout": name,
                "identical": not found.differences,
                "decisions": found.decisions,
                "looks": found.looks,
                "gaps": found.gaps,
                "differences": [d._asdict() for d in found.differences],
            }
        )
    else:
        typer.echo(
            f"{name}: {found.decisions} decisions made again at {found.looks} looks, "
            f"{len(found.differences)} differ; {found.gaps} gaps"
        )
        for d in found.differences[:20]:
            typer.echo(
                f"  {d.at:%Y-%m-%d %H:%M:%S} recorded {_kinds(d.recorded)}, now {_kinds(d.again)}"
            )
    if found.differences:
        raise NotHeld(f"{len(found.differences)} decisions are not the recorded ones")


def _kinds(events: tuple[Any, ...]) -> str:
    return ", ".join(type(e).__name__ for e in events) or "nothing"


def _telling_progress(
    frames: "Iterable[Frame]", records: "list[Recorded]", journal: Path
) -> "Iterator[Frame]":
    """The frames; each whole percent of their time is told on standard error, as 0..1."""
    first = records[0].event.at.timestamp()
    length = max(1.0, journal.stat().st_mtime - first)
    told = 0
    for frame in frames:
        percent = min(100, int(100 * (frame.at.timestamp() - first) / length))
        if percent > told:
            told = percent
            typer.echo(f"progress {percent / 100}", err=True)
        yield frame


def _tell_metrics(
    name: str,
    records: "list[Recorded]",
    frames: "Iterable[Frame]",
    agent: str | None,
    as_json: bool,
) -> None:
    from molt.control.course import course

    points = course(records, frames, agent)
    if as_json:
        print_json({"rollout": name, "agent": agent, "metrics": [p._asdict() for p in points]})
        return
    if not points:
        typer.echo("No metric could be compared: that needs both arms, and outcomes of users")
        return
    rows = [
        (f"{p.at:%Y-%m-%d %H:%M:%S}", p.title, p.step, p.control, p.candidate, p.low, p.high)
        for p in points
    ]
    columns = ("at", "metric", "step", "control", "candidate", "difference from", "to")
    print_table(columns, rows)


def _tell_what_if(stays: Any, as_json: bool) -> None:
    if as_json:
        rows = [{**s._asdict(), "rule": s.rule.reason if s.rule else None} for s in stays]
        print_json({"stays": rows})
        return
    rows = [
        (
            f"{s.phase} {s.share:g}%",
            f"{s.entered_at:%Y-%m-%d %H:%M}",
            f"{s.left_at:%Y-%m-%d %H:%M}" if s.left_at else "-",
            f"{s.passed_at:%Y-%m-%d %H:%M}" if s.passed_at else "not",
            f"{s.action} {s.stopped_at:%Y-%m-%d %H:%M}: {s.rule.reason}" if s.rule else "-",
        )
        for s in stays
    ]
    print_table(("step", "entered", "left", "gates would have passed", "would have"), rows)
    stopped = next((s for s in stays if s.stopped_at), None)
    if stopped:
        typer.echo(
            f"\nIt would have said {stopped.action.replace('_', ' ')} at "
            f"{stopped.stopped_at:%Y-%m-%d %H:%M:%S}, at {stopped.share:g}%; "
            "what followed in the record is not what would have followed."
        )


def _show_series(found: dict[str, Any]) -> None:
    left_out = f", {found['left_out']} without figures left out" if found["left_out"] else ""
    typer.echo(
        f"{found['points']} points, {found['from']} to {found['to']}{left_out}; "
        f"looked at: {', '.join(found['watched'])}"
    )
    rows = [(f["trigger"], f["at"], f["until"], f["reason"]) for f in found["fired"]]
    if rows:
        print_table(("trigger", "fires at", "until", "why"), rows)
    else:
        typer.echo("no trigger would have fired")
