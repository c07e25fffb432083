"""May a model's answer call this? The agent's tool policy on calls that nobody has made yet."""

from typing import NamedTuple

from molt.core.policy import ToolPolicy
from molt.wire.jsonrpc import Malformed, strict_json
from molt.wire.models import Made


class Forbidden(NamedTuple):
    """The call is a violation; `why` is for the model's reader."""

    made: Made
    why: str


class Unjudged(NamedTuple):
    """The call goes no further, for nobody can tell what it would do; `why` is for the agent."""

    why: str


def verdict(policy: ToolPolicy, made: Made) -> Forbidden | Unjudged | None:
    """What the policy says of a call; None when it may go on.

    A call of which only the name is known is judged by that.
    """
    if not policy.permits(made.name):
        return Forbidden(made, refused(made.name))
    if made.arguments is None:
        return None
    try:
        arguments = strict_json((made.arguments or "{}").encode())
    except Malformed as error:
        if not policy.has_rules(made.name):
            return None
        return Unjudged(f"The arguments of {made.name} cannot be judged: {error}")
    problem = policy.objection(made.name, arguments)
    if problem is None:
        return None
    return Forbidden(made, f"The policy forbids this call: {problem}")


def refused(tool: str) -> str:
    """Why a tool was not called."""
    return f"Molt stopped this: the policy forbids {tool}"
