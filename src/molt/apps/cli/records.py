"""`molt history` and `molt audit`: what happened, and the proof that the record is whole."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import typer

from molt.apps.cli.client import Api, at, connect, pick
from molt.apps.cli.exits import NotHeld
from molt.apps.cli.options import Json, Rollout, Token, Url, instant
from molt.apps.cli.show import moment, print_json, print_table

PAGE = 1000


def register(app: typer.Typer) -> None:
    """Add the command and the group."""
    app.command()(history)
    group = typer.Typer(no_args_is_help=True)
    for command in (export, verify):
        group.command()(command)
    app.add_typer(group, name="audit", help="Export and verify the audit log.")


def history(
    rollout: Rollout = None,
    after: Annotated[int, typer.Option(min=0, help="Only records behind this number.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show the event log of a rollout.

    Every fact with its number, time, author and reason. --json adds the chained hash.
    """
    api = connect(url, token)
    records = _records(api, pick(api, rollout), after, limit)
    if as_json:
        print_json(records)
    else:
        columns = ("seq", "time (UTC)", "who", "what", "detail")
        print_table(columns, [_row(record) for record in records])


def _records(api: Api, rollout: str, after: int, limit: int | None) -> list[dict[str, Any]]:
    """All records that are asked for, page by page."""
    found: list[dict[str, Any]] = []
    while limit is None or len(found) < limit:
        size = PAGE if limit is None else min(PAGE, limit - len(found))
        page = api.get(at("rollouts", rollout, "history"), after=after, limit=size)
        found += page
        if len(page) < size:
            break
        after = page[-1]["seq"]
    return found


def _row(record: dict[str, Any]) -> tuple[object, ...]:
    return record["seq"], moment(record["at"]), record["by"], record["type"], detail(record)


def detail(record: dict[str, Any]) -> str:
    """What one event says beside when, who and what it was."""
    parts = [record["reason"]] if record.get("reason") else []
    shown = {k: v for k, v in record.items() if k not in HIDDEN and v not in (None, "", [], {})}
    parts += [f"{name} {value}" for name, value in shown.items() if not isinstance(value, list)]
    if rulings := record.get("rulings"):
        parts.append(", ".join(f"{r['name']} {r['verdict']}" for r in rulings))
    return "; ".join(parts)


HIDDEN = frozenset(
    {
        *("seq", "hash", "at", "by", "type", "reason", "rulings", "ruling"),
        *("playbook", "playbook_hash", "salt", "statistics_salt", "detail", "quiet_until"),
    }
)
"""Fields of events that are too long for a line, or have a column of their own; JSON has them."""


# --- audit

Directory = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        metavar="DATA_DIR",
        exists=True,
        file_okay=False,
        help="Offline: Molt's data directory, instead of a running Molt.",
    ),
]


def export(
    start: Annotated[
        datetime | None,
        typer.Option(parser=instant, metavar="TIME", help="From; default: a day before the end."),
    ] = None,
    end: Annotated[
        datetime | None, typer.Option(parser=instant, metavar="TIME", help="Until; default: now.")
    ] = None,
    form: Annotated[
        Literal["jsonl", "csv"], typer.Option("--format", help="JSON Lines or CSV.")
    ] = "jsonl",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="A file; default: stdout.")
    ] = None,
    directory: Directory = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Export the audit log of a time range, in order of time.

    A file appears only when it is complete. --json is --format jsonl.
    """
    form = "jsonl" if as_json else form
    if directory is not None:
        with _target(output) as out:
            _copy(_offline(directory, start, end, form), out)
        return
    query = {
        "start": start.isoformat() if start else None,
        "end": end.isoformat() if end else None,
        "format": form,
    }
    with connect(url, token).download("/audit/export", **query) as pieces, _target(output) as out:
        _copy(pieces, out)


def _copy(pieces: Iterable[bytes], out: BinaryIO) -> None:
    out.writelines(pieces)


@contextmanager
def _target(output: Path | None) -> Iterator[BinaryIO]:
    """Where to write; a named file takes its place only when everything is in it."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = output.with_name(f"{output.name}.part")
    try:
        with part.open("wb") as out:
            yield out
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def verify(
    directory: Directory = None, url: Url = None, token: Token = None, as_json: Json = False
) -> None:
    """Prove that the audit log is whole.

    Exit code 0 only when every chain holds and reaches the head that is kept apart from it; 1 when
    a record was changed, dropped, inserted or reordered, or a tail is missing: the first bad one is
    named.
    """
    if directory is not None:
        report = _verify_offline(directory)
    else:
        report = connect(url, token).get("/audit/verify")
    if as_json:
        print_json(report)
    elif report["ok"]:
        typer.echo(f"the whole chain holds: {report['records']} records")
    if not report["ok"]:
        raise NotHeld(f"the audit log is not whole: {_bad(report['first_bad'])}")


def _bad(first: dict[str, Any] | None) -> str:
    """The first bad record in a line."""
    if first is None:
        return "see --json"
    return ", ".join(f"{name} {value}" for name, value in first.items() if value is not None)
