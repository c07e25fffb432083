"""Whoever ends the demo or Molt ends every process that it started."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from .conftest import Molt, until


def descendants(pid: int) -> list[psutil.Process]:
    """All processes that a process has started, and those that they have."""
    return psutil.Process(pid).children(recursive=True)


def alive(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended and was not waited for does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_everything_that_the_demo_started_ends_with_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("MOLT")}
    demo = subprocess.Popen(
        [sys.executable, "-m", "molt.apps.cli", "demo", "--port", "0", "--data", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environ,
    )
    assert demo.stdout is not None
    with demo.stdout:
        line = until(demo.stdout.readline, 60)
        while "control API" not in line:
            line = demo.stdout.readline()
            assert line, "the demo ended by itself"
        started = descendants(demo.pid)
        assert len(started) >= 6  # the bar's three, and Molt's supervisor, control, gateway, egress
        demo.send_signal(number)
        said = demo.stdout.read()
    assert demo.wait(30) == (-number if number == signal.SIGKILL else 128 + number)
    until(lambda: not any(map(alive, started)), what="all children are gone")
    assert "Traceback" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_of_molt_outlives_its_supervisor(tmp_path: Path, number: signal.Signals) -> None:
    molt = Molt(tmp_path, "http://127.0.0.1:9", "http://127.0.0.1:9")
    started = descendants(molt.serve.process.pid)
    assert len(started) >= 2
    molt.client.close()
    molt.serve.process.send_signal(number)
    code = molt.serve.process.wait(30)
    assert code == (-number if number == signal.SIGKILL else 0)
    until(lambda: not any(map(alive, started)), what="all children are gone")
    molt.serve.stop()
