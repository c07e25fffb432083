"""The door to one HTTP service whose routes are tools: the same policy, the same dry run as for MCP."""

from collections.abc import Callable
from typing import Any, Final

import aiohttp
import msgspec
import structlog
from yarl import URL

from molt.core.dry_run import dry_run
from molt.core.tool_calls import ToolCall
from molt.egress.app import problem
from molt.egress.forwarding import Forwarder, Unreachable, onward
from molt.egress.gate import Gate, Passage
from molt.egress.http import JSON, RUN_HEADER, BodyTooLarge, Request
from molt.egress.recorded import LONGEST, Recorded
from molt.egress.route_table import Ambiguous, Match, RouteTable, arguments_of, read_query
from molt.egress.settings import ToolService
from molt.wire.jsonrpc import Malformed, strict_json

log = structlog.get_logger(__name__)

_SAFE: Final = frozenset({"GET", "HEAD"})
_STATUS: Final = {"invalid": 422, "over_limit": 429, "no_run": 401, "audit_failed": 503}
DRY_RUN: Final = (b"x-molt-dry-run", b"true")
RECORDED: Final = (b"x-molt-recorded", b"true")


class Unreadable(Exception):
    """A request that is no tool call: its status and what is wrong with it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class HttpDoor:
    """Answers everything below `/http/NAME/`."""

    def __init__(
        self,
        service: ToolService,
        gate: Gate,
        http: Callable[[], aiohttp.ClientSession],
        recorded: Recorded,
        max_body: int,
    ) -> None:
        self._service = service
        self._gate = gate
        self._recorded = recorded
        self._max_body = max_body
        self._table = RouteTable(service.routes)
        self._forwarder = Forwarder(http, service.name, service.answer_timeout)
        self._prefix = len(f"/http/{service.name}")

    async def __call__(self, request: Request) -> None:
        """Answer one request."""
        path = request.raw_path[self._prefix :]
        match = self._table.match(request.method, path)
        if match is None:
            await self._unlisted(request, path)
            return
        try:
            body = await self._body(request)
            pairs, query = read_query(request.query)
            arguments = arguments_of(match, pairs, _decoded(body))
        except (Ambiguous, Malformed) as error:
            await request.answer(400, problem("bad_request", f"Molt: {error}"))
            return
        except Unreadable as error:
            await request.answer(error.status, problem("bad_request", f"Molt: {error}"))
            return
        await self._call(request, match, query, body, arguments)

    async def _unlisted(self, request: Request, path: bytes) -> None:
        """A route that is not in the table is a forbidden tool."""
        name = f"{request.method} {path.decode('latin-1')}"[:200]
        call = ToolCall(name, {}, objection=f"{name} is no route of {self._service.name}")
        passage = await self._gate.admit(self._caller(request), call, self._service.name)
        await self._denied(request, passage)

    def _caller(self, request: Request) -> Any:
        return self._gate.callers.identify(
            request.header(RUN_HEADER), request.header(b"traceparent")
        )

    async def _body(self, request: Request) -> bytes:
        try:
            body = await request.body(self._max_body)
        except BodyTooLarge:
            raise Unreadable(413, f"the body is over {self._max_body} bytes") from None
        if not body:
            return b""
        if request.method in _SAFE:
            raise Unreadable(400, f"{request.method} with a body is not passed on")
        kind = (request.header(b"content-type") or b"").lower().partition(b";")[0].strip()
        coded = request.header(b"content-encoding") or b"identity"
        if (kind != b"application/json" and not kind.endswith(b"+json")) or coded != b"identity":
            raise Unreadable(415, "tools take JSON bodies, in UTF-8, not compressed")
        return body

    async def _call(
        self, request: Request, match: Match, query: str, body: bytes, arguments: dict[str, Any]
    ) -> None:
        route = match.route
        call = ToolCall(route.tool, arguments, route.method in _SAFE, route.input_schema)
        passage = await self._gate.admit(self._caller(request), call, self._service.name)
        act = passage.decision.act
        if act == "deny":
            await self._denied(request, passage)
        elif act in ("execute", "read"):
            await self._execute(request, match, query, body, passage)
        else:
            self._gate.close(passage, 0)
            await self._answer_without(request, match, passage)

    async def _denied(self, request: Request, passage: Passage) -> None:
        decision = passage.decision
        status = _STATUS.get(decision.why, 403)
        headers = [JSON, (b"x-molt-denied", decision.why.encode())]
        await request.answer(status, problem("denied", f"Denied: {decision.reason}"), headers)

    async def _execute(
        self, request: Request, match: Match, query: str, body: bytes, passage: Passage
    ) -> None:
        status, taken = 0, bytearray()
        headers = onward(request, self._service.headers)
        caller = passage.caller
        if caller.run is not None:
            headers["x-molt-run-id"] = caller.run.id
            headers["x-molt-mode"] = caller.mode or caller.run.mode
        url = URL(self._service.url + match.path + (f"?{query}" if query else ""), encoded=True)
        keeps = passage.to_record

        def seen(data: bytes) -> None:
            if keeps and len(taken) <= LONGEST:
                taken.extend(data)

        try:
            with self._gate.under_way(passage):
                answer = await self._forwarder.open(request.method, url, headers, body or None)
                async with answer:
                    status = answer.status
                    await self._forwarder.relay(request, answer, seen)
        except Unreachable as error:
            log.warning("tool_server_unreachable", server=self._service.name, error=str(error))
            await request.answer(502, problem("upstream_unreachable", f"Molt: {error}"))
        finally:
            self._gate.close(passage, status)
        if keeps and status == 200:
            call = passage.call
            self._recorded.keep(self._service.name, call.tool, call.arguments, bytes(taken))

    async def _answer_without(self, request: Request, match: Match, passage: Passage) -> None:
        """Answer a call that is not executed."""
        route, call = match.route, passage.call
        if passage.decision.act == "recorded":
            answer = self._recorded.find(self._service.name, call.tool, call.arguments)
            if answer is not None:
                await request.answer(200, answer, [JSON, RECORDED])
                return
        made = dry_run(route.input_schema, route.output_schema, call.arguments)
        if made.kind == "arguments":
            text = f"the arguments of {call.tool} are not valid: {made.problem}"
            await request.answer(422, problem("invalid_arguments", text), [JSON, DRY_RUN])
        elif route.has_example:
            body = msgspec.json.encode(route.example)
            await request.answer(route.status, body, [JSON, DRY_RUN])
        elif made.kind == "unknown":
            text = f"dry run of {call.tool}: {made.problem}; give its route an `example`"
            await request.answer(501, problem("no_dry_run", text), [JSON, DRY_RUN])
        elif route.status == 204:
            await request.answer(204, b"", [DRY_RUN])
        else:
            body = msgspec.json.encode({} if made.result is None else made.result)
            await request.answer(route.status, body, [JSON, DRY_RUN])


def _decoded(body: bytes) -> Any:
    return strict_json(body) if body else None
