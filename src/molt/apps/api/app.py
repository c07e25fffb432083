"""The control API as an application: OpenAPI from types, tokens from the first day."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from molt import __version__
from molt.apps.access import signin
from molt.apps.access.record import AccessRecord
from molt.apps.access.rules import Rules
from molt.apps.access.throttle import Throttle
from molt.apps.access.uses import Uses
from molt.apps.api import (
    after,
    alerts,
    audit,
    checklist,
    facts,
    gateways,
    metrics,
    outcomes,
    people,
    rollouts,
    shadow,
    stream,
)
from molt.apps.api.hub import Hub
from molt.control.alerts import AlertDesk
from molt.control.controller import Controller
from molt.control.shadowing import Shadowing
from molt.core.errors import (
    MoltError,
    NotFound,
    OperatorError,
    Refused,
    StoreUnavailable,
    VersionConflict,
)
from molt.core.playbook import Cost
from molt.ports import AuditSink, Clock


class Parts(NamedTuple):
    """What the application serves; the control process wires it."""

    controller: Controller
    hub: Hub
    store: Any
    tokens: Any
    clock: Clock
    audit: AuditSink
    audit_dir: Path
    gateway_key: str
    hash_subject: Callable[[str], str]
    verify_run: Callable[[str, float], Any]
    cost: Cost
    shadowing: Shadowing
    alerts: AlertDesk
    runbook: Path | None = None
    rules: Rules = Rules()
    tools_enforced: bool = False


STATUS: dict[type[MoltError], int] = {
    Refused: 409,
    VersionConflict: 409,
    StoreUnavailable: 503,
    NotFound: 404,
    OperatorError: 422,
}


NAMED: Final = ("rollout", "incident", "pair", "alert", "name")
"""Parts of addresses that must name something that is there."""


TAKES: Final = {"/api/v1/runs/calls": "run", "/api/v1/health": "", "/metrics": ""}
"""Calls that take no API token: that of a run, or none."""


def create_app(parts: Parts) -> FastAPI:
    """The application; every part is reachable as `app.state.<name>`."""
    app = _application()
    for name, part in parts._asdict().items():
        setattr(app.state, name, part)
    app.state.throttle, app.state.provider = Throttle(), None
    app.state.uses = Uses(parts.tokens, parts.clock)
    return app


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document, without a running installation."""
    return _application().openapi()


class _Documented(FastAPI):
    """Its OpenAPI document says which call takes which token: what `/docs` needs to offer one."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        document["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "From `molt token add`."},
            "run": {"type": "apiKey", "in": "header", "name": "x-molt-run"},
        }
        for path, methods in document["paths"].items():
            scheme = TAKES.get(path, "token")
            for operation in methods.values():
                operation["security"] = [{scheme: []}] if scheme else []
        return document


def _application() -> FastAPI:
    app = _Documented(
        title="Molt control API",
        version=__version__,
        description="State, commands, evidence and the audit log of rollouts. "
        "Every call needs `Authorization: Bearer TOKEN`, except health and metrics; pages of the "
        "console come with a session instead, and prove each change with `x-csrf-token`.",
    )
    for module in (
        rollouts,
        outcomes,
        facts,
        shadow,
        audit,
        stream,
        metrics,
        gateways,
        after,
        alerts,
        checklist,
        people,
        signin,
    ):
        _say_what_may_be_missing(module.router)
        app.include_router(module.router)
    app.add_exception_handler(MoltError, molt_error)
    app.add_middleware(AccessRecord, owner=app)
    app.get("/api/v1/health", tags=["health"])(_health)
    return app


def _say_what_may_be_missing(router: APIRouter) -> None:
    """Calls about a thing that must be there answer 404 without it; the document says so."""
    for route in router.routes:
        if isinstance(route, APIRoute):
            missing = [thing for thing in NAMED if f"{{{thing}}}" in route.path]
            if missing:
                route.responses[404] = {"description": f"No such {' or '.join(missing)}"}


async def molt_error(_: Request, error: Exception) -> JSONResponse:
    """One of Molt's own errors as an answer: its status says who must act."""
    status = next((s for kind, s in STATUS.items() if isinstance(error, kind)), 500)
    return JSONResponse({"detail": str(error), "error": type(error).__name__}, status)


async def _health(request: Request) -> JSONResponse:
    """Whether control can decide and keep its facts, and which gateways it hears."""
    problem = request.app.state.controller.store_problem
    body = {
        "status": "degraded" if problem else "ok",
        "version": __version__,
        "store": problem or "ok",
        "flags_file": request.app.state.controller.operator.problem or "ok",
        "alerts_undelivered": len(request.app.state.alerts.undelivered()),
        "gateways": sorted(request.app.state.hub.applied()),
    }
    return JSONResponse(body, 503 if problem else 200)
