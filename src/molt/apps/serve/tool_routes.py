"""The routes of an HTTP tool service, from its table in molt.yaml and its OpenAPI document."""

import re
from pathlib import Path
from typing import Any

import httpx
import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from molt.apps.settings import ToolRoute, ToolService
from molt.core.arguments import check_rule
from molt.core.errors import OperatorError
from molt.egress import openapi
from molt.egress.settings import Route

_ROUTE = re.compile(r"(GET|HEAD|POST|PUT|PATCH|DELETE) (/[^\s?#]*)")
FETCH_SECONDS = 10.0


def routes_of(where: str, one: ToolService, kept: Path) -> tuple[Route, ...]:
    """All routes of a service; its table wins over the document. Raises `OperatorError`.

    A document from a URL is kept at `kept`, for a start at which the URL does not answer.
    """
    if one.kind == "mcp":
        if one.routes or one.openapi:
            raise OperatorError(f"{where}: routes and openapi belong to `kind: http`")
        return ()
    found: dict[tuple[str, str], Route] = {}
    if one.openapi is not None:
        try:
            found = {(r.method, r.path): r for r in openapi.routes(_document(one.openapi, kept))}
        except (ValueError, AttributeError, TypeError) as error:
            raise OperatorError(f"{where}.openapi: {one.openapi}: {error}") from None
    for text, given in one.routes.items():
        match = _ROUTE.fullmatch(text)
        if match is None:
            raise OperatorError(
                f"{where}.routes: {text!r}: expected METHOD /path, such as POST /cart/{{id}}/add"
            )
        key = (match[1], match[2])
        found[key] = _route(where, key, given, found.get(key))
    if not found:
        raise OperatorError(f"{where}: an http service needs `routes` or `openapi`")
    return tuple(found.values())


def _route(where: str, key: tuple[str, str], given: str | ToolRoute, known: Route | None) -> Route:
    own = ToolRoute(tool=given) if isinstance(given, str) else given
    route = known or Route(method=key[0], path=key[1], tool=own.tool)
    changes: dict[str, Any] = {"tool": own.tool}
    for field, schema in (("input_schema", own.arguments), ("output_schema", own.response)):
        if schema is not None:
            try:
                check_rule(schema)
            except ValueError as error:
                raise OperatorError(f"{where}.routes: {' '.join(key)}: {error}") from None
            changes[field] = schema
    if "example" in own.model_fields_set:
        changes |= {"example": own.example, "has_example": True}
    elif own.response is not None:
        changes |= {"example": None, "has_example": False}
    return msgspec.structs.replace(route, **changes)


def _document(source: str, kept: Path) -> dict[str, Any]:
    if "://" not in source:
        return _parsed(_text(Path(source)))
    try:
        answer = httpx.get(source, timeout=FETCH_SECONDS, follow_redirects=True)
        answer.raise_for_status()
        document = _parsed(answer.text)
    except (httpx.HTTPError, ValueError) as error:
        if not kept.exists():
            raise ValueError(f"{error}; and no copy of an earlier start is there") from None
        return _parsed(_text(kept))
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(msgspec.json.encode(document))
    return document


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(str(error)) from None


def _parsed(text: str) -> dict[str, Any]:
    try:
        document = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ValueError(f"neither JSON nor YAML: {error}") from None
    if not isinstance(document, dict):
        raise ValueError("expected an object")
    return document
