"""`molt retro` and `molt tasks`: what a rollout was, and what is still to do."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from molt.apps.cli.client import at, connect, pick
from molt.apps.cli.options import Json, Reason, Rollout, Token, Url
from molt.apps.cli.predictions import saved_prediction
from molt.apps.cli.show import moment, print_json, print_table, printable


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(retro)
    group = typer.Typer(no_args_is_help=True)
    group.command("list")(list_tasks)
    group.command()(assign)
    group.command()(sign)
    app.add_typer(group, name="tasks", help="List, assign and sign what is to do afterwards.")


def retro(
    rollout: Rollout = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write it there; `.html` makes a page of its own."),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="Hold it against this prediction, which `molt plan --save` wrote.",
        ),
    ] = None,
    url: Url = None,
    token: Token = None,
) -> None:
    """Write the retrospective of a rollout from its log."""
    form = "html" if out and out.suffix in (".html", ".htm") else "markdown"
    body = {"plan": saved_prediction(plan)} if plan else None
    with connect(url, token) as api:
        text = api.text(at("rollouts", pick(api, rollout), "retro"), body, format=form)
    if out is None:
        typer.echo(text, nl=False)
        return
    out.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {out}", err=True)


Number = Annotated[int, typer.Argument(help="The task's number in the list.")]


def list_tasks(
    rollout: Rollout = None, url: Url = None, token: Token = None, as_json: Json = False
) -> None:
    """List what is to do after the rollout, with owner, due date and signature."""
    with connect(url, token) as api:
        _show(api.get(at("rollouts", pick(api, rollout), "tasks")), as_json)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r}; expected a day such as 2026-05-31") from None


def assign(
    number: Number,
    owner: Annotated[str, typer.Option("--owner", help="Who does it.")],
    due: Annotated[
        date | None,
        typer.Option("--due", parser=_day, metavar="DAY", help="Such as 2026-05-31."),
    ] = None,
    rollout: Rollout = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Give a task to somebody."""
    with connect(url, token) as api:
        path = at("rollouts", pick(api, rollout), "tasks", str(number), "assign")
        _show(api.post(path, {"owner": owner, "due": due.isoformat() if due else None}), as_json)


def sign(
    number: Number,
    reason: Reason = "",
    rollout: Rollout = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Sign that a task is done; the rollout is closed when all are."""
    with connect(url, token) as api:
        path = at("rollouts", pick(api, rollout), "tasks", str(number), "sign")
        _show(api.post(path, {"reason": reason}), as_json)


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rows = [
        (
            str(t["number"]),
            t["task"],
            t["owner"] or "nobody",
            f"{t['due'] or ''}{' (overdue)' if t['overdue'] else ''}",
            f"{t['signed_by']}, {moment(t['signed_at'])}" if t["signed_by"] else "",
        )
        for t in printable(found)["tasks"]
    ]
    print_table(("", "task", "owner", "due", "signed (UTC)"), rows)
    typer.echo("closed: everything is signed" if found["closed"] else "not closed yet")
