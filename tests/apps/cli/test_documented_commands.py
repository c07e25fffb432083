"""What pages for people tell them to type exists: commands and options."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from molt.apps.cli.app import app

DOCS = Path(__file__).parents[3] / "docs"
PAGES = sorted(p.name for p in DOCS.glob("*.md") if p.name != "cli.md")
ROOT: Any = get_command(app)


def wrong(line: str) -> str | None:
    """What of `molt ...` does not exist."""
    command: Any = ROOT
    words = line.split("#")[0].split()[1:]
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        found = command.commands.get(words[0])
        if found is None:
            return f"no command {words[0]!r}" if words[0].isalpha() else None
        command = found.load() if hasattr(found, "load") else found
        words.pop(0)
    known = {"--help", "-h", "--version"}
    for parameter in command.params:
        known |= {*parameter.opts, *parameter.secondary_opts}
    options = [re.split(r"[=`'\"),.;:\]]", w)[0].lstrip("[") for w in words]
    for option in options:
        if re.fullmatch(r"-{1,2}[a-z][a-z-]*", option) and option not in known:
            return f"{command.name} has no {option}"
    return None


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_only_commands_and_options_that_exist(page: str):
    text = (DOCS / page).read_text("utf-8")
    said = [*re.findall(r"`(molt [^`]+)`", text), *re.findall(r"^(molt .+)$", text, re.MULTILINE)]
    found = {line: problem for line in said if (problem := wrong(line))}
    assert not found


def test_an_option_that_does_not_exist_is_found():
    assert wrong("molt audit export --from T") == "export has no --from"
    assert wrong("molt fly away") == "no command 'fly'"
    assert wrong("molt retro --out retro.html  # a page") is None
