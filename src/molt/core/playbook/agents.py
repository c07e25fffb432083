"""The agent types that a plan covers, and the tools they may call."""

from typing import cast

from pydantic import Field, field_validator

from molt.core.arguments import Rule, check_rule
from molt.core.playbook.base import Plan
from molt.core.policy import Reads, ToolPolicy


class Tools(Plan):
    """The tools one agent may call, as globs; deny beats allow, and what is not listed is forbidden.

    See [Tool policy](policy.md) for how it is enforced.
    """

    allow: tuple[str, ...] = Field(default=(), description="Tools that it may call.")
    deny: tuple[str, ...] = Field(
        default=(), description="Tools that it may not, whatever `allow` says."
    )
    arguments: dict[str, tuple[Rule, ...]] = Field(
        default={},
        description="Rules on arguments by tool glob: limits such as `quantity <= 20`, or a JSON "
        "Schema fragment. A call that breaks one is a violation.",
    )
    read_only: tuple[str, ...] = Field(
        default=(),
        description="Tools that change nothing. Others are writes, unless their server says "
        "`readOnlyHint` (MCP) or their route is `GET` or `HEAD`.",
    )
    writes: tuple[str, ...] = Field(
        default=(), description="Tools that change something, whatever anybody else says."
    )
    reads: Reads = Field(
        default="live",
        description="In shadow, reads are called (`live`), or answered like writes, from what was "
        "recorded, else from their schema (`recorded`).",
    )

    @field_validator("arguments", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        """A single rule may stand without a list."""
        if not isinstance(value, dict):
            return value
        rules = cast("dict[str, object]", value)
        return {
            k: cast("object", [v] if isinstance(v, str | dict) else v) for k, v in rules.items()
        }

    @field_validator("arguments", mode="after")
    @classmethod
    def _applicable(cls, value: dict[str, tuple[Rule, ...]]) -> dict[str, tuple[Rule, ...]]:
        for rules in value.values():
            for rule in rules:
                check_rule(rule)
        return value

    def policy(self) -> ToolPolicy:
        """The same for the decision at run time."""
        return ToolPolicy(
            allow=self.allow,
            deny=self.deny,
            arguments=self.arguments,
            read_only=self.read_only,
            writes=self.writes,
            reads=self.reads,
        )


class Agent(Plan):
    """An agent type that this rollout covers."""

    enabled: bool = Field(default=True, description="Default of `MOLTBOT_<AGENT>_ENABLED`.")
    tools: Tools | None = Field(
        default=None, description="Its tools; left out, nothing is policed."
    )
