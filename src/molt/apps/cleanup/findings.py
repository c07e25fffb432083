"""What is looked for, and how it is recognised in any text."""

import re
from typing import Final, Literal

import msgspec

Kind = Literal["shadow_path", "flag_path", "flag", "mention"]

TITLES: Final[dict[Kind, str]] = {
    "shadow_path": "Code paths for shadow mode: keep the live side, remove the other",
    "flag_path": "Branches on a flag: keep the side that runs at 100%",
    "flag": "Flags that are read or set",
    "mention": "Comments and texts that mention them",
}
"""In the order of work: paths first, then what they read, then what describes them."""

FLAG: Final = re.compile(
    r"(?<![A-Za-z0-9_])(?:MOLTBOT_[A-Z][A-Z0-9_]*|SHADOW_MODE)(?![A-Za-z0-9_])"
)

SHADOW: Final = re.compile(
    r"shadow[_-]?mode|is_?shadow|in_?shadow|x[_-]molt[_-]mode", re.IGNORECASE
)
"""How code names shadow mode, Molt's request header included."""


class Finding(msgspec.Struct, frozen=True, order=True):
    """One place: lines `line` to `last_line` of `file`, from 1; `names` is what was recognised."""

    file: str
    line: int
    last_line: int
    kind: Kind
    names: tuple[str, ...]
    text: str


def names_in(text: str) -> tuple[str, ...]:
    """The flags and names of shadow mode in `text`, each once, in order."""
    found = [*FLAG.finditer(text), *SHADOW.finditer(text)]
    inside = {m.span(): m.group() for m in found if not _within(m, found)}
    return tuple(dict.fromkeys(inside[span] for span in sorted(inside)))


def _within(match: re.Match[str], others: list[re.Match[str]]) -> bool:
    return any(
        o.span() != match.span() and o.start() <= match.start() and match.end() <= o.end()
        for o in others
    )


def is_shadow(names: tuple[str, ...]) -> bool:
    """Whether any of the names is about shadow mode."""
    return any(SHADOW.search(name) for name in names)


def in_text(text: str, file: str) -> list[Finding]:
    """Findings line by line, for files that are not Python."""
    return [
        Finding(file, number, number, "flag" if FLAG.search(line) else "mention", names, line)
        for number, line in enumerate(text.splitlines(), 1)
        if (names := names_in(line))
    ]
