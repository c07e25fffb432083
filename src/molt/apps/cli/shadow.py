"""`molt shadow`: how the agent's answers compare with control's, worst first."""

import sys
from typing import Annotated, Any, Literal

import typer

from molt.apps.cli.client import at, connect, pick
from molt.apps.cli.options import Expected, Json, Reason, Rollout, Token, Url
from molt.apps.cli.show import moment, print_json, print_table, printable


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True)
    group.command("list")(list_pairs)
    for command in (show, summary, accept, flag):
        group.command()(command)
    app.add_typer(group, name="shadow", help="Compare the agent's answers in shadow.")


def list_pairs(
    kind: Annotated[
        str | None,
        typer.Option(help="Only with this kind of difference, or family, such as `prices`."),
    ] = None,
    verdict: Annotated[
        Literal["acceptable", "unacceptable", "pending"] | None, typer.Option(help="Only these.")
    ] = None,
    agent: Annotated[str | None, typer.Option(help="Only of this agent type.")] = None,
    newest: Annotated[bool, typer.Option(help="The newest first, not the worst.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 20,
    rollout: Rollout = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List pairs of answers, the worst first."""
    with connect(url, token) as api:
        found = api.get(
            at("rollouts", pick(api, rollout), "shadow"),
            kind=kind,
            verdict=verdict,
            agent=agent,
            sort="newest" if newest else "worst",
            limit=limit,
        )
    if as_json:
        print_json(found)
    elif not found["pairs"]:
        typer.echo("no pairs; they come while a rollout is in shadow")
    else:
        columns = ("pair", "time (UTC)", "agent", "verdict", "score", "asked", "what differs")
        print_table(columns, [_row(pair) for pair in printable(found["pairs"])])
        if found["total"] > len(found["pairs"]):
            typer.echo(f"{len(found['pairs'])} of {found['total']}; more with --limit")


def _row(pair: dict[str, Any]) -> tuple[object, ...]:
    return (
        pair["id"],
        moment(pair["at"]),
        pair["agent"],
        pair["verdict"],
        f"{pair['score']:.1f}",
        _cut(pair["asked"], 40),
        _cut("; ".join(pair["what"]), 90) or "nothing",
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def show(
    pair: Annotated[str, typer.Argument(metavar="PAIR", help="Its id, or how it ends.")],
    rollout: Rollout = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show one pair: what was asked, both answers, and each difference."""
    with connect(url, token) as api:
        found = api.get(at("rollouts", pick(api, rollout), "shadow", "pairs", pair))
    if as_json:
        print_json(found)
        return
    from molt.apps.cli.shadow_screen import pair_panel, print_screen

    print_screen(pair_panel(printable(found)))


def summary(
    rollout: Rollout = None, url: Url = None, token: Token = None, as_json: Json = False
) -> None:
    """Say how often the agent's answers are acceptable, and what differs, the worst first."""
    with connect(url, token) as api:
        found = api.get(at("rollouts", pick(api, rollout), "shadow", "summary"))
    _print_summary(found, as_json)


Kind = Annotated[
    str,
    typer.Argument(
        metavar="KIND", help="A kind, such as `call_extra:menu_search`, or a family: `wording`."
    ),
]


def accept(
    kind: Kind,
    reason: Reason,
    rollout: Rollout = None,
    expected: Expected = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Accept a kind of difference: it no longer makes a pair unacceptable."""
    _rule("accept", kind, reason, rollout, expected, url, token, as_json)


def flag(
    kind: Kind,
    reason: Reason,
    rollout: Rollout = None,
    expected: Expected = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Flag a kind of difference: it makes a pair unacceptable."""
    _rule("flag", kind, reason, rollout, expected, url, token, as_json)


def _rule(
    word: str,
    kind: str,
    reason: str,
    rollout: str | None,
    expected: int | None,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> None:
    body = {"kind": kind, "reason": reason, "expected_version": expected}
    with connect(url, token) as api:
        found = api.post(at("rollouts", pick(api, rollout), "shadow", word), body)
    _print_summary(found, as_json)


def _print_summary(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    from molt.apps.cli.shadow_screen import print_screen, summary_lines, summary_panel

    found = printable(found)
    if sys.stdout.isatty():
        print_screen(summary_panel(found))
    else:
        typer.echo("\n".join(summary_lines(found)))
