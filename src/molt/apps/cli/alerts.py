"""`molt alerts`, `molt ack`, `molt runbook`, `molt dashboards`: on-call, and the tools it uses."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from molt.apps.cli import configured
from molt.apps.cli.client import DEFAULT_URL, at, connect
from molt.apps.cli.exits import NOT_HELD
from molt.apps.cli.options import Json, Token, Url
from molt.apps.cli.show import moment, print_json, print_table, printable
from molt.core.errors import OperatorError


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command("list")(list_alerts)
    group.command()(rules)
    group.command()(alertmanager)
    app.add_typer(group, name="alerts", help="List alerts; write rules for Prometheus.")
    boards = typer.Typer(no_args_is_help=True)
    boards.callback()(_boards)
    boards.command()(grafana)
    app.add_typer(boards, name="dashboards", help="Write dashboards for other tools.")
    app.command()(ack)
    app.command()(runbook)


def list_alerts(
    only_open: Annotated[
        bool, typer.Option("--open", help="Only those that wait for somebody to be on them.")
    ] = False,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List the latest alerts: whether they arrived, and who is on them."""
    with connect(url, token) as api:
        found = [a for a in api.get("/alerts") if _open(a) or not only_open]
    if as_json:
        print_json(found)
        return
    if not found:
        typer.echo("no alerts")
        return
    print_table(
        ("id", "last (UTC)", "times", "severity", "state", "who is on it", "what"),
        [
            (
                a["id"],
                moment(a["last_at"]),
                str(a["count"]),
                a["severity"],
                a["state"],
                a["acked_by"] or ("nobody" if _open(a) else "-"),
                a["title"],
            )
            for a in printable(found)
        ],
    )


def _open(alert: dict[str, Any]) -> bool:
    """Whether somebody should be on it and nobody is; news that only informs waits for nobody."""
    return not alert["acked_by"] and alert["severity"] != "info"


def _gravity(alert: dict[str, Any]) -> tuple[bool, bool]:
    """What one is paged for comes first: critical ones, then incidents; of the same kind the latest."""
    return alert["severity"] != "critical", not alert["page"].startswith("incidents/")


def ack(
    alert: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Default: the gravest that is open.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", "-m", help="What you are doing.")] = "",
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Acknowledge an alert: you are on it."""
    with connect(url, token) as api:
        open_ones = [a for a in api.get("/alerts") if _open(a)]
        if alert is None and not open_ones:
            raise OperatorError("No alert is open")
        alert = alert or min(open_ones, key=_gravity)["id"]
        found = api.post(at("alerts", str(alert), "ack"), {"reason": reason})
    more = len([a for a in open_ones if a["id"] != alert])
    if as_json:
        print_json(found)
    else:
        shown = printable(found)
        typer.echo(f"{shown['id']}: {shown['acked_by']} is on it: {shown['title']}")
        if more:
            typer.echo(f"open still: {more}; molt alerts list --open")


def _shipped(name: str) -> str:
    return (files("molt.apps.cli") / "templates" / name).read_text("utf-8")


def rules(url: Url = None) -> None:
    """Write alerting rules for Prometheus to standard output; their links lead to the console."""
    base = (url or configured.public_url() or DEFAULT_URL).rstrip("/")
    typer.echo(_shipped("prometheus-rules.yaml").replace("MOLT_URL", base), nl=False)


def alertmanager() -> None:
    """Write an example configuration of Alertmanager to standard output."""
    typer.echo(_shipped("alertmanager.yaml"), nl=False)


def _boards() -> None:
    """Write dashboards for other tools."""


def grafana() -> None:
    """Write a Grafana dashboard (JSON) to standard output."""
    typer.echo(_shipped("grafana.json"), nl=False)


def runbook(
    playbook: Annotated[
        str | None, typer.Argument(metavar="[PLAYBOOK]", help="A shipped name or a file.")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option("--check", help="Say whether this runbook is current for the playbook."),
    ] = None,
) -> None:
    """Write or check the on-call runbook of a playbook, with the budget of ./molt.yaml."""
    from molt.adapters.playbooks import load_playbook
    from molt.core import runbook as core

    plan = configured.with_own_money(load_playbook(playbook or configured.playbook()))
    if check is None:
        typer.echo(core.runbook(plan), nl=False)
        return
    wrong = core.problems(check.read_text("utf-8"), plan)
    for problem in wrong:
        typer.echo(f"{check}: {problem}")
    if wrong:
        raise typer.Exit(NOT_HELD)
    typer.echo(f"{check}: current for {plan.name}, {plan.hash()[:12]}")
