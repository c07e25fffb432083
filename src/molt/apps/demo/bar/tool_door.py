"""The door between agent and tools: every call passes here, whichever model asked for it.

In shadow a writing tool is not executed: its arguments are validated and a marked result that
satisfies its output schema goes back; where the tools are behind Molt, Molt does that. In live mode a writing call is reported before it is made.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.exceptions import McpError
from httpx2 import HTTPError
from jsonschema import Draft202012Validator
from pydantic_ai import ModelRetry, RunContext
from pydantic_ai.mcp import CallToolFunc, MCPToolset
from pydantic_ai.toolsets import AbstractToolset
from pydantic_ai.toolsets.abstract import ToolsetTool

from molt.apps.demo.bar.desks import AGENT_TOOLS, READ_ONLY
from molt.apps.demo.bar.dialects import Done
from molt.apps.demo.bar.run import Run, RunClosed, ToolsUnreachable

log = logging.getLogger(__name__)
REPORT_TIMEOUT = aiohttp.ClientTimeout(total=2.0)
REPORT_RETRY = 0.1
"""Seconds before an unreachable reporting address is tried a second and last time."""


BeforeAction = Callable[[Run], Awaitable[None]]
"""Awaited before a run acts for real."""


class ToolDoor:
    """One persistent MCP session for all agents, and the rules of its use.

    A session that broke is replaced before the next run; the run in which it broke fails.
    """

    def __init__(
        self, tools_url: str, before_action: BeforeAction, tools_know_shadow: bool = False
    ) -> None:
        self._url = tools_url
        self._before_action = before_action
        self._tools_know_shadow = tools_know_shadow
        self._toolset: MCPToolset[Run] | None = None
        self._of_agent: dict[str, AbstractToolset[Run]] = {}
        self._broken = True
        self._connecting = asyncio.Lock()
        self._schemas: dict[str, tuple[Draft202012Validator, dict[str, Any]]] = {}
        self._reports = aiohttp.ClientSession(timeout=REPORT_TIMEOUT)

    async def close(self) -> None:
        """Give up the connections."""
        await self._reports.close()
        await self._disconnect()

    async def tools_of(self, agent: str) -> AbstractToolset[Run]:
        """The tools of one agent type, and those a run was given beside them; raises `ToolsUnreachable`."""
        if self._broken:
            async with self._connecting:
                if self._broken:
                    await self._connect()
        return self._of_agent[agent]

    async def _connect(self) -> None:
        await self._disconnect()
        client = Client(StreamableHttpTransport(self._url))
        toolset: MCPToolset[Run] = MCPToolset(client, id="bar", process_tool_call=self._pass)
        try:
            await toolset.__aenter__()
            tools = await client.list_tools()
        except (HTTPError, McpError, OSError, RuntimeError) as error:
            raise ToolsUnreachable(
                f"the tools at {self._url} cannot be reached: {error}"
            ) from error
        self._schemas = {
            t.name: (Draft202012Validator(t.input_schema), t.output_schema or {}) for t in tools
        }
        self._of_agent = {agent: OwnTools(toolset, own) for agent, own in AGENT_TOOLS.items()}
        self._toolset, self._broken = toolset, False

    async def _disconnect(self) -> None:
        toolset, self._toolset = self._toolset, None
        if toolset is None:
            return
        try:
            await toolset.__aexit__(None, None, None)
        except (HTTPError, McpError, OSError, RuntimeError) as error:
            log.info("the broken tool session did not close cleanly: %s", error)

    async def _pass(
        self, context: RunContext[Run], call: CallToolFunc, name: str, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        """The tool's result, or {"error": why}; raises `RunClosed` or `ToolsUnreachable`."""
        run = context.deps
        writes = name not in READ_ONLY
        done = Done(name, arguments, {"error": "not executed"}, dry_run=writes and run.shadow)
        run.calls.append(done)
        if done.dry_run and not self._tools_know_shadow:
            done.result = self._dry_run(name, arguments)
            return done.result
        if writes and not done.dry_run:
            await self._before_action(run)
            await self._report(run, name, arguments)
            run.acted.append(name)
        done.result = await self._execute(call, name, arguments, run)
        return done.result

    async def _execute(
        self, call: CallToolFunc, name: str, arguments: dict[str, Any], run: Run
    ) -> dict[str, Any]:
        try:
            result = await call(name, arguments, metadata=run.meta())
        except ModelRetry as refused:
            if not isinstance(refused.__cause__, McpError):
                return {"error": str(refused)}
            self._broken = True
            raise ToolsUnreachable(f"{name}: {refused}") from refused
        except (HTTPError, OSError, RuntimeError) as error:
            self._broken = True
            raise ToolsUnreachable(f"{name}: {error}") from error
        return result if isinstance(result, dict) else {"text": str(result)}

    def _dry_run(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        validator, output = self._schemas[name]
        wrong = next(iter(validator.iter_errors(arguments)), None)
        if wrong is not None:
            return {"error": f"{name} would be refused: {wrong.message}"}
        return synthetic(output, arguments)

    async def _report(self, run: Run, name: str, arguments: dict[str, Any]) -> None:
        """Tell the watcher what is about to be done.

        Only a 409 stops it. A watcher that cannot be reached does not stop the bar: the agent is
        observed, not enforced.
        """
        if not (run.report_url and run.token):
            return
        for pause in (REPORT_RETRY, 0.0):
            try:
                headers = {"x-molt-run": run.token}
                body = {"tool": name, "arguments": arguments}
                async with self._reports.post(run.report_url, json=body, headers=headers) as answer:
                    if answer.status == 409:
                        raise RunClosed(f"{name} was not executed: the run is closed")
                    return
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(pause)


class OwnTools(AbstractToolset[Run]):
    """The part of the bar's tools that one agent type has, and what a run was given beside them.

    The list is made once: pydantic-ai asks for it again at every step of every run.
    """

    def __init__(self, all_tools: MCPToolset[Run], own: tuple[str, ...]) -> None:
        self._all = all_tools
        self._own = own
        self._made: dict[tuple[str, ...], dict[str, ToolsetTool[Run]]] = {}

    @property
    def id(self) -> str | None:
        """No id: the set lives as long as one connection."""
        return None

    async def get_tools(self, ctx: RunContext[Run]) -> dict[str, ToolsetTool[Run]]:
        """Tool name -> tool."""
        extra = ctx.deps.extra_tools
        if extra not in self._made:
            tools = await self._all.get_tools(ctx)
            self._made[extra] = {
                name: tools[name] for name in (*self._own, *extra) if name in tools
            }
        return self._made[extra]

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Run], tool: ToolsetTool[Run]
    ) -> Any:
        """The tool's result."""
        return await self._all.call_tool(name, tool_args, ctx, tool)


def synthetic(schema: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """A value that satisfies an object `schema`: arguments where names and types agree, else blanks."""
    return {
        name: _blank(part, schema, arguments.get(name))
        for name, part in schema.get("properties", {}).items()
    }


def _blank(part: dict[str, Any], schema: dict[str, Any], wanted: Any) -> Any:
    if "$ref" in part:
        part = schema.get("$defs", {}).get(part["$ref"].rsplit("/", 1)[-1], {})
    if wanted is not None and Draft202012Validator(
        {**part, "$defs": schema.get("$defs", {})}
    ).is_valid(wanted):
        return wanted
    if "enum" in part:
        return part["enum"][0]
    blanks: dict[str, Any] = {
        "string": "dry-run",
        "integer": 0,
        "number": 0.0,
        "boolean": False,
        "array": [],
    }
    if part.get("type") == "object":
        return synthetic({**part, "$defs": schema.get("$defs", {})}, {})
    return blanks.get(str(part.get("type")))
