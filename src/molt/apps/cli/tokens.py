"""`molt token`: who may call the control API. Works on the data directory, not over the API."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from molt.apps.cli.asking import confirm
from molt.apps.cli.configured import data_dir
from molt.apps.cli.data_dir import with_store
from molt.apps.cli.local_record import local_person, put_on_record
from molt.apps.cli.options import Json, Reason, Yes
from molt.apps.cli.show import moment, print_json, print_table
from molt.core.errors import OperatorError


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True)
    group.command()(add)
    group.command("list")(list_tokens)
    group.command()(revoke)
    app.add_typer(group, name="token", help="Add, list and revoke API tokens.")


Name = Annotated[str, typer.Argument(help="Whose it is; stands in the log beside what they do.")]

Directory = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        envvar="MOLT_DATA",
        metavar="DATA_DIR",
        help="Molt's data directory; default: that of ./molt.yaml, else ./molt-data.",
    ),
]


def _lifetime(text: str) -> timedelta:
    from molt.core.quantities import parse_duration

    try:
        found = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}; {error}") from None
    assert isinstance(found, timedelta)
    return found


def add(
    name: Name,
    role: Annotated[
        Literal["viewer", "operator", "approver", "admin"],
        typer.Option(help="What it may do; each role may do all that the ones before it may."),
    ] = "viewer",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="Narrow it to read, audit, report, operate, approve or admin; may be repeated. "
            "Default: all that its role may do.",
        ),
    ] = None,
    expires: Annotated[
        timedelta | None,
        typer.Option(
            "--expires", parser=_lifetime, metavar="DURATION", help="Such as 90d; default: never."
        ),
    ] = None,
    reason: Reason = "",
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Make an API token and print it, this once.

    Only its hash is kept. A running Molt takes it at once.
    """
    from molt.adapters.sql.values import ApiToken
    from molt.apps.access.rules import SCOPES
    from molt.apps.api.auth import new_token, token_hash

    scopes = tuple(dict.fromkeys(scope or ()))
    if unknown := [s for s in scopes if s not in SCOPES]:
        raise typer.BadParameter(f"--scope {unknown[0]}: expected one of {', '.join(SCOPES)}")
    now = datetime.now(UTC)
    token = new_token()
    until = now + expires if expires else None
    person, folder = local_person(), directory or data_dir()
    kept = ApiToken(name, role, token_hash(token), now, until, scopes=scopes, created_by=person)
    with_store(folder, lambda store: store.tokens.add(kept))
    given = {
        "name": name,
        "role": role,
        "scopes": ", ".join(scopes),
        "expires_at": str(until or ""),
    }
    put_on_record(folder, "add_token", person, reason, given)
    if as_json:
        shown = {"name": name, "role": role, "scopes": scopes, "expires_at": until}
        print_json(shown | {"token": token})
        return
    typer.echo(token)
    typer.echo(f"{name} is {role}. The token is not shown again; only its hash is kept", err=True)


def list_tokens(directory: Directory = None, as_json: Json = False) -> None:
    """List the tokens, by name: never the tokens themselves."""
    from molt.apps.access.shown import shown_token

    now = datetime.now(UTC)
    kept = with_store(directory or data_dir(), lambda store: store.tokens.list())
    rows = [shown_token(token, now) for token in kept]
    if as_json:
        print_json(rows)
        return
    columns = ("name", "role", "for", "state", "created (UTC)", "expires (UTC)", "last used (UTC)")
    print_table(columns, [_row(r) for r in rows])


def _row(token: dict[str, Any]) -> tuple[str, ...]:
    scopes = ", ".join(token["scopes"]) or "all"
    times = [moment(token[key]) for key in ("created_at", "expires_at", "last_used_at")]
    return (token["name"], token["role"], scopes, token["state"], *times)


def revoke(
    name: Name,
    reason: Reason = "",
    directory: Directory = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """End a token now."""
    folder = directory or data_dir()
    known = with_store(folder, lambda store: store.tokens.list())
    live = [t.name for t in known if t.live(datetime.now(UTC))]
    if name not in live:
        raise OperatorError(f"No live token {name!r}; known: {', '.join(live) or 'none'}")
    confirm(f"Revoke the token of {name} now?", yes)
    with_store(folder, lambda store: store.tokens.revoke(name))
    put_on_record(folder, "revoke_token", local_person(), reason, {"name": name})
    if as_json:
        print_json({"name": name, "revoked": True})
    else:
        typer.echo(f"{name}: revoked")
