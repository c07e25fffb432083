"""Opens the doors to tools: one for each server, one for `molt.guard`, with one gate for them all."""

from collections.abc import Callable, Iterable

import aiohttp

from molt.egress import guard
from molt.egress.app import App
from molt.egress.gate import Gate
from molt.egress.http_tools import HttpDoor
from molt.egress.mcp import McpDoor
from molt.egress.recorded import Recorded
from molt.egress.settings import ToolService
from molt.egress.worker import Egress


def open_tool_doors(egress: Egress) -> None:
    """Open the doors that the settings name; call before `egress.start`."""
    gate = Gate(egress.callers, egress.ledger, egress.journal, egress.violations)
    settings = egress.settings
    open_doors(egress.app, gate, settings.tools, lambda: egress.http, settings.max_body)


def open_doors(
    app: App,
    gate: Gate,
    services: Iterable[ToolService],
    http: Callable[[], aiohttp.ClientSession],
    max_body: int,
) -> None:
    """Open a door in `app` for each service, and the guard's."""
    recorded = Recorded()
    app.at(guard.PATH, guard.GuardDoor(gate, max_body))
    for service in services:
        if service.kind == "mcp":
            app.at(f"/mcp/{service.name}", McpDoor(service, gate, http, recorded, max_body))
        else:
            prefix = f"/http/{service.name}/"
            app.under(prefix, HttpDoor(service, gate, http, recorded, max_body))
