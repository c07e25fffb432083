"""May this agent call this tool? The operator's lists decide, deny before allow."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec


class ToolPolicy(msgspec.Struct, frozen=True):
    """Globs of tool names one agent may and may not call; what is on no list is forbidden."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def permits(self, tool: str) -> bool:
        """True when `tool` matches an allow glob and no deny glob."""
        if any(fnmatchcase(tool, glob) for glob in self.deny):
            return False
        return any(fnmatchcase(tool, glob) for glob in self.allow)


def forbidden(policies: dict[str, ToolPolicy], agent: str, tools: Iterable[str]) -> tuple[str, ...]:
    """The calls in `tools` that `agent` must not make, in order.

    An agent without a policy is not restricted: a playbook without tool lists polices nothing.
    """
    policy = policies.get(agent)
    if policy is None:
        return ()
    return tuple(tool for tool in tools if not policy.permits(tool))
