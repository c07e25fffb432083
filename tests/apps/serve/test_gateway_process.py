"""The gateway as a process: ready line, drain, keys, what it says when it cannot start."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from molt.adapters.audit_files import verify
from molt.core.flags import Flags, RolloutFlags
from molt.gateway.settings import GatewaySettings, Service
from molt.link.settings_file import write_settings

COMMAND = [sys.executable, "-m", "molt.apps.serve.gateway_process", "--settings"]
FLAGS = Flags(
    1,
    msgspec.json.decode(b'"2026-03-02T00:00:00Z"', type=Flags.__annotations__["made_at"]),
    (
        RolloutFlags(
            rollout="r", epoch=1, agents=("guest",), enabled=True, shadow=False, share=10_000,
            mirror=0, salt="a", statistics_salt="b", tiers=(10_000,), cuts=(),
        ),
    ),
)  # fmt: skip


class World(ThreadingHTTPServer):
    """Control, existing system and agent on one port, told apart by path and header."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.batches: list[dict[str, Any]] = []
        self.released = threading.Event()
        self.arrived = threading.Event()


class Handler(BaseHTTPRequestHandler):
    """Answers for all three."""

    protocol_version = "HTTP/1.1"
    server: World

    def log_message(self, *_: object) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        line = msgspec.json.encode({"flags": FLAGS}) + b"\n"
        self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
        self.server.released.wait(30)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/gateway/v1/batches":
            self.server.batches.append(body)
            self.answer(204, b"")
            return
        if body.get("message") == "slow":
            self.server.arrived.set()
            self.server.released.wait(30)
        arm = "agent" if "x-molt-run" in self.headers else "existing"
        self.answer(200, json.dumps({"content": arm}).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def world() -> Iterator[World]:
    server = World()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def settings(world: World, folder: Path, **more: Any) -> GatewaySettings:
    url = f"http://127.0.0.1:{world.server_port}"
    base: dict[str, Any] = {
        "id": "gateway-1",
        "molt_url": url,
        "gateway_key": "key",
        "run_key": "11" * 32,
        "subject_key": "22" * 32,
        "state_dir": str(folder / "state"),
        "audit_dir": str(folder / "audit"),
        "control": Service(url),
        "candidate": Service(url),
        "port": 0,
    }
    return GatewaySettings(**base | more)


class Gateway:
    """A running gateway process."""

    def __init__(self, made: GatewaySettings, folder: Path) -> None:
        path = folder / "gateway.json"
        write_settings(path, made)
        self.process = subprocess.Popen(
            [*COMMAND, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.ready = json.loads(self.process.stdout.readline())
        self.client = httpx.Client(base_url=self.ready["url"], trust_env=False, timeout=20)

    def ask(self, message: str = "hello") -> dict[str, Any]:
        body = {"message": message, "agent_type": "guest", "context": {"user_id": "u1"}}
        return self.client.post("/functions/v1/agent-chat", json=body).json()

    def ended(self) -> int:
        code = self.process.wait(20)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        self.client.close()
        return code


def wait_until_closed(port: int | None) -> None:
    """Return when nobody listens on `port`."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return
    raise AssertionError(f"port {port} is still open")


@pytest.fixture
def gateway(world: World, tmp_path: Path) -> Iterator[Gateway]:
    running = Gateway(settings(world, tmp_path), tmp_path)
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.ended()


def test_it_says_where_it_listens_and_routes_by_controls_flags(gateway: Gateway):
    assert gateway.ready["gateway"] == "gateway-1"
    assert gateway.ready["pid"] == gateway.process.pid
    assert gateway.ask() == {"content": "agent"}


def test_sigterm_lets_requests_end_and_hands_over_evidence_and_audit_log(
    gateway: Gateway, world: World, tmp_path: Path
):
    answers: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: answers.append(gateway.ask("slow")))
    asking.start()
    assert world.arrived.wait(10)
    gateway.process.send_signal(signal.SIGTERM)
    wait_until_closed(httpx.URL(gateway.ready["url"]).port)
    world.released.set()
    asking.join(10)
    assert answers == [{"content": "agent"}]
    assert gateway.ended() == 0
    slots = [s for b in world.batches for s in b["slots"]]
    assert sum(s["requests"] for s in slots) == 1
    report = verify(tmp_path / "audit", {})
    assert report.ok
    records = [json.loads(line) for path in (tmp_path / "audit").rglob("*.jsonl")
               for line in path.read_bytes().splitlines()]  # fmt: skip
    requests = [r for r in records if r["kind"] == "request"]
    assert [r["arm"] for r in requests if r["method"] == "POST"] == ["candidate"]


def test_it_ends_when_its_supervisor_is_gone(gateway: Gateway):
    assert gateway.process.stdin is not None
    gateway.process.stdin.close()
    assert gateway.ended() == 0


def test_two_workers_share_a_port(world: World, tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    workers = [
        Gateway(settings(world, tmp_path, id=f"gateway-{n}", port=port), tmp_path) for n in (1, 2)
    ]
    assert {w.ready["url"] for w in workers} == {f"http://127.0.0.1:{port}"}
    assert workers[0].ask() == {"content": "agent"}
    for worker in workers:
        worker.process.send_signal(signal.SIGTERM)
        assert worker.ended() == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"identity": {"profiles": ["openia"]}}, "no profile 'openia'"),
        ({"candidate": {"url": "ftp://x"}}, "upstream candidate"),
        ({"tls": {"certificate": "/nowhere.pem"}}, "No such file"),
        ({"host": "203.0.113.1"}, "listen on 203.0.113.1"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_when_it_cannot_start_it_says_why(world: World, tmp_path: Path, change, said: str):
    path = tmp_path / "gateway.json"
    made = msgspec.to_builtins(settings(world, tmp_path)) | change
    path.write_bytes(msgspec.json.encode(made))
    ended = subprocess.run([*COMMAND, str(path)], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
