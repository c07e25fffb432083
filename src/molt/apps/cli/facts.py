"""`molt flags`: what decides requests."""

import json
from typing import Any

import typer

from molt.apps.cli.client import connect
from molt.apps.cli.options import Json, Token, Url
from molt.apps.cli.show import moment, print_json, print_table

FULL = 100.0
"""Buckets in one percent."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(flags)


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
    if snapshot["rollouts"]:
        columns = (
            "rollout",
            "enabled",
            "shadow",
            "share",
            "mirror",
            "agents",
            "disabled",
            "limits",
        )
        print_table(columns, [_rollout(r) for r in snapshot["rollouts"]])
    else:
        typer.echo("no rollout is in force: everybody gets control")
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
        f"{name} ({_pairs(value)})" if isinstance(value, dict) else f"{name} {json.dumps(value)}"
        for name, value in values.items()
    )
