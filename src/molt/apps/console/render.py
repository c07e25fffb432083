"""Templates -> pages. Everything a template may call stands here."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from molt import __version__
from molt.apps.api.auth import Caller
from molt.apps.console import formats
from molt.apps.console.assets import assets


class Entry(NamedTuple):
    """A place in the navigation. `key` is what a page says it is; `role` who sees it."""

    key: str
    title: str
    url: str
    role: str = "viewer"


NAVIGATION: Final[list[Entry]] = [
    Entry("rollout", "Rollout", "/console/rollouts"),
    Entry("monitoring", "Monitoring", "/console/monitoring"),
    Entry("analytics", "Analytics", "/console/analytics"),
    Entry("shadow", "Shadow", "/console/shadow"),
    Entry("incidents", "Incidents", "/console/incidents"),
    Entry("playbook", "Playbook", "/console/playbook"),
    Entry("audit", "Audit", "/console/audit"),
    Entry("alerts", "Alerts", "/console/alerts"),
    Entry("checklist", "Checklist", "/console/checklist"),
    Entry("people", "People", "/console/people", "admin"),
]
"""Pages in the order of the menu."""

environment = Environment(
    loader=PackageLoader("molt.apps.console"),
    autoescape=select_autoescape(default=True, default_for_string=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
environment.filters |= formats.FILTERS
environment.globals |= {"static": assets.url, "navigation": NAVIGATION, "version": __version__}


def render(
    request: Request,
    template: str,
    caller: Caller | None,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> HTMLResponse:
    """A whole page. `context["page"]` is its key in the navigation."""
    return HTMLResponse(
        fragment(
            template,
            caller=caller,
            csrf_token=caller.csrf if caller else "",
            missing_assets=assets.missing,
            here=str(request.url.path),
            may=caller.may if caller else lambda role: False,
            **{"page": "", **context},
        ),
        status,
        dict(headers or {}),
    )


def fragment(template: str, **context: Any) -> str:
    """A template as text."""
    return environment.get_template(template).render(**context)
