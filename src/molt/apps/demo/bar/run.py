"""One run: what a single request asks of the agent, and what the agent did about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from molt.apps.demo.bar.dialects import Done
from molt.apps.demo.bar.dialogue import Memory


class RunClosed(Exception):
    """The run was ended from outside before the tool was executed; nothing more may be done in it."""


class Overloaded(Exception):
    """More runs are asked for than this process works on at once; nothing was done."""


class ToolsUnreachable(Exception):
    """The tool server could not be reached; nothing is known about the last call."""


@dataclass(slots=True)
class Run:
    """The dependencies of one agent run. `token` names the run to whoever watches it."""

    agent: str
    memory: Memory
    shadow: bool = False
    token: str = ""
    report_url: str = ""
    traceparent: str = ""
    mode: str = "live"
    extra_tools: tuple[str, ...] = ()
    calls: list[Done] = field(default_factory=list[Done])
    acted: list[str] = field(default_factory=list[str])

    @classmethod
    def of(
        cls, agent: str, memory: Memory, headers: Mapping[str, str], ignore_shadow: bool = False
    ) -> "Run":
        """The run that the request's x-molt-* headers describe; without them it is live and unwatched."""
        mode = headers.get("x-molt-mode", "live")
        return cls(
            agent=agent,
            memory=memory,
            shadow=mode == "shadow" and not ignore_shadow,
            token=headers.get("x-molt-run", ""),
            report_url=headers.get("x-molt-report", ""),
            traceparent=headers.get("traceparent", ""),
            mode=mode,
        )

    def meta(self) -> dict[str, Any]:
        """What is forwarded with every tool call, as MCP request metadata."""
        found = {
            "x-molt-run": self.token,
            "x-molt-mode": self.mode,
            "traceparent": self.traceparent,
        }
        return {name: value for name, value in found.items() if value}

    def headers(self) -> dict[str, str]:
        """x-agent-tools: all calls made, dry runs too; x-agent-actions: writing tools sent for execution, or none."""
        tools = ",".join(call.tool for call in self.calls)
        return {"x-agent-tools": tools, "x-agent-actions": ",".join(self.acted) or "none"}
