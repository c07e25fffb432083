"""`molt cleanup`: what can leave your code once the agent serves everybody."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molt.apps.cli.exits import NOT_HELD
from molt.apps.cli.options import Json
from molt.apps.cli.show import print_json, printable

if TYPE_CHECKING:
    from molt.apps.cleanup.files import Swept

MOST_NAMES = 3


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(cleanup)


def cleanup(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files or folders.")],
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="GLOB", help="Leave such paths out; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find flags and shadow-mode code that can go.

    Python is read by its syntax tree: a branch counts when its test hangs on a flag, also through a
    variable or function, in the same file or imported from one that is looked at. Other files are
    read line by line. Exit code 1 while there is anything left, for CI.
    """
    import msgspec

    from molt.apps.cleanup.files import sweep

    swept = sweep(paths, ignore or [])
    if as_json:
        print_json(msgspec.to_builtins(swept._asdict()))
    else:
        _print(swept)
    if swept.findings:
        raise typer.Exit(NOT_HELD)


def _print(swept: "Swept") -> None:
    from rich.console import Console
    from rich.text import Text

    from molt.apps.cleanup.findings import TITLES

    console = Console(highlight=False, soft_wrap=True)
    for kind, title in TITLES.items():
        group = [f for f in swept.findings if f.kind == kind]
        if not group:
            continue
        console.print(Text(f"{title} ({len(group)})", "bold"))
        for found in group:
            lines = f"{found.line}" + (f"-{found.last_line}" * (found.last_line > found.line))
            console.print(
                Text.assemble(
                    f"  {found.file}:{lines}  ", (printable(found.text.strip()[:100]), "dim")
                )
            )
        console.print()
    for file, why in swept.unread.items():
        console.print(f"not read: {file}: {why}")
    for file in swept.by_text:
        console.print(f"read line by line, since its syntax is not understood: {file}")
    left = len(swept.findings)
    names = sorted({name for found in swept.findings for name in found.names})
    shown = ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
    said = (
        f"{_counted(left, 'place')} left ({shown})"
        if left
        else "Nothing left of the flags or shadow mode"
    )
    console.print(f"{said}; {_counted(swept.files, 'file')} looked at.")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
