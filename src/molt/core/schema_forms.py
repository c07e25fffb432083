"""A JSON Schema without references and alternatives: one plain form for each way to satisfy it."""

from collections.abc import Callable, Iterator
from typing import Any, Final, cast

Schema = dict[str, Any]
Resolve = Callable[[str], Any]

_DEEPEST: Final = 16
_UNITED: Final = {"required", "dependentRequired"}
_LARGER: Final = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
_SMALLER: Final = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
_BY_NAME: Final = {"properties", "patternProperties"}
_BOTH: Final = {"items", "additionalProperties", "propertyNames", "contains"}
_SPLIT: Final = ("$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "then", "else")


def forms(schema: Any, resolve: Resolve, depth: int = 0) -> Iterator[Schema]:
    """The forms of `schema`, in the order in which it lists its alternatives.

    A form is what has to hold at least: a value made for it must still be checked against the
    schema, for `not`, for the other branches of `oneOf`, for what could not be merged.
    """
    if schema is True:
        yield {}
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return
    whole = cast("Schema", schema)
    plain = {key: value for key, value in whole.items() if key not in _SPLIT}
    yield from _with_parts(plain, _parts(whole, resolve), resolve, depth)


def _parts(schema: Schema, resolve: Resolve) -> list[list[Any]]:
    """What must hold beside the plain keywords: of each list, one of the schemas."""
    links = [schema[key] for key in ("$ref", "$dynamicRef") if isinstance(schema.get(key), str)]
    parts = [[resolve(link)] for link in links]
    parts += [[one] for one in _listed(schema.get("allOf"))]
    parts += [_listed(schema[key]) for key in ("anyOf", "oneOf") if key in schema]
    if "if" in schema:
        parts.append(
            [{"allOf": [schema["if"], schema.get("then", True)]}, schema.get("else", True)]
        )
    return parts


def _with_parts(
    plain: Schema, parts: list[list[Any]], resolve: Resolve, depth: int
) -> Iterator[Schema]:
    if not parts:
        yield plain
        return
    for choice in parts[0]:
        for form in forms(choice, resolve, depth + 1):
            merged = _merged(plain, form)
            if merged is not None:
                yield from _with_parts(merged, parts[1:], resolve, depth)


def _merged(a: Schema, b: Schema) -> Schema | None:
    """Both at once; None where no value can satisfy both."""
    out = dict(a)
    for key, value in b.items():
        if key not in out:
            out[key] = value
            continue
        both = _both(key, out[key], value)
        if both is _NEVER:
            return None
        out[key] = both
    return out


_NEVER: Final = object()


def _both(key: str, a: Any, b: Any) -> object:
    if key == "type":
        return _common_types(a, b)
    if key == "enum":
        common = [v for v in _listed(a) if v in _listed(b)]
        return common or _NEVER
    if key == "const":
        return a if a == b else _NEVER
    if key in _LARGER or key in _SMALLER:
        if not (isinstance(a, int | float) and isinstance(b, int | float)):
            return a
        return max(a, b) if key in _LARGER else min(a, b)
    if key in _UNITED and isinstance(a, list) and isinstance(b, list):
        return list(dict.fromkeys([*cast("list[str]", a), *cast("list[str]", b)]))
    if key in _BY_NAME and isinstance(a, dict) and isinstance(b, dict):
        named: Schema = dict(cast("Schema", a))
        for name, schema in cast("Schema", b).items():
            named[name] = {"allOf": [named[name], schema]} if name in named else schema
        return named
    if key in _BOTH:
        return cast("object", {"allOf": [a, b]})
    return cast("object", a)


def _common_types(a: Any, b: Any) -> Any:
    mine = [a] if isinstance(a, str) else _listed(a)
    theirs = [b] if isinstance(b, str) else _listed(b)
    common = [t for t in mine if t in theirs]
    if "integer" in (set(mine) ^ set(theirs)) and "number" in (*mine, *theirs):
        common.append("integer")
    return common or _NEVER


def _listed(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
