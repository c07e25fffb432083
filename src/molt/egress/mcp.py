"""The door to one MCP server: JSON-RPC over streamable HTTP, with sessions (up to 2025-11-25) or
without (2026-07-28), passed on as bytes; only calls and lists of tools are looked into.

Anything but the protocol's own methods is not passed on: a method that nobody has decided about
could change something.
"""

from collections.abc import Callable
from typing import Any, Final

import aiohttp
import msgspec
import structlog

from molt.core.dry_run import dry_run
from molt.core.tool_calls import ToolCall
from molt.egress import mcp_lists
from molt.egress.catalogue import Catalogue
from molt.egress.forwarding import Forwarder, Unreachable, back, onward
from molt.egress.gate import Gate, Passage
from molt.egress.http import JSON, RUN_HEADER, BodyTooLarge, Request
from molt.egress.mcp_client import STATELESS, Tool, list_tools
from molt.egress.mcp_results import denied, dry_result, problem_result, recorded_result
from molt.egress.recorded import LONGEST, Recorded
from molt.egress.runs import Caller
from molt.egress.settings import ToolService
from molt.wire import jsonrpc, mcp_params
from molt.wire.jsonrpc import Malformed, Message, header_value
from molt.wire.sse import EventReader

log = structlog.get_logger(__name__)

_PASSED: Final = frozenset(
    {
        "initialize", "ping", "server/discover", "subscriptions/listen", "logging/setLevel",
        "completion/complete", "prompts/list", "prompts/get", "resources/list", "resources/read",
        "resources/templates/list", "resources/subscribe", "resources/unsubscribe",
        "tasks/get", "tasks/result", "tasks/list",
    }
)  # fmt: skip
_LIVE_ONLY: Final = frozenset({"tasks/cancel", "tasks/update"})
_NAMED: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_ROUTING: Final = (b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"mcp-session-id")
_CHANGED: Final = b"notifications/tools/list_changed"
_LONGEST_LIST: Final = 16 * 1024 * 1024


class McpDoor:
    """Answers everything at `/mcp/NAME`."""

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
        self._forwarder = Forwarder(http, service.name, service.answer_timeout)
        self.catalogue = Catalogue(
            service.name, lambda: list_tools(http(), service.url, service.headers)
        )

    async def __call__(self, request: Request) -> None:
        """Answer one request."""
        try:
            if request.method == "POST":
                await self._post(request)
            elif request.method in ("GET", "DELETE"):
                self._check_headers(request, None)
                await self._pass(request, None)
            else:
                await request.answer(405, b"", [(b"allow", b"GET, POST, DELETE")])
        except Malformed as error:
            body = jsonrpc.error(None, error.code, f"Molt: {error.message}")
            await request.answer(400, body)
        except BodyTooLarge:
            text = f"Molt: the body is over {self._max_body} bytes"
            await request.answer(413, jsonrpc.error(None, jsonrpc.INVALID_REQUEST, text))

    async def _post(self, request: Request) -> None:
        if not _is_json(request):
            text = "Molt: expected content-type application/json, in UTF-8, not compressed"
            await request.answer(415, jsonrpc.error(None, jsonrpc.INVALID_REQUEST, text))
            return
        body = await request.body(self._max_body)
        message = jsonrpc.read(body)
        self._check_headers(request, message)
        if message.method == "tools/call":
            await self._call(request, body, message)
        elif message.method == "tools/list":
            await self._list(request, body, message)
        elif self._passes(request, message):
            await self._pass(request, body)
        else:
            text = f"Method not found: Molt does not pass on {message.method}"
            status = 404 if _is_stateless(request) else 200
            error = jsonrpc.error(message.id, jsonrpc.METHOD_NOT_FOUND, text)
            await request.answer(status, error)

    def _passes(self, request: Request, message: Message) -> bool:
        """Whether a message goes on unread; one that changes a task under way only from a live run."""
        if message.kind == "answer":
            return True
        if message.kind == "notification":
            return message.method.startswith("notifications/")
        if message.method in _LIVE_ONLY:
            return self._caller(request, message).standing == "live"
        return message.method in _PASSED

    def _caller(self, request: Request, message: Message) -> Caller:
        """Who calls: by the request's `_meta`, which clients can set for each call, else by header."""
        own = message.meta.get("x-molt-run")
        token = own.encode("utf-8", "replace") if isinstance(own, str) else None
        parent = message.meta.get("traceparent")
        trace = parent.encode("utf-8", "replace") if isinstance(parent, str) else None
        return self._gate.callers.identify(
            token or request.header(RUN_HEADER), trace or request.header(b"traceparent")
        )

    def _check_headers(self, request: Request, message: Message | None) -> None:
        """Raise `Malformed` where a header and the body, or two headers, say different things."""
        for name in _ROUTING:
            if sum(key == name for key, _ in request.headers) > 1:
                raise Malformed(jsonrpc.HEADER_MISMATCH, f"header {name.decode()} stands twice")
        if message is None or message.kind == "answer":
            return
        stateless = _is_stateless(request) and message.kind == "request"
        said = header_value(request.header(b"mcp-method"))
        if said != message.method and (said is not None or stateless):
            raise _mismatch("Mcp-Method", "method")
        version = message.meta.get("io.modelcontextprotocol/protocolVersion")
        if version is not None and version != header_value(request.header(_ROUTING[0])):
            raise _mismatch("MCP-Protocol-Version", "protocol version")
        if (field := _NAMED.get(message.method)) is None:
            return
        raw = request.header(b"mcp-name")
        if header_value(raw) != message.params.get(field) and (raw is not None or stateless):
            raise _mismatch("Mcp-Name", f"`{field}`")

    # --- calls

    async def _call(self, request: Request, body: bytes, message: Message) -> None:
        name, arguments = message.params.get("name"), message.params.get("arguments")
        arguments = {} if arguments is None else arguments
        if message.kind != "request" or not isinstance(name, str):
            raise Malformed(jsonrpc.INVALID_PARAMS, "tools/call needs an `id` and a `name`")
        if not isinstance(arguments, dict):
            raise Malformed(jsonrpc.INVALID_PARAMS, "`arguments` must be an object")
        tool = await self.catalogue.find(name)
        wrong = mcp_params.mismatch(
            tool.input_schema if tool else None,
            arguments,
            request.headers,
            must=_is_stateless(request),
        )
        if wrong is not None:
            raise Malformed(jsonrpc.HEADER_MISMATCH, wrong)
        hinted = tool is not None and tool.read_only and self._service.trust_annotations
        caller = self._caller(request, message)
        call = ToolCall(name, arguments, hinted, tool.input_schema if tool else None)
        passage = await self._gate.admit(caller, call, self._service.name)
        act = passage.decision.act
        if act == "deny":
            await self._say(request, message, denied(passage.decision))
        elif act in ("execute", "read"):
            await self._execute(request, body, passage)
        else:
            self._gate.close(passage, 0)
            await self._answer_without(request, message, passage, tool)

    async def _execute(self, request: Request, body: bytes, passage: Passage) -> None:
        status = 0
        taken = _Taken() if passage.to_record else None
        try:
            with self._gate.under_way(passage):
                status = await self._pass(request, body, passage.caller, taken)
        finally:
            self._gate.close(passage, status)
        if taken is not None and status == 200 and (answer := taken.result()) is not None:
            call = passage.call
            self._recorded.keep(self._service.name, call.tool, call.arguments, answer)

    async def _answer_without(
        self, request: Request, message: Message, passage: Passage, tool: Tool | None
    ) -> None:
        """Answer a call that is not executed."""
        call = passage.call
        if tool is None:
            text = f"dry run of {call.tool}: its server does not say which tools it has"
            if self.catalogue.known:
                text = f"Unknown tool: {call.tool!r}"
            await self._say(request, message, problem_result(text))
            return
        if passage.decision.act == "recorded":
            answer = self._recorded.find(self._service.name, call.tool, call.arguments)
            if answer is not None:
                await self._say(request, message, recorded_result(answer))
                return
        if "task" in message.params:
            text = f"dry run of {call.tool}: not as a task; call it without `task`"
            await self._say(request, message, problem_result(text))
            return
        made = dry_run(tool.input_schema, tool.output_schema, call.arguments)
        await self._say(request, message, dry_result(made, call.tool))

    async def _say(self, request: Request, message: Message, result: dict[str, Any]) -> None:
        if _is_stateless(request):
            result = {"resultType": "complete", **result}
        headers: list[tuple[bytes, bytes]] = [JSON]
        if (session := request.header(b"mcp-session-id")) is not None:
            headers.append((b"mcp-session-id", session))
        await request.answer(200, jsonrpc.result(message.id, result), headers)

    # --- lists, and all the rest

    async def _list(self, request: Request, body: bytes, message: Message) -> None:
        policy = self._caller(request, message).policy
        if policy is None:
            await self._pass(request, body)
            return
        try:
            answer = await self._open(request, body, None)
        except Unreachable as error:
            await self._unreachable(request, error)
            return
        async with answer:
            whole = await answer.content.read(_LONGEST_LIST)
            kind = answer.headers.get("content-type", "")
            shown = mcp_lists.filtered(whole, kind, message.id, policy.permits)
            await request.answer(answer.status, shown, back(answer))

    async def _pass(
        self,
        request: Request,
        body: bytes | None,
        caller: Caller | None = None,
        taken: "_Taken | None" = None,
    ) -> int:
        """Pass a request on and its answer back; the status, 0 when there was none."""
        try:
            answer = await self._open(request, body, caller)
        except Unreachable as error:
            await self._unreachable(request, error)
            return 0

        def seen(data: bytes) -> None:
            if _CHANGED in data:
                self.catalogue.changed()
            if taken is not None:
                taken.feed(data, answer.content_type)

        async with answer:
            await self._forwarder.relay(request, answer, seen)
            return answer.status

    async def _open(
        self, request: Request, body: bytes | None, caller: Caller | None
    ) -> aiohttp.ClientResponse:
        headers = onward(request, self._service.headers)
        if caller is not None and caller.run is not None:
            headers["x-molt-run-id"] = caller.run.id
            headers["x-molt-mode"] = caller.mode or caller.run.mode
        return await self._forwarder.open(request.method, self._service.url, headers, body)

    async def _unreachable(self, request: Request, error: Unreachable) -> None:
        log.warning("tool_server_unreachable", server=self._service.name, error=str(error))
        await request.answer(502, jsonrpc.error(None, -32603, f"Molt: {error}"))


class _Taken:
    """The result in an answer that passes by."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._stream = False

    def feed(self, data: bytes, content_type: str) -> None:
        self._stream = content_type == "text/event-stream"
        self._size += len(data)
        if self._size <= LONGEST:
            self._parts.append(data)

    def result(self) -> bytes | None:
        """The result as JSON; None for an error, and for one too long to keep."""
        if self._size > LONGEST:
            return None
        body = b"".join(self._parts)
        events = EventReader().feed(body) if self._stream else [body]
        for event in events:
            try:
                answer = msgspec.json.decode(event, type=_Answer)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if isinstance(answer.result, dict) and not answer.result.get("isError"):
                return msgspec.json.encode(answer.result)
        return None


class _Answer(msgspec.Struct):
    result: Any = None


def _is_stateless(request: Request) -> bool:
    version = request.header(b"mcp-protocol-version")
    return version is not None and version >= STATELESS.encode()


def _is_json(request: Request) -> bool:
    kind = (request.header(b"content-type") or b"").lower()
    essence, _, parameters = kind.partition(b";")
    charset = parameters.replace(b" ", b"").replace(b'"', b"")
    plain = charset in (b"", b"charset=utf-8", b"charset=utf8")
    coded = request.header(b"content-encoding") or b"identity"
    return essence.strip() == b"application/json" and plain and coded.lower() == b"identity"


def _mismatch(header: str, what: str) -> Malformed:
    return Malformed(
        jsonrpc.HEADER_MISMATCH, f"{header} header does not match the request body's {what}"
    )
