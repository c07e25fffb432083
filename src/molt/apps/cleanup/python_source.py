"""Findings in Python, by its syntax tree: which branches hang on a flag, however it got there.

A name that is assigned from a flag carries it: `live = os.environ["MOLTBOT_ENABLED"] == "true"`
makes `if live:` a branch on a flag, and so does a function that returns one. A local variable carries
within its function only; what a file's imports bring in is told by who knows the other files.
"""

import ast
import io
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

from molt.apps.cleanup.findings import Finding, Kind, is_shadow, names_in

Carriers = dict[tuple[ast.AST | None, str], tuple[str, ...]]
"""(function or None, name or attribute) -> the flags that it was made from."""

Scope = ast.AST | None
"""The innermost function around a node; None at the level of the module or a class."""


class _Branch(NamedTuple):
    """A test, and the lines that hang on it."""

    test: ast.expr
    scope: Scope
    line: int
    last_line: int


def in_python(source: str, file: str, imported: Carriers | None = None) -> list[Finding]:
    """Findings in one file, in order; each line stands under its first kind only.

    `imported` are the carriers that its imports bind. Raises SyntaxError for what is not Python of
    this version.
    """
    tree = ast.parse(source)
    lines = source.splitlines()
    carriers = carriers_of(tree, imported or {})
    taken: set[int] = set()
    found: list[Finding] = []

    def add(kind: Kind, line: int, last: int, names: tuple[str, ...]) -> None:
        if line not in taken:
            taken.add(line)
            found.append(Finding(file, line, last, kind, names, lines[line - 1]))

    for branch in _branches(tree):
        if names := _names(branch.test, branch.scope, carriers):
            kind: Kind = "shadow_path" if is_shadow(names) else "flag_path"
            add(kind, branch.line, branch.last_line, names)
    texts = _docstrings(tree)
    for node in ast.walk(tree):
        if node not in texts and (names := _own_names(node) or _bound_names(node, carriers)):
            line: int = getattr(node, "lineno", 1)
            add("flag", line, line, names)
    for line, text in [*_comments(source), *_lines_of(texts, lines)]:
        if names := names_in(text):
            add("mention", line, line, names)
    return sorted(found)


def _scoped(node: ast.AST, scope: Scope = None) -> Iterator[tuple[ast.AST, Scope]]:
    """Every node below `node` with its scope; a function's name belongs to the scope around it."""
    for child in ast.iter_child_nodes(node):
        yield child, scope
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _scoped(child, child if inside else scope)


def _branches(tree: ast.AST) -> Iterator[_Branch]:
    for node, scope in _scoped(tree):
        if isinstance(node, ast.If | ast.While | ast.IfExp | ast.Assert):
            yield _Branch(node.test, scope, node.lineno, node.end_lineno or node.lineno)
        elif isinstance(node, ast.Match):
            yield _Branch(node.subject, scope, node.lineno, node.end_lineno or node.lineno)


def carriers_of(tree: ast.AST, imported: Carriers) -> Carriers:
    """Everything that is made from a flag, directly or through another carrier."""
    carriers = dict(imported)
    assignments = list(_assignments(tree))
    grown = True
    while grown:
        grown = False
        for where, target, scope, value in assignments:
            names = _names(value, scope, carriers)
            if names and (where, target) not in carriers:
                carriers[where, target] = names
                grown = True
    return carriers


def _assignments(tree: ast.AST) -> Iterator[tuple[Scope, str, Scope, ast.expr]]:
    """Where a name lives, the name, and the value it is given, with the scope of that value."""
    for node, scope in _scoped(tree):
        match node:
            case ast.Assign(targets=targets, value=value):
                pairs = [(_name(target), value) for target in targets]
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                pairs = [(_name(target), value)]
            case ast.NamedExpr(target=target, value=value):
                pairs = [(_name(target), value)]
            case ast.Return(value=ast.expr() as value):
                name = getattr(scope, "name", None)
                if name is not None:
                    yield None, name, scope, value
                continue
            case _:
                continue
        for name, value in pairs:
            if name is not None:
                yield None if name.startswith(".") else scope, name, scope, value


def _name(node: ast.AST) -> str | None:
    """A variable's name, or an attribute's with its dot."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f".{node.attr}"
    return None


def _names(tree: ast.AST, scope: Scope, carriers: Carriers) -> tuple[str, ...]:
    """The flags that an expression hangs on."""
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        found |= dict.fromkeys(_own_names(node))
        if (name := _name(node)) is not None:
            made_from = carriers.get((scope, name)) or carriers.get((None, name), ())
            found |= dict.fromkeys(made_from)
    return tuple(found)


def _own_names(node: ast.AST) -> tuple[str, ...]:
    """What this very node names: in a text, an identifier, a keyword or a parameter."""
    match node:
        case ast.Constant(value=str() as text):
            return names_in(text)
        case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text):
            return names_in(text)
        case ast.keyword(arg=str() as text):
            return names_in(text)
        case ast.FunctionDef(name=text) | ast.AsyncFunctionDef(name=text):
            return names_in(text)
        case _:
            return ()


def _bound_names(node: ast.AST, carriers: Carriers) -> tuple[str, ...]:
    """The flags behind what an import binds by name."""
    if not isinstance(node, ast.ImportFrom):
        return ()
    flags = [carriers.get((None, one.asname or one.name), ()) for one in node.names]
    return tuple(dict.fromkeys(flag for some in flags for flag in some))


def _docstrings(tree: ast.AST) -> set[ast.AST]:
    """Texts that stand alone: they describe, and decide nothing."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def _lines_of(nodes: set[ast.AST], lines: list[str]) -> Iterator[tuple[int, str]]:
    for node in nodes:
        first, last = getattr(node, "lineno", 1), getattr(node, "end_lineno", 0)
        for number in range(first, last + 1):
            yield number, lines[number - 1]


def _comments(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
