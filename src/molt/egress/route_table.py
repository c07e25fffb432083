"""Which route a request is, and with which arguments: read in one way only, or in none.

A path that two servers could read differently (dot segments, encoded slashes, empty segments, path
parameters, double encoding) is no route. What is sent on is written anew from what was read, so
that the server behind decides about the same thing as the policy did.
"""

import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlencode

import msgspec

from molt.egress.settings import Route

_SEGMENT: Final = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,=:@]|%[0-9A-Fa-f]{2})+")
_PARAMETER: Final = re.compile(r"\{([^{}]+)\}")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d+)?")
_MOST_QUERY: Final = 1000
_OVERRIDES: Final = frozenset({"_method", "_http_method", "x-http-method-override"})


class Ambiguous(Exception):
    """A request whose arguments could be read in two ways; says which."""


class Match(NamedTuple):
    """A route, and the parts of the path that its template names."""

    route: Route
    path: str
    parameters: dict[str, str]


class RouteTable:
    """The routes of one service."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: list[tuple[Route, list[str]]] = [(r, _split(r.path)) for r in routes]
        # Literal segments win over parameters, whatever the order of the table.
        self._routes.sort(key=lambda one: [("{" in part) for part in one[1]])

    def match(self, method: str, raw_path: bytes) -> Match | None:
        """The route of a request; None when it is not listed, or not to be read safely."""
        segments = read_path(raw_path)
        if segments is None:
            return None
        wanted = ("GET", "HEAD") if method == "HEAD" else (method,)
        for route, parts in self._routes:
            if route.method in wanted and (found := _fits(parts, segments)) is not None:
                path = "/" + "/".join(quote(segment, safe="") for segment in segments)
                return Match(route, path, found)
        return None


def read_path(raw: bytes) -> list[str] | None:
    """The decoded segments of a path; None where it could be read in more than one way."""
    if not raw.startswith(b"/"):
        return None
    segments: list[str] = []
    parts = raw[1:].split(b"/")
    for at, part in enumerate(parts):
        if not part and at == len(parts) - 1:
            segments.append("")
            continue
        if not _SEGMENT.fullmatch(part):
            return None
        try:
            text = unquote_to_bytes(part).decode("utf-8")
        except UnicodeDecodeError:
            return None
        if text in (".", "..") or any(c in "/\\%;" or ord(c) < 32 or c == "\x7f" for c in text):
            return None
        segments.append(text)
    return segments


def read_query(raw: bytes) -> tuple[list[tuple[str, str]], str]:
    """The parameters of a query and the query to send on; raises `Ambiguous`."""
    if not raw:
        return [], ""
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MOST_QUERY,
        )
    except ValueError:
        raise Ambiguous("the query is not one of `name=value&...`") from None
    if b";" in raw:
        raise Ambiguous("the query contains `;`, which some take for `&`")
    return pairs, urlencode(pairs)


def arguments_of(match: Match, query: list[tuple[str, str]], body: Any) -> dict[str, Any]:
    """All arguments of a call, of path, query and body; raises `Ambiguous`.

    A body that is no object is the argument `body`. Texts of path and query become what the
    route's schema calls numbers, whole numbers or booleans; without a schema, what looks like one.
    """
    types = _types(match.route.input_schema)
    made: dict[str, Any] = {k: _typed(v, types.get(k)) for k, v in match.parameters.items()}
    seen: dict[str, list[Any]] = {}
    for name, text in query:
        seen.setdefault(name, []).append(_typed(text, types.get(name)))
    parts: list[dict[str, Any]] = [
        {name: values[0] if len(values) == 1 else values for name, values in seen.items()}
    ]
    if body is not None:
        parts.append(body if isinstance(body, dict) else {"body": body})
    for part in parts:
        for name, value in part.items():
            if name in made:
                raise Ambiguous(f"argument {name!r} is given twice, in path, query or body")
            if name.lower() in _OVERRIDES:
                raise Ambiguous(f"argument {name!r} would make it another method")
            made[name] = value
    return made


def _split(template: str) -> list[str]:
    return template[1:].split("/")


def _fits(parts: list[str], segments: list[str]) -> dict[str, str] | None:
    if len(parts) != len(segments):
        return None
    found: dict[str, str] = {}
    for part, segment in zip(parts, segments, strict=True):
        if "{" not in part:
            if part != segment:
                return None
            continue
        names = _PARAMETER.findall(part)
        pattern = "(.+)".join(re.escape(piece) for piece in _PARAMETER.split(part)[::2])
        match = re.fullmatch(pattern, segment)
        if match is None:
            return None
        found |= dict(zip(names, match.groups(), strict=True))
    return found


def _types(schema: Any) -> dict[str, str]:
    """Declared types by name, as far as they stand in the open."""
    if not isinstance(schema, dict):
        return {}
    found: dict[str, str] = {}
    for inner in (*schema.get("allOf", ()), *schema.get("anyOf", ())):
        found |= _types(inner)
    properties = schema.get("properties")
    for name, one in properties.items() if isinstance(properties, dict) else ():
        if isinstance(one, dict) and isinstance(one.get("type"), str):
            found[name] = one["type"]
    return found


def _typed(text: str, kind: str | None) -> Any:
    if kind in (None, "integer", "number") and _NUMBER.fullmatch(text):
        return msgspec.json.decode(text)
    if kind in (None, "boolean") and text in ("true", "false"):
        return text == "true"
    return text
