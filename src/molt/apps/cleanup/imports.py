"""Names that carry a flag from one Python file into another, by way of imports."""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from molt.apps.cleanup.python_source import Carriers, carriers_of

Parts = tuple[str, ...]


class _Import(NamedTuple):
    """`name` of the module at `place`, bound as `alias`; without a name the module itself.

    `whole` says that `place` is a whole path; else it is how the path ends.
    """

    place: Parts
    whole: bool
    name: str = ""
    alias: str = ""


class Modules:
    """Which names of which files carry a flag."""

    def __init__(self) -> None:
        self._exports: dict[Parts, dict[str, tuple[str, ...]]] = {}
        self._by_last: dict[str, set[Parts]] = defaultdict(set)
        self._imports: dict[Path, list[_Import]] = {}

    def learn(self, files: Iterable[Path]) -> None:
        """Read Python files until none hands on more than is known; others are passed over."""
        waiting = [file for file in files if file.suffix in (".py", ".pyi")]
        while waiting:
            changed = {_parts(file) for file in waiting if self._read(file)}
            waiting = [
                file
                for file, imports in self._imports.items()
                if any(place in changed for one in imports for place, _ in self._meant(one))
            ]

    def into(self, file: Path) -> Carriers:
        """What the imports of `file` bind to a name, or to an attribute, that is made from a flag."""
        found: Carriers = {}
        for one in self._imports.get(file, ()):
            for place, module in self._meant(one):
                for name, flags in self._exports[place].items():
                    if module:
                        found[None, f".{name}"] = flags
                    elif one.name in (name, "*"):
                        found[None, name if one.name == "*" else one.alias] = flags
        return found

    def _read(self, file: Path) -> bool:
        """Whether `file` exports more than was known."""
        try:
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError):
            return False
        self._imports[file] = list(_imports(tree, file))
        carried = carriers_of(tree, self.into(file))
        exports = {
            name: flags
            for (scope, name), flags in carried.items()
            if scope is None and not name.startswith(".")
        }
        place = _parts(file)
        if exports.keys() <= self._exports.get(place, {}).keys():
            return False
        self._exports[place] = exports
        self._by_last[place[-1]].add(place)
        return True

    def _meant(self, one: _Import) -> Iterator[tuple[Parts, bool]]:
        """The files that an import may mean, each with whether it binds the module itself."""
        for wanted, module in ((one.place, not one.name), ((*one.place, one.name), True)):
            for place in self._by_last.get(wanted[-1], ()) if wanted else ():
                if place == wanted if one.whole else place[-len(wanted) :] == wanted:
                    yield place, module


def _parts(file: Path) -> Parts:
    parts = file.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def _imports(tree: ast.AST, file: Path) -> Iterator[_Import]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for one in names:
                    yield _Import(tuple(one.name.split(".")), whole=False)
            case ast.ImportFrom(module=module, names=names, level=level):
                place = tuple(module.split(".")) if module else ()
                if level:
                    place = (*file.with_suffix("").parts[:-level], *place)
                for one in names:
                    yield _Import(place, bool(level), one.name, one.asname or one.name)
            case _:
                pass
