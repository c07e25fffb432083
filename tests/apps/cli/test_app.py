"""The root command: help, exit codes, and nothing heavy before it is needed."""

import json
import subprocess
import sys

import pytest
import typer
from tests.apps.cli.conftest import Molt, cpu_seconds

import molt
from molt.apps.cli.app import COMMANDS, Entry, Root, app
from molt.apps.cli.exits import MEANINGS, NotHeld, TokenRefused, Unreachable, exit_code
from molt.core.errors import (
    InternalError,
    OperatorError,
    Refused,
    StoreUnavailable,
    VersionConflict,
)

HEAVY = {"fastapi", "sqlalchemy", "scipy", "numpy", "httpx", "pydantic", "uvicorn", "ruamel"}


def test_help_lists_every_command_and_every_exit_code(offline: Molt):
    ran = offline("--help", COLUMNS="100")
    assert ran.code == 0
    for entry in COMMANDS:
        assert f" {entry.name} " in ran.out
        assert entry.help in ran.out
    for code, meaning in MEANINGS.items():
        assert f"{code}: {meaning[:20]}" in ran.out


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda e: e.name)
def test_every_command_in_the_help_is_there_with_the_same_line(entry: Entry):
    root = typer.main.get_command(app)
    assert isinstance(root, Root)
    _, command, _ = root.resolve_command(root.make_context("molt", ["version"]), [entry.name])
    assert command.name == entry.name
    if entry.module.startswith("molt.apps.cli."):
        assert command.help.splitlines()[0] == entry.help


def test_help_imports_nothing_heavy():
    command = [sys.executable, "-X", "importtime", "-m", "molt.apps.cli", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "typer" in imported
    assert not imported & HEAVY


def test_help_starts_in_well_below_a_third_of_a_second():
    seconds, _ = cpu_seconds([sys.executable, "-m", "molt.apps.cli", "--help"])
    assert seconds < 0.3


def test_version_is_said_in_three_ways(offline: Molt):
    assert offline("version").out == offline("--version").out == f"molt {molt.__version__}\n"
    assert offline.json("version")["version"] == molt.__version__


def test_no_command_is_answered_with_the_help(offline: Molt):
    for command in ((), ("playbook",), ("incident",)):
        ran = offline(*command)
        assert ran.code == 2
        assert "Usage: molt" in ran.out


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (("strat",), "'start'"),
        (("pause", "--resaon", "x"), "--reason"),
        (("playbook", "chekc"), "'check'"),
        (("note",), "Missing argument 'text'"),
        (("resume", "--phase", "later"), "progressive"),
    ],
)
def test_a_slip_is_one_line_with_a_hint(offline: Molt, command: tuple[str, ...], hint: str):
    ran = offline(*command)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert hint in ran.err
    assert "--help" in ran.err


def test_every_error_has_its_exit_code():
    codes = {
        NotHeld: 1,
        Refused: 1,
        OperatorError: 2,
        FileNotFoundError: 2,
        Unreachable: 3,
        TokenRefused: 3,
        StoreUnavailable: 3,
        VersionConflict: 4,
        InternalError: 1,
    }
    assert {kind: exit_code(kind("x")) for kind in codes} == codes


def test_a_file_that_cannot_be_written_is_named(started: Molt):
    ran = started("audit", "export", "-o", "nowhere/audit.jsonl")
    assert (ran.code, ran.out) == (2, "")
    assert "nowhere/audit.jsonl" in ran.err
    assert "Traceback" not in ran.err


def test_a_reader_that_leaves_early_is_no_error_on_screen():
    script = f"{sys.executable} -m molt.apps.cli assign --stdin --salt s --percent 5 | head -1"
    done = subprocess.run(
        ["bash", "-c", script], input=b"user\n" * 300_000, capture_output=True, check=True
    )
    assert done.stdout.startswith(b"user\t")
    assert done.stderr == b""


def test_json_is_the_only_thing_on_standard_output(started: Molt):
    for command in (("status",), ("flags",), ("history",), ("pause",), ("incident", "list")):
        json.loads(started(*command, "--json").out)
