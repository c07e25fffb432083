"""The door for tools inside the agent's process: `molt.guard` asks before it calls them."""

from typing import Any, Final

import msgspec

from molt.core.dry_run import dry_run
from molt.core.tool_calls import ToolCall
from molt.egress.app import problem
from molt.egress.gate import Gate, Passage
from molt.egress.http import RUN_HEADER, BodyTooLarge, Request
from molt.wire.jsonrpc import Malformed, strict_json

PATH: Final = "/guard/v1/calls"
VIA: Final = "guard"


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """A call that is about to be made. `read_only` is what the agent's own code says of the tool."""

    tool: str
    arguments: dict[str, Any] = {}
    read_only: bool = False
    input_schema: Any = None
    output_schema: Any = None


class GuardDoor:
    """Answers `POST /guard/v1/calls` with an `act`: execute, read, dry_run (with a `result`), deny."""

    def __init__(self, gate: Gate, max_body: int) -> None:
        self._gate = gate
        self._max_body = max_body

    async def __call__(self, request: Request) -> None:
        """Answer one question."""
        if request.method != "POST":
            await request.answer(405, b"", [(b"allow", b"POST")])
            return
        try:
            asked = msgspec.convert(strict_json(await request.body(self._max_body)), Asked)
        except BodyTooLarge:
            text = f"Molt: the question is over {self._max_body} bytes"
            await request.answer(413, problem("bad_request", text))
            return
        except (Malformed, msgspec.ValidationError) as error:
            await request.answer(400, problem("bad_request", f"Molt: {error}"))
            return
        caller = self._gate.callers.identify(
            request.header(RUN_HEADER), request.header(b"traceparent")
        )
        call = ToolCall(asked.tool, asked.arguments, asked.read_only, asked.input_schema)
        passage = await self._gate.admit(caller, call, VIA)
        if passage.decision.act != "deny":
            self._gate.close(passage, 0)  # on record before it acts; what became of it is not told
        await request.answer(200, msgspec.json.encode(_verdict(asked, passage)))


def _verdict(asked: Asked, passage: Passage) -> dict[str, Any]:
    decision = passage.decision
    if decision.act == "deny":
        return {"act": "deny", "why": decision.why, "reason": decision.reason}
    if decision.act in ("execute", "read"):
        return {"act": decision.act}
    made = dry_run(asked.input_schema, asked.output_schema, asked.arguments)
    if made.kind == "arguments":
        return {"act": "deny", "why": "invalid", "reason": f"invalid arguments: {made.problem}"}
    if made.kind == "unknown":
        return {"act": "deny", "why": "no_dry_run", "reason": made.problem}
    return {"act": "dry_run", "result": made.result, "schemaless": asked.output_schema is None}
