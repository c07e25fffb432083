"""A candidate that is down, hangs, resets, answers garbage: control answers where that is safe."""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.conftest import Molt, Process, quick, until

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def hang(connection: socket.socket) -> None:
    connection.recv(1)  # until Molt gives up and closes


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


def garbage(connection: socket.socket) -> None:
    connection.sendall(b"\x16\x03\x01 this is not HTTP\r\n\r\n")


def error_500(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops")


def break_off(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"content-length: 1000\r\n\r\n{")


@contextmanager
def candidate(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """A service that reads a request and then misbehaves."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    def handle(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                behave(connection)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


@contextmanager
def in_front_of(folder: Path, bar: dict[str, Process], url: str, **extra: Any) -> Iterator[Molt]:
    molt = Molt(folder, bar["existing-system"].url, url, **extra)
    try:
        molt.begin(quick(100))
        yield molt
    finally:
        molt.stop()


@pytest.mark.parametrize("behave", [hang, reset, garbage, error_500])
def test_control_answers_when_the_candidate_fails_without_having_acted(
    tmp_path: Path, bar: dict[str, Process], behave: Callable[[socket.socket], None]
) -> None:
    with candidate(behave) as url, in_front_of(tmp_path, bar, url) as molt:
        answer = molt.ask("Show me your beers")
        assert answer.status_code == 200
        assert answer.headers["x-molt-arm"] == "control"
        assert "pilsner" in answer.json()["content"].lower()
        until(lambda: molt.state()["arms"]["candidate"]["errors"] == 1, what="its error counted")
        assert molt.state()["arms"]["control"]["requests"] == 0


def test_without_knowing_whether_it_acted_the_user_gets_an_error_not_a_second_order(
    tmp_path: Path, bar: dict[str, Process]
) -> None:
    silent = {"agents": {"reports_actions": False}}
    with candidate(reset) as url, in_front_of(tmp_path, bar, url, **silent) as molt:
        assert molt.ask("One latte, please").status_code == 502


def test_an_answer_broken_off_in_the_middle_is_never_ended_cleanly(
    tmp_path: Path, bar: dict[str, Process]
) -> None:
    with candidate(break_off) as url, in_front_of(tmp_path, bar, url) as molt:
        with pytest.raises(httpx.RemoteProtocolError):
            molt.ask("Show me your beers")
        until(lambda: molt.state()["arms"]["candidate"]["errors"] == 1, what="its error counted")


def test_a_run_that_reported_an_action_is_not_answered_twice(
    tmp_path: Path, bar: dict[str, Process]
) -> None:
    seen: list[bytes] = []

    def act_then_reset(connection: socket.socket) -> None:
        head, _, _ = seen[-1].partition(b"\r\n\r\n")
        headers = dict(
            line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line
        )
        report = httpx.post(
            headers["x-molt-report"],
            json={"tool": "place_order", "arguments": {}},
            headers={"x-molt-run": headers["x-molt-run"]},
        )
        assert report.status_code == 204
        reset(connection)

    with candidate_that_keeps(seen, act_then_reset) as url, in_front_of(tmp_path, bar, url) as molt:
        assert molt.ask("One latte, please").status_code == 502


@contextmanager
def candidate_that_keeps(
    seen: list[bytes], behave: Callable[[socket.socket], None]
) -> Iterator[str]:
    """A candidate whose behaviour can look at the request that it got."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                seen.append(connection.recv(65536))
                behave(connection)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


HOSTILE = {
    "two lengths": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
    "length and chunks": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n"
    b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad chunk": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "space before colon": b"GET / HTTP/1.1\r\nhost : a\r\n\r\n",
    "obs-fold": b"GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n",
    "bare line feed": b"GET / HTTP/1.1\nhost: a\n\n",
    "NUL": b"GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_requests_get_400_and_reach_nobody(hostile_molt: Molt, name: str) -> None:
    host, port = hostile_molt.gateway.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as user:
        user.sendall(HOSTILE[name])
        assert user.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_pipelined_requests_are_answered_in_order(hostile_molt: Molt) -> None:
    host, port = hostile_molt.gateway.removeprefix("http://").split(":")
    get = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n"
    last = b"GET /nowhere HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as user:
        user.sendall(get + get + last)
        answer = b""
        while chunk := user.recv(65536):
            answer += chunk
    statuses = re.findall(rb"HTTP/1.1 (\d+)", answer)
    assert statuses == [b"200", b"200", b"404"]


@pytest.fixture(scope="module")
def hostile_molt(
    tmp_path_factory: pytest.TempPathFactory, bar: dict[str, Process]
) -> Iterator[Molt]:
    molt = Molt(
        tmp_path_factory.mktemp("hostile"), bar["existing-system"].url, bar["agent-chat"].url
    )
    yield molt
    molt.stop()


def test_the_audit_log_of_real_traffic_verifies_and_finds_a_change(
    tmp_path: Path, bar: dict[str, Process]
) -> None:
    with in_front_of(tmp_path, bar, bar["agent-chat"].url) as molt:
        for n in range(5):
            molt.ask("Show me your beers", f"user-{n}")
        until(lambda: len(_requests(molt)) == 5, what="five records")
        assert molt.client.get("/audit/verify").json()["ok"]
        assert "user-1" not in json.dumps(_requests(molt))
        segment = next((molt.data / "audit").rglob("gateway-1/*.jsonl"))
        text = segment.read_bytes()
        segment.write_bytes(text.replace(b"agent-chat", b"agent-cat!", 1))
        report = molt.client.get("/audit/verify").json()
        assert not report["ok"]
        assert report["first_bad"]


def _requests(molt: Molt) -> list[dict[str, Any]]:
    lines = molt.client.get("/audit/export").text.splitlines()
    return [r for r in map(json.loads, lines) if r["kind"] == "request"]
