"""`molt history`: the facts behind a rollout, in order."""

from typing import Annotated, Any

import typer

from molt.apps.cli.client import Api, at, connect, pick
from molt.apps.cli.options import Json, Rollout, Token, Url
from molt.apps.cli.show import moment, print_json, print_table

PAGE = 1000


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(history)


def history(
    rollout: Rollout = None,
    after: Annotated[int, typer.Option(min=0, help="Only records behind this number.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show the event log of a rollout.

    Every fact with its number, time, author and reason. --json adds the chained hash.
    """
    with connect(url, token) as api:
        records = _records(api, pick(api, rollout), after, limit)
    if as_json:
        print_json(records)
    else:
        columns = ("seq", "time (UTC)", "who", "what", "detail")
        print_table(columns, [_row(record) for record in records])


def _records(api: Api, rollout: str, after: int, limit: int | None) -> list[dict[str, Any]]:
    """All records that are asked for, page by page."""
    found: list[dict[str, Any]] = []
    while limit is None or len(found) < limit:
        size = PAGE if limit is None else min(PAGE, limit - len(found))
        page = api.get(at("rollouts", rollout, "history"), after=after, limit=size)
        found += page
        if len(page) < size:
            break
        after = page[-1]["seq"]
    return found


def _row(record: dict[str, Any]) -> tuple[object, ...]:
    return record["seq"], moment(record["at"]), record["by"], record["type"], detail(record)


def detail(record: dict[str, Any]) -> str:
    """What one event says beside when, who and what it was."""
    parts = [record["reason"]] if record.get("reason") else []
    shown = {k: v for k, v in record.items() if k not in HIDDEN and v not in (None, "", [], {})}
    parts += [f"{name} {_short(value)}" for name, value in shown.items()]
    if rulings := record.get("rulings"):
        parts.append(", ".join(f"{r['name']} {r['verdict']}" for r in rulings))
    return "; ".join(parts)


def _short(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


HIDDEN = frozenset(
    {
        *("seq", "hash", "at", "by", "type", "reason", "rulings", "ruling"),
        *("playbook", "playbook_hash", "salt", "statistics_salt", "detail", "quiet_until"),
    }
)
"""Fields of events that are too long for a line, or have a column of their own; JSON has them."""
