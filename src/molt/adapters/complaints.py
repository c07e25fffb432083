"""Pydantic's complaints said in a person's words, at the place they are about."""

import types
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Protocol, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from molt.adapters.problems import Problem, did_you_mean

PathKey = tuple[str | int, ...]


class Locate(Protocol):
    """Says where a value, or its key, stands."""

    def __call__(self, path: PathKey, /, *, key: bool = False) -> str: ...


_PLAIN: Final = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "string_type": "text",
    "dict_type": "`key: value` lines",
    "model_type": "`key: value` lines",
    "model_attributes_type": "`key: value` lines",
    "list_type": "a list",
    "tuple_type": "a list",
    "time_delta_type": "a duration such as 30s, 5m, 48h or 7d",
    "time_delta_parsing": "a duration such as 30s, 5m, 48h or 7d",
}

_KINDS: Final[dict[Any, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    timedelta: _PLAIN["time_delta_type"],
    dict: "`key: value` lines",
    list: "a list",
    tuple: "a list",
    Path: "a path",
}


def without_consequences(errors: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """The complaints that are causes: a list is not too short because an item of it is wrong."""
    return [
        error
        for error in errors
        if error["type"] != "too_short"
        or not any(
            len(other["loc"]) > len(error["loc"])
            and other["loc"][: len(error["loc"])] == error["loc"]
            for other in errors
        )
    ]


def describe(
    details: ErrorDetails, data: object, model: type[BaseModel], locate: Locate
) -> Problem:
    """One complaint with its place, its path as people write it, what was wrong and expected."""
    path, last = _resolve(details["loc"], data)
    if details["type"] == "missing":
        shown, wanted = (*path, str(last)), _wanted(model, details["loc"])
        return Problem(
            locate(path, key=bool(path)), _dotted(shown), f"is missing; expected {wanted}"
        )
    if details["type"] == "extra_forbidden":
        known = _known_keys(model, details["loc"][:-1])
        word = str(path[-1])
        text = f"unknown key; {did_you_mean(word, known - {word})}"
        return Problem(locate(path, key=True), _dotted(path), text)
    if details["type"] == "union_tag_invalid":
        return _unknown_kind(details, path, locate)
    if details["type"] == "union_tag_not_found":
        kind = str(details.get("ctx", {}).get("discriminator", "")).strip("'")
        return Problem(locate(path), _dotted((*path, kind)), "is missing; expected a value")
    if details["type"] in ("value_error", "assertion_error"):
        return _own_words(details, path, data, locate)
    found = _shown(details["input"])
    return Problem(locate(path), _dotted(path), f"{found} is wrong; expected {_expected(details)}")


def _unknown_kind(details: ErrorDetails, path: PathKey, locate: Locate) -> Problem:
    context = details.get("ctx", {})
    kind = str(context.get("discriminator", "")).strip("'")
    tag = str(context.get("tag", ""))
    known = [word.strip("' ") for word in str(context.get("expected_tags", "")).split(",")]
    hint = did_you_mean(tag, known)
    inner = (*path, kind)
    return Problem(locate(inner), _dotted(inner), f"{tag!r} is not known; {hint}")


def _own_words(details: ErrorDetails, path: PathKey, data: object, locate: Locate) -> Problem:
    """A validator's own message; one that starts with `key: ` is about that key."""
    text = details["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    value = _at(data, path)
    while isinstance(value, dict):
        key, colon, rest = text.partition(": ")
        if not colon or key not in value:
            return Problem(locate(path), _dotted(path), text)
        path, value, text = (*path, key), value[key], rest
    if not isinstance(value, list) and text.startswith("expected"):
        text = f"{_shown(value)} is wrong; {text}"
    return Problem(locate(path), _dotted(path), text)


def _expected(details: ErrorDetails) -> str:
    kind = details["type"]
    if kind in _PLAIN:
        return _PLAIN[kind]
    context = details.get("ctx", {})
    if kind in ("literal_error", "enum"):
        wanted = str(context.get("expected", ""))
        words = [word.strip("' ") for word in wanted.replace(" or ", ",").split(",")]
        near = did_you_mean(str(details["input"]), words)
        return f"{wanted} ({near})" if near.startswith("did") else wanted
    if kind == "too_short":
        return f"at least {context.get('min_length')}"
    if kind == "string_pattern_mismatch":
        return f"text of the form {context.get('pattern')}"
    text = details["msg"]
    for opening in ("Input should be ", "Input should ", "String should ", "Value error, "):
        if text.startswith(opening):
            rest = text.removeprefix(opening)
            comparison = rest.startswith(("greater", "less"))
            return f"a value {rest}" if comparison else rest.removeprefix("have ")
    return text[:1].lower() + text[1:]


def _shown(value: object) -> str:
    if value is None:
        return "an empty value"
    if isinstance(value, dict):
        return "a group of keys"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _dotted(path: PathKey) -> str:
    return ".".join(str(part) for part in path)


def _at(data: object, path: PathKey) -> object:
    for part in path:
        data = data[part]  # type: ignore[index]  # `_resolve` found every part
    return data


def _resolve(loc: Sequence[str | int], data: object) -> tuple[PathKey, str | int]:
    """The parts of a pydantic location that exist in the data, and the last part as given.

    Pydantic puts names of union members and of validators between the real keys.
    """
    path: list[str | int] = []
    for part in loc:
        in_mapping = isinstance(data, dict) and part in data
        in_list = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if in_mapping or in_list:
            data = data[part]  # type: ignore[index]  # both cases were checked above
            path.append(part)
    return tuple(path), loc[-1] if loc else ""


def _wanted(model: type[BaseModel], loc: Sequence[str | int]) -> str:
    """What belongs at `loc`, where nothing stands."""
    kinds = [m for kind in _kinds(model, loc[:-1]) for m in _members(kind)]
    inner = [m for kind in kinds for one in _inside(kind, loc[-1]) for m in _members(one)]
    words = [_word(kind) for kind in inner if kind is not type(None)]
    return " or ".join(dict.fromkeys(words)) or "a value"


def _word(kind: Any) -> str:
    origin = get_origin(kind) or kind
    if origin is Literal:
        return " or ".join(repr(value) for value in get_args(kind))
    return "`key: value` lines" if _is_model(kind) else _KINDS.get(origin, "a value")


def _known_keys(model: type[BaseModel], loc: Iterable[str | int]) -> set[str]:
    """The keys that a mapping at `loc` may have."""
    models = [m for kind in _kinds(model, loc) for m in _members(kind) if _is_model(m)]
    return {field.alias or name for m in models for name, field in m.model_fields.items()}


def _kinds(model: type[BaseModel], loc: Iterable[str | int]) -> list[Any]:
    """The types that what stands at `loc` may have."""
    here: list[Any] = [model]
    for part in loc:
        here = [member for kind in here for member in _members(kind)]
        inner = [field for kind in here for field in _inside(kind, part)]
        here = inner or [kind for kind in here if _has_tag(kind, part)] or here
    return here


def _members(kind: Any) -> list[Any]:
    """The alternatives of a union, without `Annotated` around them."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _members(get_args(kind)[0])
    if origin in (Union, types.UnionType):
        return [member for arg in get_args(kind) for member in _members(arg)]
    return [kind]


def _inside(kind: Any, part: str | int) -> list[Any]:
    """The type of what stands under `part` of a value of type `kind`; empty when nothing can."""
    if _is_model(kind):
        return [
            field.annotation
            for name, field in kind.model_fields.items()
            if part in (name, field.alias)
        ]
    arguments = [arg for arg in get_args(kind) if arg is not Ellipsis]
    origin = get_origin(kind)
    if origin is dict:
        return arguments[1:]
    if isinstance(part, int) and origin in (list, tuple, set, frozenset):
        return arguments[part : part + 1] or arguments[-1:]
    return []


def _has_tag(kind: Any, part: str | int) -> bool:
    """Whether a union member is the one that pydantic calls `part`."""
    if not _is_model(kind):
        return False
    literals = (f.annotation for f in kind.model_fields.values())
    return kind.__name__ == part or any(
        get_origin(annotation) is Literal and part in get_args(annotation)
        for annotation in literals
    )


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
