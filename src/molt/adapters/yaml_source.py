"""YAML files read so that every complaint names file, line, column and what was expected.

Works for any pydantic model: the configuration and playbooks use the same two steps, `read` (text
to data with places) and `Document.validate` (data to model).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from molt.adapters.complaints import describe, without_consequences
from molt.adapters.problems import ConfigError, Problem

M = TypeVar("M", bound=BaseModel)
PathKey = tuple[str | int, ...]

MAX_NODES: Final = 100_000
"""More values than this is an alias bomb, not a plan."""


class Document:
    """Plain data, and where each key and value of it stands.

    `data` holds dicts, lists and scalars. `override` lays a value from elsewhere over it, so that
    settings from the environment are validated together with the file and named by their origin.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.data: dict[str, Any] = {}
        self._values: dict[PathKey, str] = {}
        self._keys: dict[PathKey, str] = {}

    def place(self, path: PathKey = (), *, key: bool = False) -> str:
        """`file:line:column` of the value at `path`, or of its key; else of the nearest parent's."""
        found = self._keys.get(path) if key else None
        found = found or self._values.get(path)
        if found is not None:
            return found
        return self.place(path[:-1], key=bool(path[:-1])) if path else f"{self.name}:1:1"

    def override(self, path: tuple[str, ...], value: object, origin: str) -> None:
        """Set `value` at `path`; complaints about it will name `origin` (`environment MOLT_PORT`)."""
        target = self.data
        for depth, name in enumerate(path[:-1], start=1):
            inner = target.get(name)
            if not isinstance(inner, dict):
                target[name] = inner = {}
                self._values[path[:depth]] = self._keys[path[:depth]] = origin
            target = inner
        target[path[-1]] = value
        for places in (self._values, self._keys):
            for replaced in [place for place in places if place[: len(path)] == path]:
                del places[replaced]
        self._values[path] = self._keys[path] = origin

    def validate(self, model: type[M]) -> M:
        """The data as a `model`; raises `ConfigError` with every problem and its place."""
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            problems = [
                describe(details, self.data, model, self.place)
                for details in without_consequences(error.errors(include_url=False))
            ]
            raise ConfigError(list(dict.fromkeys(problems))) from None


def load(path: Path, model: type[M]) -> M:
    """The file as a `model`; raises `ConfigError` with every problem and its place."""
    return read_file(path).validate(model)


def loads(text: str, model: type[M], name: str = "<text>") -> M:
    """The text as a `model`; `name` stands for the file in complaints."""
    return read(text, name).validate(model)


def read_file(path: Path) -> Document:
    """The file's data with places; raises `ConfigError` when it cannot be read or is not YAML."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        text = f"cannot be read ({reason}); expected a YAML file here"
        raise ConfigError([Problem(str(path), "", text)]) from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        problem = Problem(f"{path}:{line}:{column}", "", "not UTF-8 text; expected UTF-8")
        raise ConfigError([problem]) from None
    return read(text, str(path))


def read(text: str, name: str = "<text>") -> Document:
    """The text's data with places; raises `ConfigError` on bad syntax and duplicate keys."""
    yaml = YAML(typ="safe", pure=True)
    try:
        root: Node | None = yaml.compose(text)
    except YAMLError as error:
        raise ConfigError([_syntax(error, text, name)]) from None
    except RecursionError:
        raise ConfigError([Problem(f"{name}:1:1", "", "nested too deeply")]) from None
    if root is None:
        raise ConfigError([Problem(f"{name}:1:1", "", "is empty; expected `key: value` lines")])
    if not isinstance(root, MappingNode):
        text = "expected `key: value` lines at the top"
        raise ConfigError([Problem(_mark(root, name), "", text)])
    return _Builder(yaml, name).document(root)


class _Builder:
    """Turns composed nodes into a `Document`, collecting what is wrong on the way."""

    def __init__(self, yaml: YAML, name: str) -> None:
        self._yaml = yaml
        self._document = Document(name)
        self._problems: list[Problem] = []
        self._open: set[int] = set()
        self._nodes = 0

    def document(self, root: MappingNode) -> Document:
        self._document.data = self._value(root, ())
        if self._problems:
            raise ConfigError(self._problems)
        return self._document

    def _value(self, node: Node, path: PathKey) -> Any:
        place = _mark(node, self._document.name)
        self._document._values[path] = place
        self._nodes += 1
        if self._nodes > MAX_NODES or id(node) in self._open:
            self._complain(place, path, "aliases repeat themselves; expected plain values")
            raise ConfigError(self._problems)
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        self._open.add(id(node))
        try:
            if isinstance(node, SequenceNode):
                return [self._value(item, (*path, i)) for i, item in enumerate(node.value)]
            return self._mapping(node, path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: Node, path: PathKey) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = _mark(key_node, self._document.name)
            if not isinstance(key_node, ScalarNode):
                self._complain(place, path, "a key that is not plain text; expected `key: value`")
                continue
            key = str(key_node.value)
            inner = (*path, key)
            if str(key_node.tag).endswith(":merge"):
                self._complain(place, path, "merge key `<<`; expected the keys written out")
            elif key in result:
                first = self._document.place(inner, key=True)
                self._complain(place, inner, f"stands twice; the first is at {first}; keep one")
            else:
                self._document._keys[inner] = place
                result[key] = self._value(value_node, inner)
        return result

    def _scalar(self, node: ScalarNode, path: PathKey) -> Any:
        tag = str(node.tag)
        if tag.endswith(":timestamp"):
            return str(node.value)  # models parse dates themselves, and name what they expected
        try:
            return self._yaml.constructor.construct_object(node)
        except (YAMLError, ValueError):
            place = _mark(node, self._document.name)
            self._complain(place, path, f"{node.value!r} does not fit the tag {tag}")
            return None

    def _complain(self, place: str, path: PathKey, text: str) -> None:
        self._problems.append(Problem(place, ".".join(map(str, path)), text))


def _mark(node: Node, name: str) -> str:
    mark = node.start_mark
    return f"{name}:{mark.line + 1}:{mark.column + 1}"


_HINTS: Final[Mapping[str, str]] = {
    "found character '\\t' that cannot start any token": "expected spaces: a tab cannot indent",
    "mapping values are not allowed here": "expected quotes around a text that contains `: `",
    "but found another document": "expected one document: remove the line `---`",
}


def _syntax(error: YAMLError, text: str, name: str) -> Problem:
    if isinstance(error, ReaderError):
        before = text[: error.position]
        place = f"{name}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
        return Problem(place, "", "not YAML: a control character; expected printable text")
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return Problem(f"{name}:1:1", "", f"not YAML: {error}")
    mark = error.problem_mark
    problem = str(error.problem)
    parts = [f"not YAML: {problem}"]
    if error.context and error.context_mark is not None:
        parts.append(f"{error.context} that began in line {error.context_mark.line + 1}")
    if problem in _HINTS:
        parts = [f"not YAML: {problem}", _HINTS[problem]]
    return Problem(f"{name}:{mark.line + 1}:{mark.column + 1}", "", "; ".join(parts))
