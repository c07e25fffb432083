"""The processes of the demo: the reference bar, and Molt in front of it."""

import os
import secrets
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from molt.adapters.playbooks import load_playbook
from molt.apps.serve.installation import fixed
from molt.apps.serve.supervisor import Child, Program
from molt.core.playbook import Playbook
from molt.core.quantities import parse_duration, show_duration

BAR = ("-m", "molt.apps.demo.bar")

WITH_US = "--until-stdin-ends"
"""Children end with us, however we end: then nobody holds the other end of their standard input."""

PLANNED_MINUTES = 3.0
"""How long the demo playbook takes as it is written."""


class Stage:
    """Starts and ends every process of one demo run in one directory."""

    def __init__(self, data: Path, *, port: int, ignore_shadow: bool = False) -> None:
        self.data = data
        self.gateway = self.api = self.token = ""
        self._port = port
        self._ignore_shadow = ignore_shadow
        self._children: list[Child] = []
        self._environ = {
            k: v for k, v in os.environ.items() if not k.startswith(("MOLT", "OPENAI_"))
        }
        self.urls: dict[str, str] = {}

    async def open(self) -> None:
        """Start everything in the order in which it depends on each other."""
        existing = await self._bar("existing-system", "--latency-ms", "70")
        keys = {name: secrets.token_hex(16) for name in ("BAR_TOOLS_KEY", "BAR_MODEL_KEY")}
        with_keys = self._environ | keys
        tools = await self._bar("bar-tools", environ=with_keys)
        model = await self._bar("agent-model", "--latency-ms", "5", environ=with_keys)
        egress = fixed("127.0.0.1:0")
        # The agent reaches its model and its tools through Molt only: it does not have their keys.
        extra = ["--tools", f"http://{egress}/mcp/bar", "--tools-know-shadow"]
        extra += ["--allow-faults", "--latency-ms", "5"]
        if self._ignore_shadow:
            extra.append("--ignore-shadow")
        # A run's tokens are for the run: what was said before stays with the model.
        extra += ["--remembered", "0"]
        agent = await self._bar(
            "agent-chat", *extra, environ=self._environ | {"OPENAI_BASE_URL": f"http://{egress}/v1"}
        )
        self.urls = {
            "agent-model": model["url"],
            "existing-system": existing["url"],
            "bar-tools": tools["url"],
            "agent-chat": agent["url"],
        }
        config = self.data / "molt.yaml"
        config.write_text(self._config(egress), encoding="utf-8")
        command = ["-m", "molt.apps.cli", "serve", "--config", str(config), "--json", WITH_US]
        serve = Program("molt", command)
        ready = await self._start(serve, with_keys)
        self.gateway, self.api, self.token = ready["gateway"], ready["api"], ready["token"]

    async def _bar(
        self, service: str, *extra: str, environ: dict[str, str] | None = None
    ) -> dict[str, Any]:
        folder = self.data / "bar"
        folder.mkdir(parents=True, exist_ok=True)
        program = Program(service, [*BAR, service, "--data", str(folder), WITH_US, *extra])
        return await self._start(program, environ or self._environ)

    async def _start(self, program: Program, environ: dict[str, str]) -> dict[str, Any]:
        child = Child(program, environ)
        self._children.append(child)
        return await child.start()

    def _config(self, egress: str) -> str:
        return "\n".join(
            [
                f"listen: 127.0.0.1:{self._port}",
                "api: 127.0.0.1:0",
                "data: molt-data",
                "upstreams:",
                f"  control: {{url: {self.urls['existing-system']}}}",
                f"  candidate: {{url: {self.urls['agent-chat']}, answer_timeout: 20s, "
                "health: /health}",
                "identity: {profiles: [agent-chat, openai]}",
                "agents: {reports_actions: true}",
                "egress:",
                f"  listen: {egress}",
                "  models:",
                f"    bar: {{url: {self.urls['agent-model']}/v1, apis: [chat], key_env: BAR_MODEL_KEY}}",
                "  tools:",
                f"    bar: {{url: {self.urls['bar-tools']}/mcp, key_env: BAR_TOOLS_KEY}}",
                "log_level: error",
                "",
            ]
        )

    async def break_agent(self, fault: str | None) -> None:
        """Inject a fault into the agent."""
        async with httpx.AsyncClient() as client:
            order = {"kind": fault} | ({"seconds": 6.0} if fault == "slow" else {})
            answer = await client.post(f"{self.urls['agent-chat']}/_fault", json=order)
            answer.raise_for_status()

    async def stats(self, service: str) -> Mapping[str, Any]:
        """What a bar service says it has really done."""
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{self.urls[service]}/stats")).json()

    async def close(self) -> None:
        """End everything, Molt first."""
        for child in reversed(self._children):
            await child.stop()


def demo_playbook(minutes: float) -> Playbook:
    """The demo playbook, with its holds and windows stretched to about `minutes`."""
    plan = load_playbook("wf-11-demo")
    if minutes == PLANNED_MINUTES:
        return plan
    return Playbook.model_validate(_stretched(plan.as_data(), minutes / PLANNED_MINUTES))


STRETCHED = frozenset({"hold", "planned", "for", "blind_after", "conversation_idle"})
"""Durations that follow the length of the demo; limits and slots stay as they are."""


def _stretched(data: Any, factor: float) -> Any:
    if isinstance(data, list):
        return [_stretched(item, factor) for item in data]
    if not isinstance(data, dict):
        return data
    out = {key: _stretched(value, factor) for key, value in data.items()}
    for key in STRETCHED & out.keys():
        if isinstance(out[key], str):
            out[key] = _times(out[key], factor)
    if out.get("kind") == "no_rollback":
        out["within"] = _times(out["within"], factor)
    return out


def _times(text: str, factor: float) -> str:
    length = parse_duration(text)
    assert isinstance(length, timedelta)
    return show_duration(
        max(timedelta(seconds=1), timedelta(seconds=round(length.total_seconds() * factor)))
    )
