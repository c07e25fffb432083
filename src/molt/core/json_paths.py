"""Where two JSON values differ, as paths such as `$.items[*].price`.

List positions are not part of a path: what differs in one item is the same field in the next.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple, cast


class Change(NamedTuple):
    """One field that differs; None where it is missing on that side."""

    path: str
    control: Any
    candidate: Any


def changes(control: Any, candidate: Any, path: str = "$") -> Iterator[Change]:
    """Every field that differs, in the order of control's fields; lists are compared by position."""
    if isinstance(control, dict) and isinstance(candidate, dict):
        ours, theirs = cast("dict[str, Any]", control), cast("dict[str, Any]", candidate)
        for key in dict.fromkeys((*ours, *theirs)):
            yield from changes(ours.get(key), theirs.get(key), f"{path}.{key}")
    elif isinstance(control, list) and isinstance(candidate, list):
        ours, theirs = cast("list[Any]", control), cast("list[Any]", candidate)
        for i in range(max(len(ours), len(theirs))):
            a = ours[i] if i < len(ours) else None
            b = theirs[i] if i < len(theirs) else None
            yield from changes(a, b, f"{path}[*]")
    elif not same(control, candidate):
        yield Change(path, control, candidate)


def same(one: Any, other: Any) -> bool:
    """Whether two leaves are equal: 1 is 1.0, and true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return one == other


def leaves(data: Any) -> int:
    """How many fields there are, at least 1."""
    if isinstance(data, dict):
        return max(1, sum(map(leaves, cast("dict[str, Any]", data).values())))
    if isinstance(data, list):
        return max(1, sum(map(leaves, cast("list[Any]", data))))
    return 1


def ignoring(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether a path is one of `patterns`, or lies below one.

    `*` stands for one field or list position, `**` for any number of them.
    """
    found = [_compiled(pattern) for pattern in patterns]
    return lambda path: any(pattern.match(path) for pattern in found)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = {"**": ".*", "*": r"[^.\[\]]*"}
    text = "".join(parts.get(p, re.escape(p)) for p in re.split(r"(\*\*|\*)", pattern))
    return re.compile(rf"{text}(?=[.\[]|$)")
