"""`molt incident`: what triggers opened, and what people found out about it."""

import sys
from typing import Annotated, Any

import typer

from molt.apps.cli.client import at, connect
from molt.apps.cli.options import Json, Token, Url
from molt.apps.cli.show import moment, print_json, print_table, printable


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True)
    group.command("list")(list_incidents)
    for command in (show, note, close):
        group.command()(command)
    app.add_typer(group, name="incident", help="List, show, note and close incidents.")


Incident = Annotated[str, typer.Argument(metavar="ID", help="The incident's id.")]


def list_incidents(
    only_open: Annotated[
        bool, typer.Option("--open", help="Only those nobody has closed.")
    ] = False,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List incidents, oldest first."""
    with connect(url, token) as api:
        found = [i for i in api.get("/incidents") if i["open"] or not only_open]
    if as_json:
        print_json(found)
    elif not found:
        typer.echo("no incidents")
    else:
        columns = ("id", "rollout", "opened (UTC)", "state", "trigger", "action", "why")
        print_table(columns, [_row(i) for i in found])


def _row(incident: dict[str, Any]) -> tuple[object, ...]:
    return (
        incident["id"],
        incident["rollout"],
        moment(incident["opened_at"]),
        "open" if incident["open"] else "closed",
        incident["trigger"],
        incident["action"],
        incident["ruling"]["reason"],
    )


def show(incident: Incident, url: Url = None, token: Token = None, as_json: Json = False) -> None:
    """Show an incident: its timeline as Markdown, its evidence as it was.

    With --json its record: ruling, numbers, and how far the rollback procedure has come.
    """
    with connect(url, token) as api:
        if as_json:
            print_json(api.get(at("incidents", incident)))
            return
        page = printable(api.text(at("incidents", incident, "timeline")))
    if not sys.stdout.isatty():
        typer.echo(page)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(page))


def note(
    incident: Incident,
    text: Annotated[str, typer.Argument(help="What was seen or done.")],
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Add to an incident's timeline."""
    with connect(url, token) as api:
        found = api.post(at("incidents", incident, "notes"), {"text": text})
    if as_json:
        print_json(found)
    else:
        typer.echo(f"{incident}: noted")


def close(
    incident: Incident,
    cause: Annotated[str, typer.Option("--cause", help="What it was; goes on record.")],
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Close an incident with its cause."""
    with connect(url, token) as api:
        found = api.post(at("incidents", incident, "close"), {"cause": cause})
    if as_json:
        print_json(found)
    else:
        typer.echo(f"{incident}: closed")
