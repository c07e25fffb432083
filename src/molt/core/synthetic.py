"""A value that satisfies a JSON Schema, for the answer of a call that was not executed.

Deterministic: the same schema and hints give the same value. What the schema offers itself comes
first (const, enum, examples, default), then values of the call's arguments that have the same name,
then plain ones. Every value is validated before it is given; where none is found,
`CannotSynthesise` is raised, never a wrong value given.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, cast

from jsonschema import FormatChecker
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from molt.core.arguments import is_panic, schema_problem, validator
from molt.core.schema_forms import forms
from molt.core.synthetic_text import texts

Schema = dict[str, Any]

_DEEPEST: Final = 12
_MOST_STEPS: Final = 10_000
"""Bounds the time: a step is a value looked at once. Enough for a list of 256 small objects."""
_MOST_TRIES: Final = 24
_MOST_ITEMS: Final = 256
_TYPES: Final = ("object", "string", "integer", "number", "boolean", "array", "null")
_FORMATS: Final = FormatChecker()


class CannotSynthesise(Exception):
    """No value was found that satisfies the schema."""


def synthesise(schema: Any, hints: Mapping[str, Any] | None = None) -> Any:
    """A value that `schema` accepts; raises `CannotSynthesise`.

    `hints` are values by property name, taken where the schema accepts them there.
    """
    try:
        return _Maker(schema, hints or {}).value()
    except (_Exhausted, RecursionError):
        raise CannotSynthesise("the schema is too large or too deep") from None
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise CannotSynthesise(f"the schema is none: {error}") from None
    except BaseException as failure:
        if not is_panic(failure):
            raise
        raise CannotSynthesise("the schema refers to itself without end") from None


class _Exhausted(Exception):
    """The budget of steps is used up."""


def _weight(value: Any) -> int:
    """How many values there are in `value`, itself included: about what checking it costs."""
    if isinstance(value, dict):
        return 1 + sum(map(_weight, cast("dict[str, Any]", value).values()))
    if isinstance(value, list):
        return 1 + sum(map(_weight, cast("list[Any]", value)))
    return 1


class _Maker:
    """One synthesis over one root schema."""

    def __init__(self, schema: Any, hints: Mapping[str, Any]) -> None:
        self._root = schema
        self._hints = hints
        self._steps = 0
        resource = DRAFT202012.create_resource(schema)
        self._resolver = Registry[Any]().with_resource("", resource).resolver()
        self._checker = cast("Any", validator(schema)).evolve(format_checker=_FORMATS)

    def value(self) -> Any:
        for candidate in islice(self._values(self._root, "", 0), _MOST_TRIES):
            if self._accepts(self._root, candidate):
                return candidate
        raise CannotSynthesise("no value was found that satisfies the schema")

    # --- schemas

    def _accepts(self, schema: Any, value: Any) -> bool:
        self._spend(_weight(value))
        try:
            checker = self._checker.evolve(schema=schema)
            return bool(checker.is_valid(value))
        except RecursionError:  # a schema that refers to itself without end, at every try anew
            raise _Exhausted from None
        except Exception:  # whatever a foreign schema makes the library raise
            return False

    def _spend(self, steps: int = 1) -> None:
        self._steps += steps
        if self._steps > _MOST_STEPS:
            raise _Exhausted

    def _resolve(self, reference: str) -> Any:
        self._spend()
        try:
            return self._resolver.lookup(reference).contents
        except Unresolvable:
            raise CannotSynthesise(f"$ref {reference!r} leads nowhere") from None

    def _first(self, schema: Any, name: str, depth: int) -> list[Any]:
        """The first accepted value in a list of one; empty when there is none."""
        for candidate in islice(self._values(schema, name, depth), _MOST_TRIES):
            if self._accepts(schema, candidate):
                return [candidate]
        return []

    # --- values

    def _values(self, schema: Any, name: str, depth: int) -> Iterator[Any]:
        """Candidates for one place, best first; `name` is the property it belongs to."""
        if depth > _DEEPEST or schema is False:
            return
        if not isinstance(schema, dict):
            yield from self._hinted(name)
            yield None if name else {}
            return
        for form in islice(forms(cast("Schema", schema), self._resolve), _MOST_TRIES):
            self._spend()
            yield from self._of_form(form, name, depth)

    def _of_form(self, form: Schema, name: str, depth: int) -> Iterator[Any]:
        if "const" in form:
            yield form["const"]
            return
        if "enum" in form:
            yield from self._hinted(name)
            yield from _listed(form["enum"])
            return
        yield from self._hinted(name)
        yield from _listed(form.get("examples"))
        if "default" in form:
            yield form["default"]
        for kind in _types(form):
            yield from self._of_type(kind, form, depth)

    def _hinted(self, name: str) -> Iterator[Any]:
        if name in self._hints:
            yield self._hints[name]

    def _of_type(self, kind: str, form: Schema, depth: int) -> Iterator[Any]:
        if kind == "object":
            yield from self._objects(form, depth)
        elif kind == "array":
            yield from self._arrays(form, depth)
        elif kind == "string":
            yield from texts(form)
        elif kind in ("integer", "number"):
            yield from numbers(form, whole=kind == "integer")
        elif kind == "boolean":
            yield from (False, True)
        elif kind == "null":
            yield None

    def _objects(self, form: Schema, depth: int) -> Iterator[Any]:
        """All declared properties; if that is not accepted, only what is required."""
        declared = _mapping(form.get("properties"))
        required = [str(n) for n in _listed(form.get("required"))]
        wanted = dict.fromkeys([*declared, *required]) if depth < 4 else dict.fromkeys(required)
        filled = self._filled(wanted, form, depth, required)
        if filled is not None:
            yield self._padded(filled, form, depth)
        if set(wanted) != set(required):
            least = self._filled(required, form, depth, required)
            if least is not None:
                yield self._padded(self._dependent(least, form, depth), form, depth)

    def _filled(
        self, names: Iterable[str], form: Schema, depth: int, required: list[str]
    ) -> dict[str, Any] | None:
        """Values for `names`; an optional one that has none is left out, a required one ends it."""
        made: dict[str, Any] = {}
        for name in names:
            found = self._first(_schema_of(name, form), name, depth + 1)
            if found:
                made[name] = found[0]
            elif name in required:
                return None
        return made

    def _dependent(self, made: dict[str, Any], form: Schema, depth: int) -> dict[str, Any]:
        """With what the properties that are there require beside them."""
        open_names = list(made)
        while open_names:
            for name in _listed(_mapping(form.get("dependentRequired")).get(open_names.pop())):
                if name not in made and (
                    found := self._first(_schema_of(name, form), name, depth + 1)
                ):
                    made[name] = found[0]
                    open_names.append(name)
        return made

    def _padded(self, made: dict[str, Any], form: Schema, depth: int) -> dict[str, Any]:
        """With more properties, up to `minProperties`."""
        fewest = min(int(form.get("minProperties", 0)), _MOST_ITEMS)
        names = self._new_names(form)
        while len(made) < fewest:
            name = next((n for n in names if n not in made), None)
            if name is None:
                break
            found = self._first(_schema_of(name, form), name, depth + 1)
            if found:
                made[name] = found[0]
        return made

    def _new_names(self, form: Schema) -> Iterator[str]:
        yield from _mapping(form.get("properties"))
        rule = form.get("propertyNames")
        if isinstance(rule, dict):
            yield from islice(self._values({"type": "string", **rule}, "", _DEEPEST), _MOST_TRIES)
        for pattern in _mapping(form.get("patternProperties")):
            yield from texts({"pattern": pattern})
        for number in range(_MOST_ITEMS):
            yield f"property_{number}"

    def _arrays(self, form: Schema, depth: int) -> Iterator[Any]:
        """As short as it may be; where that is not accepted, longer ones."""
        first = _listed(form.get("prefixItems"))
        rest = form.get("items", True)
        fewest = min(int(form.get("minItems", 0)), _MOST_ITEMS)
        wanted = max(1, int(form.get("minContains", 1))) if "contains" in form else 0
        for length in dict.fromkeys((fewest, max(fewest, 1, wanted), max(fewest, len(first)))):
            made: list[Any] = []
            for at in range(length):
                schema = first[at] if at < len(first) else rest
                if at >= len(first) and at - len(first) < wanted:
                    schema = {"allOf": [schema, form["contains"]]}
                taken = made if form.get("uniqueItems") is True else []
                made += self._another(schema, taken, at, depth)
            if len(made) >= fewest:
                yield made

    def _another(self, schema: Any, taken: list[Any], at: int, depth: int) -> list[Any]:
        """An item that differs from those `taken`."""
        for candidate in islice(self._values(schema, "", depth + 1), _MOST_TRIES):
            if candidate not in taken and self._accepts(schema, candidate):
                return [candidate]
        # Plain values are the same every time, so that a set needs numbered ones.
        for candidate in (at, float(at) + 0.5, f"dry-run-{at}", [at], {f"property_{at}": at}):
            if taken and candidate not in taken and self._accepts(schema, candidate):
                return [candidate]
        return []


def numbers(form: Schema, *, whole: bool) -> Iterator[float]:
    """Candidates for a number: zero if it may be, else what is nearest to a bound."""
    low, high = (
        _bound(form, "minimum", "exclusiveMinimum"),
        _bound(form, "maximum", "exclusiveMaximum"),
    )
    step = form.get("multipleOf", 1 if whole else None)
    yield 0 if whole else 0.0
    grain = step if isinstance(step, int | float) and step > 0 else 1
    if low is not None:
        base = math.ceil(low / grain) * grain
        yield from (low, base, base + grain)
    if high is not None:
        base = math.floor(high / grain) * grain
        yield from (high, base, base - grain)
    if low is not None and high is not None:
        yield (low + high) / 2
    if not whole:
        yield (low if low is not None else 0 if high is None else high - 1) + 0.5
    if whole and grain != 1:
        yield from (grain * n for n in range(1, _MOST_TRIES))


def _bound(form: Schema, inclusive: str, exclusive: str) -> float | None:
    bounds = [form.get(key) for key in (inclusive, exclusive)]
    known = [b for b in bounds if isinstance(b, int | float) and not isinstance(b, bool)]
    if not known:
        return None
    return max(known) if inclusive == "minimum" else min(known)


def _types(form: Schema) -> Iterator[str]:
    declared = form.get("type")
    if isinstance(declared, str):
        yield declared
    elif isinstance(declared, list):
        yield from cast("list[str]", declared)
    else:
        told = [kind for kind, words in _TELLING.items() if words & form.keys()]
        yield from dict.fromkeys([*told, *_TYPES])


_TELLING: Final = {
    "object": {"properties", "required", "minProperties", "additionalProperties"},
    "array": {"items", "prefixItems", "minItems", "contains"},
    "string": {"pattern", "minLength", "maxLength", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
}


def _schema_of(name: str, form: Schema) -> Any:
    """What holds for a property: its own schema with those of patterns, or that of the others."""
    parts = [s for n, s in _mapping(form.get("properties")).items() if n == name]
    for pattern, schema in _mapping(form.get("patternProperties")).items():
        if schema_problem({"pattern": pattern}, name) is None:
            parts.append(schema)
    if not parts:
        return form.get("additionalProperties", True)
    return parts[0] if len(parts) == 1 else {"allOf": parts}


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _listed(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
