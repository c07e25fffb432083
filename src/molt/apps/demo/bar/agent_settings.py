"""Everything agent-chat needs to know at start."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from molt.apps.demo.bar.dialects import MODEL


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Settings of one agent-chat process; `latency_ms` is the median of a simulated delay,
    `most_runs` how many requests are worked on at once; more are refused with 503.

    An agent that does `ignore_shadow` acts as if every request were live. Where `tools_know_shadow`,
    because they are behind Molt, it leaves dry runs to them.

    With `base_url` or `api_key` the agent asks that OpenAI-compatible endpoint for `model`;
    without, the offline model answers and no network is used.
    """

    tools_url: str
    version: str = "1"
    latency_ms: float = 30.0
    session_ttl: float = 1800.0
    most_runs: int = 64
    ignore_shadow: bool = False
    tools_know_shadow: bool = False
    allow_faults: bool = False
    base_url: str = ""
    api_key: str = ""
    model: str = MODEL

    @property
    def offline(self) -> bool:
        """True when no endpoint was named."""
        return not (self.base_url or self.api_key)

    @classmethod
    def from_environment(
        cls,
        *,
        tools_url: str,
        version: str,
        latency_ms: float,
        session_ttl: float,
        most_runs: int,
        ignore_shadow: bool,
        tools_know_shadow: bool = False,
        allow_faults: bool,
        environ: Mapping[str, str] = os.environ,
    ) -> "AgentSettings":
        """Settings with the model endpoint from OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL."""
        return cls(
            tools_url, version, latency_ms, session_ttl, most_runs, ignore_shadow,
            tools_know_shadow, allow_faults,
            base_url=environ.get("OPENAI_BASE_URL", ""),
            api_key=environ.get("OPENAI_API_KEY", ""),
            model=environ.get("OPENAI_MODEL") or MODEL,
        )  # fmt: skip
