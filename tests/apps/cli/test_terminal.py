"""`molt` in a real terminal: questions, and the live screen."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.apps.cli.conftest import TOKENS, Molt, Server, until


class Terminal:
    """A process whose terminal this is."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int) -> None:
        self.process = process
        self._fd = fd
        self._seen = b""

    @property
    def seen(self) -> str:
        """Everything it has shown so far, without control sequences."""
        while select.select([self._fd], [], [], 0)[0]:
            try:
                self._seen += os.read(self._fd, 65536)
            except OSError:
                break  # the other side is closed
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self._seen.decode()).replace("\r", "")

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def shows(self, text: str) -> None:
        until(lambda: text in self.seen)

    def ended(self) -> int:
        """The exit code, once it has ended."""
        deadline = time.monotonic() + 20
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.seen
            _ = self.seen  # a full terminal would hold it up
            time.sleep(0.005)
        return self.process.returncode


@contextmanager
def terminal(molt: Molt, *args: str, columns: int = 80, lines: int = 30) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environ = {k: v for k, v in molt.environ.items() if v is not None}
    process = subprocess.Popen(
        [sys.executable, "-m", "molt.apps.cli", *args],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, **environ, "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)


def test_a_rollback_is_asked_for_and_done_on_yes(started: Molt):
    with terminal(started, "rollback", "-m", "guests complain") as screen:
        screen.shows("Roll back tiny to 0% now? [y/N]")
        screen.type("y\n")
        assert screen.ended() == 0
        assert "tiny: rolled back at 0%" in screen.seen
    assert started.json("status")["phase"] == "rolled_back"


def test_anything_but_yes_does_nothing_and_ends_with_1(started: Molt):
    for keys in ("\n", "n\n"):
        with terminal(started, "rollback") as screen:
            screen.shows("[y/N]")
            screen.type(keys)
            assert screen.ended() == 1
            assert "nothing was done" in screen.seen
    assert started.json("status")["phase"] == "canary"


def test_an_abort_says_that_it_is_for_good(started: Molt):
    with terminal(started, "abort", "-m", "other plans") as screen:
        screen.shows("End tiny for good, with all traffic on control? [y/N]")
        screen.type("y\n")
        assert screen.ended() == 0
    assert started.json("status")["phase"] == "aborted"


def test_status_draws_the_screen_once(started: Molt):
    with terminal(started, "status", columns=120, lines=40) as screen:
        assert screen.ended() == 0
        assert "canary [10%]  progressive 50  complete" in screen.seen
        assert "wait approval" in screen.seen


def test_status_watch_follows_the_rollout_until_ctrl_c(started: Molt, server: Server):
    with terminal(started, "status", "--watch", "--interval", "0.1") as screen:
        screen.shows("canary [10%]")
        server.later(seconds=2)
        assert started("approve", MOLT_TOKEN=TOKENS["approver"]).code == 0
        server.later(seconds=1)
        screen.shows("progressive [50%]")
        os.killpg(screen.process.pid, signal.SIGINT)
        assert screen.ended() == 130
        assert "Traceback" not in screen.seen


def test_status_watch_keeps_the_last_state_while_molt_is_away(started: Molt, server: Server):
    with terminal(started, "status", "--watch", "--interval", "0.1") as screen:
        screen.shows("canary [10%]")
        server.away()
        screen.shows("LAST KNOWN STATE. Molt cannot be reached")
        assert screen.process.poll() is None


def test_tables_fold_into_the_width_of_the_terminal(started: Molt):
    started("note", "word " * 40)
    with terminal(started, "history") as screen:
        assert screen.ended() == 0
        assert screen.seen.count("word") == 40
        assert max(map(len, screen.seen.splitlines())) <= 80


def test_what_others_wrote_cannot_steer_the_terminal(started: Molt):
    started("pause", "-m", "calm\x1b]0;owned\x07 down")
    for command in (("status",), ("history",)):
        with terminal(started, *command, columns=120, lines=40) as screen:
            assert screen.ended() == 0
            assert "calm\ufffd]0;owned\ufffd down" in screen.seen


@contextmanager
def piped(molt: Molt, *args: str) -> Iterator[subprocess.Popen[str]]:
    environ = {k: v for k, v in molt.environ.items() if v is not None}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "molt.apps.cli", *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_status_watch_in_a_pipe_is_a_line_for_each_change(started: Molt, server: Server):
    with piped(started, "status", "--watch", "--interval", "0.1") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("tiny: canary at 10%; gates: hold ")
        assert started("pause", "-m", "lunch").code == 0
        lines = iter(process.stdout.readline, "")
        assert any("paused (lunch)" in line for line in lines)


def test_status_watch_with_json_is_an_object_a_look(started: Molt):
    with piped(started, "status", "--watch", "--interval", "0.1", "--json") as process:
        assert process.stdout is not None
        for _ in range(3):
            assert json.loads(process.stdout.readline())["rollout"] == "tiny"
