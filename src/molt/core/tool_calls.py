"""What becomes of a tool call: decided from who calls, in which mode, and what the tool does."""

from collections.abc import Iterable
from typing import Any, Final, Literal, NamedTuple

from molt.core.arguments import schema_problem
from molt.core.policy import NO_POLICY, ToolPolicy

Act = Literal["execute", "read", "dry_run", "recorded", "deny"]
"""`execute` a write, let a `read` through, answer without the tool (`dry_run`, or from what was
`recorded`), or `deny`."""

Why = Literal["", "forbidden", "invalid", "over_limit", "no_run", "withdrawn", "audit_failed"]
Standing = Literal["live", "shadow", "withdrawn", "unknown"]


class ToolCall(NamedTuple):
    """A call as the agent makes it. `hinted` is what the tool's server, or the HTTP method, says;
    `input_schema` what the tool says about its arguments; `objection` why the call is forbidden
    whatever the policy says."""

    tool: str
    arguments: Any
    hinted: bool = False
    input_schema: Any = None
    objection: str | None = None


class Decision(NamedTuple):
    """What is done about a call. A `violation` takes the rollout back."""

    act: Act
    why: Why = ""
    reason: str = ""
    violation: bool = False


READ: Final = Decision("read")
EXECUTE: Final = Decision("execute")


def decide_call(
    call: ToolCall,
    *,
    standing: Standing,
    reason: str | None,
    policy: ToolPolicy | None,
    all_policies: Iterable[ToolPolicy] = (),
) -> Decision:
    """What becomes of `call`, its budget apart. A call in doubt is never executed.

    `policy` is that of the caller's agent, None where there is none or it is not known;
    `all_policies` are those of all agents: an unknown caller reads what none of them calls a write.
    """
    if standing == "unknown":
        return _of_unknown(call, reason, all_policies)
    rules = policy or NO_POLICY
    objection = call.objection or rules.objection(call.tool, call.arguments)
    if objection is not None:
        if (invalid := _invalid(call, rules)) is not None:
            return invalid
        # A run that is over breaks nothing any more; it is only told no.
        return Decision("deny", "forbidden", objection, violation=standing != "withdrawn")
    reads = rules.effect(call.tool, hinted_read_only=call.hinted) == "read"
    if standing == "live":
        return READ if reads else EXECUTE
    if standing == "withdrawn":
        return READ if reads else Decision("deny", "withdrawn", reason or "withdrawn")
    if reads:
        return READ if rules.reads == "live" else Decision("recorded")
    return Decision("dry_run")


def _invalid(call: ToolCall, rules: ToolPolicy) -> Decision | None:
    """A call of an allowed tool that the tool itself would refuse is a mistake, not a violation."""
    if call.objection is not None or call.input_schema is None or not rules.permits(call.tool):
        return None
    problem = schema_problem(call.input_schema, call.arguments)
    return None if problem is None else Decision("deny", "invalid", problem)


def _of_unknown(call: ToolCall, reason: str | None, policies: Iterable[ToolPolicy]) -> Decision:
    if call.objection is not None:
        return Decision("deny", "forbidden", call.objection)
    known = list(policies)
    named = any(policy.calls_write(call.tool) for policy in known)
    reads = call.hinted or any(policy.calls_read_only(call.tool) for policy in known)
    if reads and not named:
        return READ
    return Decision("deny", "no_run", f"writes need a run: {reason or 'no run token'}")
