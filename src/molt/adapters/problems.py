"""What is wrong in a file that a person wrote, and where."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from molt.core.errors import OperatorError


class Problem(NamedTuple):
    """One thing to mend: `place` is `file:line:column` (from 1) or another origin."""

    place: str
    path: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in self if part)


class ConfigError(OperatorError):
    """All problems found in one file or environment, one line each in the message."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or the known words when none is near and they are few."""
    names = sorted(known)
    near = get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    if not names:
        return "nothing is expected here"
    few = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"expected {'one of ' if len(names) > 1 else ''}{few}"
