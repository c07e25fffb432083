"""May this agent call this tool with these arguments, and would that change anything?

The operator's lists decide: deny before allow, `writes` before `read_only`, and both before what a
tool server says about itself. What is not known to be read-only is a write.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from molt.core.arguments import Rule, broken

Effect = Literal["read", "write"]
Reads = Literal["live", "recorded"]


class ToolPolicy(msgspec.Struct, frozen=True):
    """Globs of tool names one agent may and may not call; what is on no list is forbidden.

    `arguments` maps globs to rules that the arguments of a call must keep. `read_only` and `writes`
    say which tools change nothing and which do. `reads` says what shadow runs do with tools that
    only read: call them (`live`), or be answered like writes (`recorded`).
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    arguments: dict[str, tuple[Rule, ...]] = {}
    read_only: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    reads: Reads = "live"

    def permits(self, tool: str) -> bool:
        """True when `tool` matches an allow glob and no deny glob."""
        return not _matches(tool, self.deny) and _matches(tool, self.allow)

    def objection(self, tool: str, arguments: object) -> str | None:
        """Why this call is a violation, in words; None when it is not."""
        if not self.permits(tool):
            return f"the policy forbids {tool}"
        for glob, rules in self.arguments.items():
            if fnmatchcase(tool, glob) and (problem := broken(rules, arguments)) is not None:
                return f"{tool}: {problem}"
        return None

    def has_rules(self, tool: str) -> bool:
        """Whether the arguments of `tool` must keep rules."""
        return _matches(tool, self.arguments)

    def effect(self, tool: str, *, hinted_read_only: bool = False) -> Effect:
        """`read` only where the operator, or else the server's hint, says so."""
        if self.calls_write(tool):
            return "write"
        return "read" if self.calls_read_only(tool) or hinted_read_only else "write"

    def calls_write(self, tool: str) -> bool:
        """Whether the operator says that `tool` changes something."""
        return _matches(tool, self.writes)

    def calls_read_only(self, tool: str) -> bool:
        """Whether the operator lists `tool` among those that change nothing."""
        return _matches(tool, self.read_only)


NO_POLICY = ToolPolicy(allow=("*",))
"""What holds for an agent without tool lists: nothing is forbidden, everything may be a write."""


def _matches(tool: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(tool, glob) for glob in globs)


def forbidden(policies: dict[str, ToolPolicy], agent: str, tools: Iterable[str]) -> tuple[str, ...]:
    """The calls in `tools` that `agent` must not make, in order.

    An agent without a policy is not restricted: a playbook without tool lists polices nothing.
    """
    policy = policies.get(agent)
    if policy is None:
        return ()
    return tuple(tool for tool in tools if not policy.permits(tool))
