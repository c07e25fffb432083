"""Options that many commands share."""

from datetime import datetime
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="MOLT_URL",
        metavar="URL",
        help="Control API; default: that of ./molt.yaml, else http://127.0.0.1:8081.",
        rich_help_panel="Connection",
    ),
]

Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="MOLT_TOKEN",
        metavar="TOKEN",
        help="API token; printed at first start, more by `molt token add`.",
        rich_help_panel="Connection",
    ),
]

Rollout = Annotated[
    str | None,
    typer.Option(
        "--rollout", "-r", metavar="ID", help="Which rollout; not needed while there is only one."
    ),
]

Reason = Annotated[str, typer.Option("--reason", "-m", metavar="TEXT", help="Why; goes on record.")]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

Expected = Annotated[
    int | None,
    typer.Option(
        "--expected-version",
        metavar="N",
        help="The version you saw; refused with exit code 4 when the rollout has changed since.",
    ),
]


def instant(text: str) -> datetime:
    """An aware moment from what a person wrote; without a zone it is local time."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise typer.BadParameter(
            f"{text!r}; expected a time such as 2026-01-31T12:00:00Z (without a zone: local time)"
        ) from None
