"""A few named fields out of a JSON object, without decoding the rest of it."""

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Final

import msgspec

from molt.core.errors import OperatorError

_Tree = dict[str, "_Tree"]
"""Field name -> the fields below it; none below one that is read itself."""

_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Fields:
    """Reads the values at `paths` (dotted, such as `context.user_id`) out of JSON bodies.

    Raises `OperatorError` when one path runs through another.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._tree: _Tree = {}
        self._names: dict[str, str] = {}
        for path in dict.fromkeys(paths):
            self._add(path)
        self._typed = msgspec.json.Decoder(self._struct(self._tree))
        self._any = msgspec.json.Decoder()
        self.none: Any = self._typed.type()
        """What a body is read as that holds none of the fields."""

    def read(self, body: bytes) -> Any | None:
        """What getters read from; None when `body` is not JSON."""
        try:
            return self._typed.decode(body)
        except msgspec.ValidationError:
            # Something on one path is not an object; the others may still be there.
            pass
        except _NOT_JSON:
            return None
        try:
            whole = self._any.decode(body)
        except _NOT_JSON:
            return None
        return msgspec.convert(_pruned(whole, self._tree), self._typed.type)

    def getter(self, path: str) -> Callable[[Any], object]:
        """Reads the value at `path`: None where the last field is missing, AttributeError where one
        before it is."""
        return attrgetter(".".join(self._name(part) for part in path.split(".")))

    def _add(self, path: str) -> None:
        parts, tree = path.split("."), self._tree
        for part in parts[:-1]:
            if part in tree and not tree[part]:
                raise OperatorError(f"body:{path} runs through a field that is read itself")
            tree = tree.setdefault(part, {})
        if tree.get(parts[-1]):
            raise OperatorError(f"body:{path} is read itself and has fields that are read")
        tree[parts[-1]] = {}

    def _name(self, part: str) -> str:
        """A Python name for a JSON name."""
        return self._names.setdefault(part, f"f{len(self._names)}")

    def _struct(self, tree: _Tree) -> type[msgspec.Struct]:
        return msgspec.defstruct(
            "Body",
            [self._field(part, below) for part, below in tree.items()],
            rename={self._name(part): part for part in tree},
            frozen=True,
        )

    def _field(self, part: str, below: _Tree) -> tuple[str, Any, Any]:
        """A missing object reads as an empty one, which costs less than to find that it is none."""
        if not below:
            return self._name(part), Any, None
        kind = self._struct(below)
        return self._name(part), kind | None, kind()


def _pruned(value: object, tree: _Tree) -> dict[str, object]:
    """The part of `value` that has the form of `tree`."""
    if not isinstance(value, dict):
        return {}
    return {
        part: _pruned(value[part], below) if below else value[part]
        for part, below in tree.items()
        if part in value
    }
