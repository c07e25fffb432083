"""Real processes on free ports, started once where a test does not break them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from molt.adapters.playbooks import as_yaml, load_playbook
from molt.core.playbook import Playbook

READY_SECONDS = 40


def until(condition: Callable[[], Any], seconds: float = 20.0, what: str = "") -> Any:
    """The first true value of `condition`, asked for until the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        time.sleep(0.02)


class Process:
    """A child process that says in one JSON line that it is ready."""

    def __init__(self, *arguments: str, environ: dict[str, str] | None = None) -> None:
        self.arguments = arguments
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MOLT", "SHADOW_MODE"))}
        self._environ = clean | (environ or {})
        self.start()

    def start(self) -> None:
        """Start it and wait for its ready line."""
        self.process = subprocess.Popen(
            [sys.executable, *self.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environ,
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stderr.fileno(), False)  # type: ignore[union-attr]
        line = self.process.stdout.readline()
        assert line, f"{self.arguments}: {self.process.stderr.read()!r}"  # type: ignore[union-attr]
        self.ready: dict[str, Any] = json.loads(line)

    @property
    def url(self) -> str:
        return self.ready["url"]

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(20)
        finally:
            self.process.kill()
            for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
                if pipe is not None:
                    pipe.close()
        return code


class Molt:
    """A running installation, with its administrator's token."""

    def __init__(self, folder: Path, control: str, candidate: str, **extra: Any) -> None:
        self.folder = folder
        config = {
            "listen": "127.0.0.1:0",
            "api": "127.0.0.1:0",
            "data": "data",
            "upstreams": {
                "control": {"url": control},
                "candidate": {"url": candidate, "answer_timeout": "2s"},
            },
            "agents": {"reports_actions": True},
            **extra,
        }
        self.data = folder / "data"
        self.path = folder / "molt.yaml"
        self.path.write_text(json.dumps(config))
        self.environ: dict[str, str] = {}
        self.token = ""
        self.start()

    def start(self) -> None:
        """Start `molt serve`."""
        command = ("-m", "molt.apps.cli", "serve", "--config", str(self.path), "--json")
        self.serve = Process(*command, environ=self.environ)
        ready = self.serve.ready
        self.gateway, self.api = ready["gateway"], ready["api"]
        self.token = ready["token"] or self.token
        self.client = httpx.Client(
            base_url=f"{self.api}/api/v1",
            headers={"authorization": f"Bearer {self.token}"},
            timeout=10,
            trust_env=False,
        )

    def stop(self) -> int:
        """Stop everything."""
        self.client.close()
        return self.serve.stop()

    # --- talking to it

    def begin(self, plan: Playbook | str = "wf-11", rollout: str = "r", **extra: Any) -> None:
        """Start a rollout and wait until a gateway acts on it."""
        playbook = load_playbook(plan) if isinstance(plan, str) else plan
        body = {
            "playbook_yaml": as_yaml(playbook),
            "rollout": rollout,
            "reason": "test",
            "waive": list(playbook.checklist),
        }
        answer = self.client.post("/rollouts", json=body | extra)
        assert answer.status_code == 201, answer.text
        self.settled()

    def settled(self) -> None:
        """Wait until every gateway acts on the present flags."""

        def applied() -> bool:
            flags = self.client.get("/flags").json()
            version = flags["flags"]["version"]
            gateways = flags["gateways"].values()
            return bool(gateways) and all(g["version"] >= version for g in gateways)

        until(applied, what="all gateways act on the present flags")

    def state(self, rollout: str = "r") -> dict[str, Any]:
        """The rollout's state."""
        return self.client.get(f"/rollouts/{rollout}").json()

    def history(self, rollout: str = "r") -> list[dict[str, Any]]:
        """The rollout's event log."""
        return self.client.get(f"/rollouts/{rollout}/history").json()

    def events(self, kind: str, rollout: str = "r") -> list[dict[str, Any]]:
        """The events of one type."""
        return [e for e in self.history(rollout) if e["type"] == kind]

    def post(self, path: str, **body: Any) -> httpx.Response:
        """A command."""
        return self.client.post(path, json=body)

    def ask(
        self, message: str, user: str = "u1", agent: str = "guest", **extra: Any
    ) -> httpx.Response:
        """One request of a guest through the gateway, in the agent-chat dialect."""
        body = {
            "message": message,
            "agent_type": agent,
            "context": {"venue_id": "venue-1", "user_id": user},
            **extra,
        }
        url = f"{self.gateway}/functions/v1/agent-chat"
        return httpx.post(url, json=body, timeout=15, trust_env=False)

    def control_pid(self) -> int:
        """The process id of the control process that runs now."""
        return self.child_pid("control_process")

    def child_pid(self, program: str) -> int:
        """The process id of a process of `molt serve`, 0 while there is none."""
        for child in psutil.Process(self.serve.process.pid).children():
            try:
                if any(program in word for word in child.cmdline()):
                    return child.pid
            except psutil.NoSuchProcess:
                continue
        return 0


@contextmanager
def bar_service(
    service: str, folder: Path, *extra: str, model: Process | None = None
) -> Iterator[Process]:
    """One service of the reference bar; an agent needs its `model`."""
    arguments = (
        ("--data", str(folder), "--latency-ms", "0")
        if service != "bar-tools"
        else (
            "--data",
            str(folder),
        )
    )
    environ = {"OPENAI_BASE_URL": f"{model.url}/v1"} if model else None
    process = Process("-m", "molt.apps.demo.bar", service, *arguments, *extra, environ=environ)
    try:
        yield process
    finally:
        process.stop()


@pytest.fixture(scope="module")
def bar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Process]]:
    """The reference bar: existing-system, bar-tools, agent-model and agent-chat."""
    folder = tmp_path_factory.mktemp("bar")
    with (
        bar_service("existing-system", folder) as existing,
        bar_service("bar-tools", folder) as tools,
        bar_service("agent-model", folder) as model,
        bar_service(
            "agent-chat", folder, "--tools", f"{tools.url}/mcp", "--allow-faults", model=model
        ) as agent,
    ):
        yield {
            "existing-system": existing,
            "bar-tools": tools,
            "agent-model": model,
            "agent-chat": agent,
        }


@pytest.fixture
def molt(tmp_path: Path, bar: dict[str, Process]) -> Iterator[Molt]:
    """Molt in front of the reference bar."""
    running = Molt(tmp_path, bar["existing-system"].url, bar["agent-chat"].url)
    try:
        yield running
    finally:
        running.stop()


def quick(share: float = 100, **changes: Any) -> Playbook:
    """WF-11's triggers and limits with one live step, to be in it at once."""
    data = load_playbook("wf-11-demo").as_data()
    phase = {"name": "progressive", "steps": [{"share": share, "hold": "1h"}]}
    return Playbook.model_validate(data | {"name": "quick", "phases": [phase]} | changes)


def gateway_post(molt: Molt, **batch: Any) -> httpx.Response:
    """What a gateway would send to control, by the same endpoint with the same key."""
    settings = json.loads(next(molt.data.rglob("gateway-1.json")).read_text())
    headers = {"authorization": f"Bearer {settings['gateway_key']}"}
    now = datetime.now(UTC).isoformat()
    body = {"gateway": "test", "sequence": 1, "sent_at": now, "applied": 1, **batch}
    return httpx.post(f"{molt.api}/gateway/v1/batches", json=body, headers=headers)
