"""Questions before something that cannot be taken back."""

import sys

import typer

from molt.core.errors import OperatorError


def confirm(question: str, yes: bool) -> None:
    """Go on only when a person says so, or said `--yes`; raises `typer.Abort` on no.

    Without a terminal there is nobody to ask: refused.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise OperatorError(f"{question} There is no terminal to ask in; say --yes to do it")
    typer.confirm(question, abort=True, err=True)
