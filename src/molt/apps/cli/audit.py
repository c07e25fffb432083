"""`molt audit`: the record of every request and decision, and the proof that it is whole."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import typer

from molt.apps.cli.client import connect
from molt.apps.cli.data_dir import AUDIT, part, with_store
from molt.apps.cli.exits import NotHeld
from molt.apps.cli.options import Json, Token, Url, instant
from molt.apps.cli.show import print_json


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True)
    for command in (export, verify):
        group.command()(command)
    app.add_typer(group, name="audit", help="Export and verify the audit log.")


Format = Literal["jsonl", "csv", "parquet"]

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
        Format,
        typer.Option("--format", help="JSON Lines, CSV, or Parquet (needs DuckDB)."),
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
            out.writelines(_offline(directory, start, end, form))
        return
    query = {
        "start": start.isoformat() if start else None,
        "end": end.isoformat() if end else None,
        "format": form,
    }
    with (
        connect(url, token) as api,
        api.download("/audit/export", **query) as pieces,
        _target(output) as out,
    ):
        out.writelines(pieces)


def _offline(
    directory: Path, start: datetime | None, end: datetime | None, form: Format
) -> Iterator[bytes]:
    from molt.adapters.audit_files import export_lines
    from molt.adapters.audit_parquet import parquet

    until = end or datetime.now(UTC)
    since = start or until - timedelta(days=1)
    if form == "parquet":
        return parquet(part(directory, AUDIT), since, until)
    return export_lines(part(directory, AUDIT), since, until, form)


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
    named. Where retention (`audit.keep`) removed older records, it says from which one on the log
    was kept.
    """
    if directory is not None:
        report = _verify_offline(directory)
    else:
        with connect(url, token) as api:
            report = api.get("/audit/verify")
    if as_json:
        print_json(report)
    elif report["ok"]:
        typer.echo(f"the whole chain holds: {report['records']} records")
    if not as_json:
        for start in report["starts"]:
            typer.echo(start["text"])
    for writer in report["unanchored"]:
        typer.echo(f"molt: no head is kept of {writer}: its tail cannot be proven", err=True)
    if not report["ok"]:
        raise NotHeld(f"the audit log is not whole: {report['first_bad']['text']}")


def _verify_offline(directory: Path) -> dict[str, Any]:
    from molt.adapters.audit_files import prove

    folder = part(directory, AUDIT)
    return with_store(directory, lambda store: prove(folder, store)).as_data()
