"""The reference bar as real processes on free ports."""

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[3]
DIALOGUES = ROOT.parent / "shared" / "data" / "tm4_coffee" / "dialogs.jsonl.gz"
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}


@dataclass
class Service:
    """A started service."""

    url: str
    process: subprocess.Popen[str]

    def stop(self) -> int:
        """End it with SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def stats(self) -> dict:
        """What GET /stats says now."""
        return httpx.get(f"{self.url}/stats").raise_for_status().json()

    def chat(
        self, message: str, session: str | None = None, *, agent: str = "guest", **headers: str
    ) -> httpx.Response:
        """One agent-chat request in venue-1; header names take underscores for hyphens."""
        context = {"venue_id": "venue-1", "user_id": f"user-of-{session}"}
        body = {"message": message, "agent_type": agent, "session_id": session, "context": context}
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(
            f"{self.url}/functions/v1/agent-chat", json=body, headers=sent, timeout=30
        )


Start = Callable[..., Service]


@contextmanager
def starting(folder: Path, environ: dict[str, str]) -> Iterator[Start]:
    """A function that starts services over databases in `folder`; all are ended at the end."""
    usual = ENVIRON | environ
    started: list[Service] = []

    def start(service: str, *options: str, environ: dict[str, str] | None = None) -> Service:
        command = [
            sys.executable,
            "-W",
            "error",
            "-m",
            "molt.apps.demo.bar",
            service,
            "--data",
            str(folder),
            *options,
        ]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=usual | (environ or {})
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"{service} ended with {process.wait()} before it was ready"
        ready = json.loads(line)
        assert ready["service"] == service
        started.append(Service(ready["url"], process))
        return started[-1]

    try:
        yield start
    finally:
        for service in reversed(started):
            if service.process.poll() is None:
                assert service.stop() == 0, "ended with an error"
            elif service.process.stdout is not None:
                service.process.stdout.close()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The agents' model, without simulated latency."""
    with starting(tmp_path_factory.mktemp("model"), {}) as start_one:
        yield start_one("agent-model", "--latency-ms", "0")


@pytest.fixture
def start(tmp_path: Path, model: Service) -> Iterator[Start]:
    """Starts services of one test; an agent gets the shared model, unless the test names another."""
    with starting(tmp_path, {"OPENAI_BASE_URL": f"{model.url}/v1"}) as start_one:
        yield start_one


@pytest.fixture(scope="session")
def shared_start(tmp_path_factory: pytest.TempPathFactory, model: Service) -> Iterator[Start]:
    """Starts services that many tests use."""
    environ = {"OPENAI_BASE_URL": f"{model.url}/v1"}
    with starting(tmp_path_factory.mktemp("bar"), environ) as start_one:
        yield start_one


@pytest.fixture(scope="session")
def existing(shared_start: Start) -> Service:
    """The existing system, without simulated latency."""
    return shared_start("existing-system", "--latency-ms", "0")


@pytest.fixture(scope="session")
def tools(shared_start: Start) -> Service:
    """The tool server."""
    return shared_start("bar-tools")


@pytest.fixture(scope="session")
def agent(shared_start: Start, tools: Service) -> Service:
    """The agent, without simulated latency."""
    options = (
        "--tools",
        f"{tools.url}/mcp",
        "--latency-ms",
        "0",
        "--allow-faults",
        "--version",
        "7",
    )
    return shared_start("agent-chat", *options)


@pytest.fixture(scope="session")
def dialogues_file() -> Path:
    """The file of recorded dialogues; skips where it is absent."""
    if not DIALOGUES.exists():
        pytest.skip(f"recorded dialogues are not here: {DIALOGUES.relative_to(ROOT.parent)}")
    return DIALOGUES


@pytest.fixture(scope="session")
def recorded(dialogues_file: Path) -> list[dict]:
    """The recorded dialogues."""
    with gzip.open(dialogues_file, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="session")
def completion() -> Callable[[Service, list[dict]], tuple[float, float]]:
    """Plays dialogues; the share of recorded orders that were placed, and of the others that ended in one."""
    return _completion


def _completion(service: Service, dialogues: list[dict]) -> tuple[float, float]:
    placed = wanted = false = 0
    with httpx.Client(timeout=30) as client:
        for number, dialogue in enumerate(dialogues):
            spoken = [turn for turn in dialogue["turns"] if turn["speaker"] == "user"]
            order = any(
                c["api"] == "finish_order" for turn in spoken for c in turn.get("calls", [])
            )
            ended = [
                _turn(client, service.url, turn["text"], f"recorded-{len(dialogues)}-{number}")
                for turn in spoken
            ]
            wanted += order
            placed += order and any(ended)
            false += any(ended) and not order
    return placed / wanted, false / max(1, len(dialogues) - wanted)


def _turn(client: httpx.Client, url: str, text: str, number: str) -> bool:
    context = {"venue_id": "venue-1", "user_id": f"u{number}"}
    body = {
        "message": text,
        "agent_type": "guest",
        "session_id": number,
        "context": context,
    }
    answer = client.post(f"{url}/functions/v1/agent-chat", json=body).raise_for_status().json()
    return any(
        c["tool"] == "place_order" and "order_id" in c["result"] for c in answer["tool_calls"]
    )
