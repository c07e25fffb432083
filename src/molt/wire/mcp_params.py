"""`Mcp-Param-*` headers of protocol 2026-07-28: arguments of a tool call, said again in headers.

A tool's input schema marks arguments with `x-mcp-header`; the header and the argument must then say the
same, or both be absent, so that nobody on the way decides on a value which the tool never sees.
https://modelcontextprotocol.io/specification/draft/basic/transports#custom-headers-from-tool-parameters
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

from molt.wire.jsonrpc import header_value

PREFIX: Final = b"mcp-param-"
_MARK: Final = "x-mcp-header"
_TYPES: Final = frozenset({"string", "integer", "boolean"})
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_DECIMAL: Final = re.compile(r"(-?(?:0|[1-9]\d*))(?:\.0+)?")
_DATA: Final = frozenset({"default", "examples", "const", "enum"})
"""Keywords whose values are data: a mark in there marks nothing."""
_BY_NAME: Final = frozenset({"patternProperties", "dependentSchemas", "$defs", "definitions"})
"""Keywords whose values hold schemas by name."""


class _Marked(NamedTuple):
    """A marked argument: the names that lead to it, its header's token, its type."""

    path: tuple[str, ...]
    token: str
    kind: str


def mismatch(
    schema: Any, arguments: Mapping[str, Any], headers: Iterable[tuple[bytes, bytes]], *, must: bool
) -> str | None:
    """What is wrong with the headers of a call, in words; None when they agree with `arguments`.

    With `must`, as in protocol 2026-07-28, a header may not be missing either. Header names are lower
    case. A schema with a mark where none may be marks nothing: clients do not use such a tool.
    """
    given = [(name, value) for name, value in headers if name.startswith(PREFIX)]
    if not given and not must:
        return None
    for argument in _marked(schema):
        name = PREFIX + argument.token.lower().encode()
        values = [value for key, value in given if key == name]
        header, path = f"Mcp-Param-{argument.token}", ".".join(argument.path)
        wanted = _said(_at(arguments, argument.path))
        if len(values) > 1:
            return f"{header} header stands twice"
        if not values and wanted is not None and must:
            return f"{header} header is missing, and the body has the argument `{path}`"
        if values and (wanted is None or not _same(argument.kind, wanted, header_value(values[0]))):
            return f"{header} header does not match the request body's argument `{path}`"
    return None


def _marked(schema: Any) -> tuple[_Marked, ...]:
    """The marked arguments of a tool, none when a mark is wrong."""
    found: list[_Marked] = []
    for path, part in _parts(schema):
        if _MARK not in part:
            continue
        token, kind = part[_MARK], part.get("type")
        known = {one.token.lower() for one in found}
        fits = isinstance(token, str) and _TOKEN.fullmatch(token) and token.lower() not in known
        if not path or not fits or not isinstance(kind, str) or kind not in _TYPES:
            return ()
        found.append(_Marked(path, token, kind))
    return tuple(found)


def _parts(schema: Any) -> Iterator[tuple[tuple[str, ...] | None, dict[str, Any]]]:
    """Every schema in `schema`, with the properties that lead to it; None behind any other keyword."""
    stack: list[tuple[tuple[str, ...] | None, Any]] = [((), schema)]
    while stack:
        path, part = stack.pop()
        if isinstance(part, list):
            stack += [(None, one) for one in cast("list[Any]", part)]
        if not isinstance(part, dict):
            continue
        known = cast("dict[str, Any]", part)
        yield path, known
        for keyword, value in known.items():
            if keyword == "properties" and isinstance(value, dict):
                named = cast("dict[str, Any]", value).items()
                stack += [((*path, n) if path is not None else None, one) for n, one in named]
            elif keyword in _BY_NAME and isinstance(value, dict):
                stack += [(None, one) for one in cast("dict[str, Any]", value).values()]
            elif keyword not in _DATA and keyword != _MARK:
                stack.append((None, value))


def _at(arguments: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        arguments = arguments.get(name) if isinstance(arguments, dict) else None
    return arguments


def _said(value: Any) -> str | None:
    """A value as a header says it; None for what no header can say."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


def _same(kind: str, wanted: str, given: str | None) -> bool:
    if given is None:
        return False
    if kind == "integer" and (ours := _DECIMAL.fullmatch(wanted)):
        theirs = _DECIMAL.fullmatch(given)
        return theirs is not None and theirs[1] == ours[1]
    return given == wanted
