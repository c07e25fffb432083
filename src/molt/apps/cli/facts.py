"""`molt flags` and `molt outcome`: what decides requests, and what became of them."""

import secrets
from datetime import datetime
from typing import Annotated, Any

import typer

from molt.apps.cli.client import connect
from molt.apps.cli.exits import NotHeld
from molt.apps.cli.options import Json, Rollout, Token, Url, instant
from molt.apps.cli.show import moment, print_json, print_table

FULL = 100.0
"""Buckets in one percent."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (flags, outcome):
        app.command()(command)


def flags(url: Url = None, token: Token = None, as_json: Json = False) -> None:
    """Show the flags that decide every request.

    With the operator's bounds, within which the rollouts move, and the version that each gateway
    has applied.
    """
    with connect(url, token) as api:
        found = api.get("/flags")
    if as_json:
        print_json(found)
        return
    snapshot = found["flags"]
    if snapshot is None:
        typer.echo("no flags yet")
        return
    typer.echo(f"version {snapshot['version']}, made at {moment(snapshot['made_at'])} UTC")
    columns = ("rollout", "enabled", "shadow", "share", "mirror", "agents", "disabled", "limits")
    print_table(columns, [_rollout(r) for r in snapshot["rollouts"]])
    bounds = {k: v for k, v in found["bounds"].items() if v not in (None, {})}
    typer.echo(f"bounds: {_pairs(bounds) or 'none'}")
    if found["flags_file_problem"]:
        typer.echo(f"flags file: {found['flags_file_problem']} (the last good flags stay)")
    for name, applied in sorted(found["gateways"].items()):
        typer.echo(
            f"gateway {name}: version {applied['version']}, heard {moment(applied['heard_at'])} UTC"
        )
    if not found["gateways"]:
        typer.echo("gateways: none was heard of lately")


def _rollout(flags: dict[str, Any]) -> tuple[object, ...]:
    limits = flags["limits"]
    return (
        flags["rollout"],
        flags["enabled"],
        flags["shadow"],
        f"{flags['share'] / FULL:g}%",
        f"{flags['mirror'] / FULL:g}%",
        ", ".join(flags["agents"]),
        ", ".join(flags["disabled_agents"]) or None,
        f"{limits['max_tokens_per_request']} tokens, {limits['max_tool_calls_per_request']} calls, "
        f"{limits['rate_limit_per_minute']}/min",
    )


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} ({_pairs(value)})" if isinstance(value, dict) else f"{name} {value}"
        for name, value in values.items()
    )


def outcome(
    kind: Annotated[str, typer.Argument(help="What happened, such as order_completed.")],
    subject: Annotated[str, typer.Option("--subject", "-s", help="The user or session id.")],
    outcome_id: Annotated[
        str | None,
        typer.Option("--id", help="Unique id; a repeated one counts once. Default: random."),
    ] = None,
    value: Annotated[
        float | None, typer.Option(help="Its amount, for metrics that sum values.")
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
    """Report a business event of a subject.

    It counts for the arm that the subject was on at that time. Exit code 1 when it is too old to
    count.
    """
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
        counts = api.post("/outcomes", body)
    if as_json:
        print_json({"id": body["id"], **counts})
    else:
        typer.echo(f"{kind} {body['id']}: {_fate(counts)}")
    if counts["too_late"]:
        raise NotHeld(f"{kind} of {subject} was not counted: not within the last seven days")


def _fate(counts: dict[str, int]) -> str:
    if counts["repeated"]:
        return "known already, counted once"
    if counts["too_late"]:
        return "not counted"
    seen = "" if not counts["unknown_subjects"] else "; no gateway has seen this subject yet"
    return f"accepted{seen}"
