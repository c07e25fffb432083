"""`molt outcome`: what became of requests, one event or a whole file of them."""

import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

import typer

from molt.apps.cli.client import Api, connect
from molt.apps.cli.exits import NotHeld, Unreachable
from molt.apps.cli.options import Json, Rollout, Token, Url, instant
from molt.apps.cli.show import print_json
from molt.apps.outcome_rows import Row, csv_rows
from molt.core.errors import OperatorError

AT_ONCE: Final = 1000
WAITS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between attempts while Molt cannot be reached."""
TOLD: Final = 20
"""Rejected lines that are printed one by one."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(outcome)


def outcome(
    kind: Annotated[
        str | None, typer.Argument(help="What happened, such as order_completed.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", "-s", help="The user or session id.")
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            help="Many at once, `-` for standard input: a header with id, subject, kind, at, and if "
            "needed value, agent, rollout.",
        ),
    ] = None,
    outcome_id: Annotated[
        str | None,
        typer.Option("--id", help="Unique id; a repeated one counts once. Default: random."),
    ] = None,
    value: Annotated[
        float | None,
        typer.Option(min=-1e15, max=1e15, help="Its amount, for metrics that sum values."),
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option(parser=instant, metavar="TIME", help="When, RFC 3339; default: now."),
    ] = None,
    agent: Annotated[
        str | None, typer.Option(help="Agent type; says which rollout, when several run.")
    ] = None,
    rollout: Rollout = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Report business events of subjects.

    It counts for the arm that the subject was on at that time, up to seven days late. With --csv a
    line that cannot count is named and the others count; sending a file again counts nothing twice.
    Exit code 1 when something was rejected, is too old, or lacks the value that a metric sums.
    """
    if csv is not None:
        if kind or subject or outcome_id or value is not None or at:
            raise typer.BadParameter("--csv FILE goes with --agent and --rollout only")
        with connect(url, token) as api:
            _send_file(api, csv, {"agent": agent, "rollout": rollout}, as_json)
        return
    if not kind or not subject:
        raise typer.BadParameter("give KIND and --subject, or --csv FILE")
    body: dict[str, Any] = {
        "id": outcome_id or f"cli-{secrets.token_hex(12)}",
        "subject": subject,
        "kind": kind,
        "at": at.isoformat() if at else None,
        "value": value,
        "agent": agent,
        "rollout": rollout,
    }
    with connect(url, token) as api:
        _send_one(api, body, as_json)


def _send_one(api: Api, body: dict[str, Any], as_json: bool) -> None:
    counts = api.post("/outcomes", body)
    if as_json:
        print_json({"id": body["id"], **counts})
    else:
        typer.echo(f"{body['kind']} {body['id']}: {_fate(counts)}")
    for name, why in _WHY_NOT.items():
        if counts[name]:
            raise NotHeld(f"{body['kind']} of {body['subject']} was not counted: {why}")


_WHY_NOT: Final = {
    "too_late": "not within the last seven days",
    "without_value": "a metric sums its values, give --value",
}


def _fate(counts: dict[str, int]) -> str:
    if counts["repeated"]:
        return "known already, counted once"
    if counts["too_late"] or counts["without_value"]:
        return "not counted"
    seen = "" if not counts["unknown_subjects"] else "; no gateway has seen this subject yet"
    used = "" if not counts["unused"] else "; nothing in the plan counts outcomes of this kind"
    return f"accepted{seen}{used}"


# --- files


class _Totals:
    """What became of the lines so far."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(
            (
                *("lines", "accepted", "repeated", "too_late", "without_value"),
                *("unknown_subjects", "unused", "rejected"),
            ),
            0,
        )
        self.errors: list[dict[str, Any]] = []

    def add(self, rows: Sequence[Row], answer: dict[str, Any]) -> None:
        """Count one batch; its errors name places in it, which are lines of the file here."""
        self.counts["lines"] += len(rows)
        for name in self.counts:
            self.counts[name] += answer.get(name, 0)
        told = [{"line": rows[e["line"] - 1].line, "error": e["error"]} for e in answer["errors"]]
        for error in told[: max(0, TOLD - len(self.errors))]:
            typer.echo(f"line {error['line']}: {error['error']}", err=True)
        self.errors += told


def _send_file(api: Api, path: Path, common: dict[str, Any], as_json: bool) -> None:
    totals = _Totals()
    with _opened(path) as file, _progress(path, as_json) as advance:
        lines = csv_rows(file)
        while rows := list(islice(lines, AT_ONCE)):
            fields = [_with(row.fields, common) for row in rows]
            totals.add(rows, _patiently(api, fields, rows[0].line))
            advance(totals.counts["lines"], file)
    counts = totals.counts
    if as_json:
        print_json({**counts, "errors": totals.errors})
    else:
        typer.echo(_told(counts))
    if wrong := [f"{counts[name]} {what}" for name, what in _NOT_COUNTED.items() if counts[name]]:
        mend = counts["rejected"] or counts["without_value"]
        again = ". Mend them and send the file again: nothing counts twice" if mend else ""
        raise NotHeld(f"not counted: {', '.join(wrong)}; all other lines count{again}")


_NOT_COUNTED: Final = {
    "rejected": "rejected",
    "too_late": "not within the last seven days",
    "without_value": "without the value that a metric sums",
}


def _told(counts: dict[str, int]) -> str:
    """What became of the lines; what did not happen is left out."""
    parts = {"accepted": "accepted", "repeated": "known already", **_NOT_COUNTED}
    of = {
        "unknown_subjects": "of subjects that no gateway has seen",
        "unused": "of a kind that nothing in the plan counts",
    }
    fates = [f"{counts[k]:,} {what}" for k, what in parts.items() if counts[k] or k == "accepted"]
    marks = [f"{counts[name]:,} {what}" for name, what in of.items() if counts[name]]
    more = f"; of the accepted {', '.join(marks)}" if marks else ""
    return f"{counts['lines']:,} lines: {', '.join(fates)}{more}"


def _with(fields: Any, common: dict[str, Any]) -> Any:
    """The row's fields; options fill in what it does not say."""
    given = {name: value for name, value in common.items() if value is not None}
    return {**given, **fields} if isinstance(fields, dict) else fields


def _patiently(api: Api, fields: Sequence[Any], line: int) -> dict[str, Any]:
    """The answer to one batch, asked for again while Molt cannot be reached."""
    for wait in WAITS:
        try:
            return api.post("/outcomes/batch", list(fields))
        except Unreachable as error:
            typer.echo(f"line {line}: {error}; trying again in {wait:g} s", err=True)
            time.sleep(wait)
    try:
        return api.post("/outcomes/batch", list(fields))
    except Unreachable as error:
        raise Unreachable(
            f"{error}. All lines before {line} are in; run the same command again to send the rest"
        ) from None


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    if str(path) == "-":
        yield sys.stdin
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError as error:
        raise OperatorError(f"{path}: not UTF-8: {error}") from None
    except OperatorError as error:
        raise OperatorError(f"{path}: {error}") from None


def _progress(path: Path, as_json: bool) -> Any:
    """A bar on a terminal, by bytes read; nothing elsewhere. Gives what to call after each batch."""
    if as_json or not sys.stderr.isatty():
        return nullcontext(lambda _lines, _file: None)
    return _bar(path.stat().st_size if str(path) != "-" else None)


@contextmanager
def _bar(size: int | None) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.fields[lines]:,} lines"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=size, lines=0)

        def advance(lines: int, file: TextIO) -> None:
            progress.update(task, completed=file.buffer.tell() if size else None, lines=lines)

        yield advance
