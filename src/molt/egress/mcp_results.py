"""Results of `tools/call` that Molt gives in a tool's place; each is marked in `_meta`."""

from typing import Any, Final

import msgspec

from molt.core.dry_run import DryRun
from molt.core.tool_calls import Decision

DENIED: Final = "molt/denied"
DRY_RUN: Final = "molt/dry-run"
RECORDED: Final = "molt/recorded"


def denied(decision: Decision) -> dict[str, Any]:
    """A call that was not allowed: an error of the tool, which a model can read and live with."""
    if decision.why == "invalid":
        return _error(f"Input validation error: {decision.reason}", {DENIED: decision.why})
    return _error(f"Denied: {decision.reason}", {DENIED: decision.why})


def dry_result(made: DryRun, tool: str) -> dict[str, Any]:
    """A call that was not executed: the error the tool would give, or a result that conforms."""
    mark = {DRY_RUN: True}
    if made.kind == "arguments":
        return _error(f"Input validation error: {made.problem}", mark)
    if made.kind == "unknown":
        return problem_result(f"dry run of {tool}: {made.problem}")
    if made.result is None:
        text = f"{tool} was accepted"
        return {"content": [_text(text)], "isError": False, "_meta": mark}
    text = msgspec.json.encode(made.result).decode()
    result = {"content": [_text(text)], "isError": False, "_meta": mark}
    # Only objects may stand in structuredContent before 2026-07-28, and schemas of others are new.
    return result | {"structuredContent": made.result}


def problem_result(text: str) -> dict[str, Any]:
    """A dry run for which nothing that conforms can be made."""
    return _error(text, {DRY_RUN: True})


def recorded_result(answer: bytes) -> dict[str, Any]:
    """What the tool last answered a live run with the same arguments."""
    result: dict[str, Any] = msgspec.json.decode(answer)
    return {**result, "_meta": {**(result.get("_meta") or {}), RECORDED: True}}


def _error(text: str, meta: dict[str, Any]) -> dict[str, Any]:
    return {"content": [_text(text)], "isError": True, "_meta": meta}


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
