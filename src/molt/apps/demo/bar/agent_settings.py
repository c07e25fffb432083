"""Everything agent-chat needs to know at start."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from molt.apps.demo.bar.dialects import MODEL
from molt.core.errors import OperatorError


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Settings of one agent-chat process; `latency_ms` is the median of a simulated delay,
    `most_runs` how many requests are worked on at once; more are refused with 503.

    An agent that does `ignore_shadow` acts as if every request were live. Where `tools_know_shadow`,
    because they are behind Molt, it leaves dry runs to them.

    The agent asks the OpenAI-compatible endpoint at `base_url` for `model`, and shows it the last
    `remembered` messages of a conversation again.
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
    remembered: int = 20

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
        remembered: int = 20,
        environ: Mapping[str, str] = os.environ,
    ) -> "AgentSettings":
        """Settings with the model endpoint from OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL.

        Raises `OperatorError` when neither an URL nor a key is there: there is no model then.
        """
        if not (environ.get("OPENAI_BASE_URL") or environ.get("OPENAI_API_KEY")):
            raise OperatorError(
                "agent-chat has no model: start `agent-model`, which needs no network, and set "
                "OPENAI_BASE_URL to its URL with /v1 behind; or set OPENAI_API_KEY for OpenAI's own"
            )
        return cls(
            tools_url, version, latency_ms, session_ttl, most_runs, ignore_shadow,
            tools_know_shadow, allow_faults,
            base_url=environ.get("OPENAI_BASE_URL", ""),
            api_key=environ.get("OPENAI_API_KEY", ""),
            model=environ.get("OPENAI_MODEL") or MODEL,
            remembered=remembered,
        )  # fmt: skip
