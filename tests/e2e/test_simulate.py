"""`molt simulate` as a process of its own: Ctrl-C keeps what is done, and runs are byte-equal."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.apps.simulate.worlds import PLAN

SEEDS = 60
WORLD = """
title: A small bar
days: 0.5
users: {count: 3000}
arrivals: {requests_per_day: 60000}
operators: {approve_after: 20m}
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "world.yaml").write_text(WORLD)
    world, plan = str(tmp_path / "world.yaml"), str(tmp_path / "plan.yaml")
    return [sys.executable, "-m", "molt.apps.cli", "simulate", world, "--playbook", plan, "--json"]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_keeps_the_seeds_that_are_done(command: list[str], jobs: str) -> None:
    screen, theirs = pty.openpty()
    # Whoever runs tests in the background has them ignore SIGINT, and children inherit that.
    process = subprocess.Popen(
        [*command, "--seeds", str(SEEDS), "--jobs", jobs],
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    os.close(theirs)
    try:
        shown = _read_until(screen, b"1/60")
        os.killpg(process.pid, signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
        shown += _rest(screen)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(screen)
    found = json.loads(printed)
    assert 1 <= found["seeds"] < SEEDS
    assert [run["seed"] for run in found["runs"]] == sorted(run["seed"] for run in found["runs"])
    assert found["seeds"] == found["promoted"] + found["rolled_back"] + found["inconclusive"]
    assert process.returncode == 1
    assert f"interrupted: {found['seeds']} of 60 seeds are done".encode() in shown
    assert b"Traceback" not in shown


def test_two_processes_print_the_same_bytes(command: list[str]) -> None:
    runs = [
        subprocess.run([*command, "--seeds", "2", "--jobs", jobs], capture_output=True, check=True)
        for jobs in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout
    assert json.loads(runs[0].stdout)["seeds"] == 2


def _read_until(screen: int, text: bytes) -> bytes:
    shown, deadline = b"", time.monotonic() + 60
    while text not in shown:
        assert time.monotonic() < deadline, shown
        shown += os.read(screen, 4096)
    return shown


def _rest(screen: int) -> bytes:
    """What else was shown; the terminal ends with an error on Linux."""
    shown = b""
    try:
        while more := os.read(screen, 4096):
            shown += more
    except OSError:
        pass
    return shown
