"""Texts that have a format, match a pattern, or have a length: the same ones every time."""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

DEFAULT: Final = "dry-run"

FORMATS: Final = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT1M",
    "email": "dry-run@example.com",
    "idn-email": "dry-run@example.com",
    "hostname": "example.com",
    "idn-hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/dry-run",
    "iri": "https://example.com/dry-run",
    "uri-reference": "/dry-run",
    "iri-reference": "/dry-run",
    "uri-template": "/dry-run/{id}",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "json-pointer": "/dry-run",
    "relative-json-pointer": "0/dry-run",
    "regex": ".*",
}
_MOST_EXTRA: Final = 12
_LONGEST: Final = 100_000


def texts(schema: dict[str, Any]) -> Iterator[str]:
    """Candidates for a `string` schema, likely ones first; the caller checks them."""
    shortest = schema.get("minLength", 0)
    longest = min(schema.get("maxLength", _LONGEST), _LONGEST)
    if shortest > longest:
        return
    if (named := FORMATS.get(str(schema.get("format")))) is not None:
        yield named
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        yield from matching(pattern)
        return
    yield DEFAULT[:longest].ljust(shortest, "-")


def matching(pattern: str) -> Iterator[str]:
    """Texts that a pattern describes, with repeats as few as they may be, then more of them.

    Lookarounds are not followed; a pattern that is no regular expression gives nothing.
    """
    try:
        parsed = cast("Any", re)._parser.parse(pattern)
    except (re.error, RecursionError, OverflowError):
        return
    seen: set[str] = set()
    for extra in range(_MOST_EXTRA):
        text = _Writer(extra).text(parsed)
        if text is not None and text not in seen:
            seen.add(text)
            yield text


class _Writer:
    """Writes one text for a parsed pattern; `extra` is added to each repeat that allows it."""

    def __init__(self, extra: int) -> None:
        self._extra = extra
        self._groups: dict[int, str] = {}

    def text(self, parsed: Any) -> str | None:
        parts: list[str] = []
        for operation, argument in parsed:
            part = self._part(str(operation), argument)
            if part is None:
                return None
            parts.append(part)
        return "".join(parts)

    def _part(self, operation: str, argument: Any) -> str | None:
        if operation == "LITERAL":
            return chr(argument)
        if operation in ("ANY", "NOT_LITERAL"):
            return "b" if argument == ord("a") else "a"
        if operation == "IN":
            return _one_of(argument)
        if operation in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            return self._repeat(*argument)
        if operation == "SUBPATTERN":
            number, _, _, inner = argument
            text = self.text(inner)
            if number is not None and text is not None:
                self._groups[number] = text
            return text
        if operation == "BRANCH":
            return next((t for t in map(self.text, argument[1]) if t is not None), None)
        if operation == "GROUPREF":
            return self._groups.get(argument)
        if operation == "ATOMIC_GROUP":
            return self.text(argument)
        return "" if operation in ("AT", "ASSERT", "ASSERT_NOT") else None

    def _repeat(self, fewest: int, most: Any, inner: Any) -> str | None:
        count = min(int(most), fewest + self._extra, _LONGEST)
        parts = [self.text(inner) for _ in range(count)]
        return None if None in parts else "".join(cast("list[str]", parts))


_PREFERRED: Final = "a0A-_ .@/:b1B~!\t\n"


def _one_of(items: Any) -> str | None:
    """One character of a class: a plain one if the class has one, else the first it names."""
    for character in _PREFERRED:
        if _accepts(items, character):
            return character
    for operation, argument in items:
        if str(operation) == "LITERAL":
            return chr(argument)
        if str(operation) == "RANGE":
            return chr(argument[0])
    return None


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


_CATEGORIES: Final[dict[str, Callable[[str], bool]]] = {
    "CATEGORY_DIGIT": str.isdigit,
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_WORD": _is_word,
}


def _accepts(items: Any, character: str) -> bool:
    negated = found = False
    for operation, argument in items:
        kind = str(operation)
        if kind == "NEGATE":
            negated = True
        elif kind == "LITERAL":
            found |= ord(character) == argument
        elif kind == "RANGE":
            found |= argument[0] <= ord(character) <= argument[1]
        elif kind == "CATEGORY":
            name = str(argument)
            test = _CATEGORIES.get(name.replace("_NOT_", "_"))
            found |= test is not None and test(character) is not ("_NOT_" in name)
    return found is not negated
