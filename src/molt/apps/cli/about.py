"""`molt version`."""

import platform

import typer

from molt import __version__
from molt.apps.cli.options import Json
from molt.apps.cli.show import print_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(version)


def version(as_json: Json = False) -> None:
    """Show the version."""
    if as_json:
        print_json({"version": __version__, "python": platform.python_version()})
    else:
        typer.echo(f"molt {__version__}")
