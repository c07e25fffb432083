"""Rules on the arguments of a tool call: short limits such as `quantity <= 20`, or JSON Schema.

    limit  = target comparison value | target "in" list
    target = path | "len(" path ")"
    path   = name { "." name | "[]" }        "[]" means: each item of the list
    value  = a JSON literal: 20, "here", true, null; a list for "in"

An argument that was not given breaks no limit (a schema's `required` does); one of the wrong type
breaks it.
"""

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

import msgspec
from jsonschema import Draft202012Validator, SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry

Rule = str | dict[str, Any]
"""A limit, or a JSON Schema fragment that the arguments as a whole must satisfy."""

_NAME: Final = r"[A-Za-z_$][\w$-]*"
_PATH: Final = rf"{_NAME}(?:\[\])*(?:\.{_NAME}(?:\[\])*)*"
_LIMIT: Final = re.compile(
    rf"\s*(?:(?P<len>len)\(\s*(?P<inner>{_PATH})\s*\)|(?P<path>{_PATH}))\s*"
    r"(?P<op><=|>=|==|!=|<|>|\bin\b)\s*(?P<value>.+?)\s*",
    re.DOTALL,
)
_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
}
_EXAMPLE: Final = 'expected a limit such as quantity <= 20, len(items) <= 5 or kind in ["a", "b"]'
_NOWHERE: Final[Registry[Any]] = Registry()
"""Resolves no reference outside of the schema: a schema must not make Molt fetch anything."""


class Limit(NamedTuple):
    """One parsed limit. `path` holds names, and `[]` for "each item"."""

    path: tuple[str, ...]
    of_length: bool
    comparison: str
    value: Any

    def holds(self, arguments: Any) -> bool:
        """Whether every value at the path keeps the limit; no value keeps it."""
        return all(self._keeps(value) for value in _at(arguments, self.path))

    def _keeps(self, value: Any) -> bool:
        if self.of_length:
            if not isinstance(value, str | list | dict):
                return False
            value = len(cast("Sequence[Any]", value))
        if self.comparison == "in":
            return any(_same(value, one) for one in self.value)
        if self.comparison == "==":
            return _same(value, self.value)
        if self.comparison == "!=":
            return not _same(value, self.value)
        alike = (_is_number(value) and _is_number(self.value)) or (
            isinstance(value, str) and isinstance(self.value, str)
        )
        return alike and _ORDER[self.comparison](value, self.value)


def parse_limit(text: str) -> Limit:
    """The limit that `text` says; raises ValueError that shows one as it should be."""
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r}: {_EXAMPLE}")
    try:
        value = msgspec.json.decode(match["value"])
    except msgspec.DecodeError:
        raise ValueError(
            f"{text!r}: {match['value']!r} is not a JSON value; {_EXAMPLE} (texts in quotes)"
        ) from None
    comparison = match["op"]
    if comparison == "in" and not isinstance(value, list):
        raise ValueError(f"{text!r}: expected a list behind `in`")
    if (comparison in _ORDER or match["len"]) and comparison != "in":
        fits = _is_number(value) or (isinstance(value, str) and not match["len"])
        if not fits:
            raise ValueError(f"{text!r}: {value!r} cannot be compared by {comparison}; {_EXAMPLE}")
    path = match["inner"] or match["path"]
    return Limit(_steps(path), bool(match["len"]), comparison, value)


def check_rule(rule: Rule) -> None:
    """Nothing for a rule that can be applied; else ValueError with what is wrong with it."""
    if isinstance(rule, str):
        parse_limit(rule)
        return
    try:
        Draft202012Validator.check_schema(rule)
    except SchemaError as error:
        raise ValueError(f"not a JSON Schema: {error.message}") from None
    for reference in _references(rule):
        if not reference.startswith("#"):
            raise ValueError(f"$ref {reference!r}: only references inside the schema are followed")


def broken(rules: Sequence[Rule], arguments: Any) -> str | None:
    """The first rule that `arguments` break, in words; None when they keep all."""
    for rule in rules:
        if isinstance(rule, str):
            if not _limit(rule).holds(arguments):
                return f"arguments break `{rule}`"
        elif (problem := schema_problem(rule, arguments)) is not None:
            return f"arguments break the rule: {problem}"
    return None


def schema_problem(schema: Any, value: Any) -> str | None:
    """What is wrong with `value` under a JSON Schema, in words; None when nothing is.

    A schema that cannot be applied (a reference that leads nowhere) is a problem, too.
    """
    try:
        error = next(iter(validator(schema).iter_errors(value)), None)
    except Exception as failure:  # whatever a foreign schema makes the library raise
        return f"the schema cannot be applied: {type(failure).__name__}"
    except BaseException as failure:
        if not is_panic(failure):
            raise
        return "the schema cannot be applied: it refers to itself without end"
    return None if error is None else describe(error)


def is_panic(failure: BaseException) -> bool:
    """Whether the library's compiled part gave up: at Python's recursion limit it raises a
    `BaseException` of its own that cannot be imported."""
    return type(failure).__name__ == "PanicException"


def describe(error: ValidationError) -> str:
    """An error of the library in one short line that begins with where it is."""
    place = ".".join(str(part) for part in error.absolute_path)
    message = error.message if len(error.message) <= 300 else error.message[:297] + "..."
    return f"{place}: {message}" if place else message


def validator(schema: Any) -> Validator:
    """A validator of the schema's own draft that fetches nothing; the last few hundred are kept."""
    return _validator(msgspec.json.encode(schema))


@lru_cache(512)
def _validator(text: bytes) -> Validator:
    schema = msgspec.json.decode(text)
    return validator_for(schema, default=Draft202012Validator)(schema, registry=_NOWHERE)


@lru_cache(4096)
def _limit(text: str) -> Limit:
    return parse_limit(text)


def _steps(path: str) -> tuple[str, ...]:
    return tuple(re.findall(rf"{_NAME}|\[\]", path))


def _at(value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """All values at `path`. A list where an object was expected, or the reverse, is a value of the
    wrong type: it is given as it is, and keeps no comparison."""
    if not path:
        yield value
        return
    step, rest = path[0], path[1:]
    if step == "[]":
        if isinstance(value, list):
            for item in cast("list[Any]", value):
                yield from _at(item, rest)
        else:
            yield _WRONG
    elif isinstance(value, dict):
        if step in value:
            yield from _at(value[step], rest)
    else:
        yield _WRONG


_WRONG: Final = object()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(a: Any, b: Any) -> bool:
    """Equality as JSON has it: true is not 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return a is not _WRONG and a == b


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in cast("dict[str, Any]", schema).items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for item in cast("list[Any]", schema):
            yield from _references(item)
