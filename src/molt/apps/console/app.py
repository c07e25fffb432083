"""The console as a part of control's application: pages, files, headers, errors as pages."""

from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import (
    http_exception_handler,
    request_validation_exception_handler,
)
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException as AnyHTTPException

from molt.apps.api.app import molt_error
from molt.apps.console import assets
from molt.apps.console.background import Replays
from molt.apps.console.headers import ALWAYS, POLICY, SecurityHeaders
from molt.apps.console.pages import ROUTERS
from molt.apps.console.render import render
from molt.apps.console.what_if import Questions
from molt.control.condensed import Condensed
from molt.core.errors import MoltError

TITLES = {
    401: "Please sign in",
    403: "That is not allowed",
    404: "There is no such page",
    409: "That was refused",
    422: "That cannot be",
    500: "That is a fault of Molt",
    503: "Not available now",
}


def add_console(app: FastAPI) -> None:
    """Serve the console at `/console`; `/` leads there."""
    replays = Replays(app.state.audit_dir.parent)
    app.state.condensed = Condensed(app.state.store)
    app.state.controller.on_batch(app.state.condensed.late)
    app.state.replays, app.state.questions = replays, Questions(replays)
    app.include_router(assets.router)
    for router in ROUTERS:
        app.include_router(router, prefix="/console", include_in_schema=False)
    app.add_api_route("/", _home, include_in_schema=False)
    app.add_api_route("/favicon.ico", _icon, include_in_schema=False)
    app.add_middleware(SecurityHeaders)
    app.add_exception_handler(AnyHTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(MoltError, _molt_error)
    app.add_exception_handler(500, _fault)


async def _home() -> RedirectResponse:
    return RedirectResponse("/console", 307)


async def _icon() -> FileResponse:
    """For pages that name none: browsers ask for it all the same."""
    return FileResponse(assets.STATIC / "icon.svg", media_type="image/svg+xml")


def is_page(request: Request) -> bool:
    """Whether a browser asks for one of the console's pages."""
    return request.url.path == "/console" or request.url.path.startswith("/console/")


def error_page(request: Request, status: int, detail: str) -> Response:
    """What went wrong, as a page with a way on; for a form that was sent from a page, as a part of it."""
    title = TITLES.get(status, "Something went wrong")
    caller = getattr(request.state, "caller", None)
    request.state.refused = detail
    if request.headers.get("hx-request"):
        return render(request, "_refused.html", caller, status=status, why=detail)
    return render(
        request, "error.html", caller, status=status, title=title, detail=detail, code=status
    )


async def _molt_error(request: Request, error: Exception) -> Response:
    answer = await molt_error(request, error)
    return error_page(request, answer.status_code, str(error)) if is_page(request) else answer


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AnyHTTPException)
    if not is_page(request) or error.status_code < 400:
        return await http_exception_handler(request, error)
    detail = str(error.detail)
    if detail == "Not Found":
        detail = "The address is mistyped, or what it showed is gone."
    page = error_page(request, error.status_code, detail)
    page.headers.update(error.headers or {})
    return page


async def _fault(request: Request, _: Exception) -> Response:
    """A bug: traffic and decisions go on without this answer, and whoever asked is told so."""
    detail = (
        "This could not be answered. Traffic and decisions are not touched by it; the log of molt "
        "serve says what happened."
    )
    if not is_page(request):
        return JSONResponse({"detail": detail}, 500)
    page = error_page(request, 500, detail)
    page.headers.update(ALWAYS | {"content-security-policy": POLICY, "cache-control": "no-store"})
    return page


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if not is_page(request):
        return await request_validation_exception_handler(request, error)
    first = error.errors()[0]
    return error_page(request, 422, f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}")
