"""`molt preflight`: the monitoring checklist, each item a check that runs."""

from typing import Annotated, Any

import typer

from molt.apps.cli import configured
from molt.apps.cli.client import connect
from molt.apps.cli.exits import NOT_HELD
from molt.apps.cli.options import Json, Token, Url
from molt.apps.cli.rollouts import plan
from molt.apps.cli.show import print_json, print_table, printable


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(preflight)


def preflight(
    playbook: Annotated[
        str | None,
        typer.Argument(
            metavar="[PLAYBOOK]",
            help="A shipped name or a file; default: that of ./molt.yaml, else wf-11.",
            show_default=False,
        ),
    ] = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Run the monitoring checklist of a playbook.

    `molt start` wants it passed. Sends a test notification to on-call. Exit code 1 when an item does not hold; what was found
    counts for 24 hours.
    """
    with connect(url, token) as api:
        found = api.post("/preflight", plan(playbook or configured.playbook()))
    if as_json:
        print_json(found)
    else:
        _show(printable(found), playbook)
    if not found["passed"]:
        raise typer.Exit(NOT_HELD)


def _show(found: dict[str, Any], asked: str | None) -> None:
    rows = [("ok" if i["passed"] else "NO", i["name"], i["proof"]) for i in found["items"]]
    print_table(("", "item", "what was seen"), rows)
    open_items = [i["name"] for i in found["items"] if not i["passed"]]
    if open_items:
        waive = " ".join(f"--waive {name}" for name in open_items)
        typer.echo(f"not passed; mend it, or: molt start {waive} --reason TEXT")
    else:
        typer.echo("passed: " + " ".join(["molt start", *([asked] if asked else [])]))
