"""Takes what may name a person or open a door out of texts before they are kept.

Each pattern is a regular expression with a name; what it matches is replaced by `[name]`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, cast

DEFAULTS: Final[dict[str, str]] = {
    "token": (
        r"\bBearer\s+[A-Za-z0-9._~+/=-]{8,}"
        r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*"
        r"|\b(?:sk|pk|rk|ghp|gho|github_pat|xox[abpr]|molt)[-_][A-Za-z0-9_-]{10,}"
        r"|\bAKIA[0-9A-Z]{16}\b"
        r"|\bv1\.[0-9a-f]{20}\.\S{20,}"
    ),
    "email": r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}",
    "card": r"(?<![\d.])(?:\d[ -]?){13,18}\d(?![\d.])",
    "phone": (
        r"(?<![\w.+])(?:\+\d{1,3}[ ./-]?(?:\(\d{1,4}\)[ ./-]?)?\d{1,4}(?:[ ./-]?\d{2,4}){2,4}"
        r"|\(\d{2,5}\)[ ./-]?\d{2,4}(?:[ ./-]?\d{2,4}){1,3}"
        r"|\d{3}[ .-]\d{3}[ .-]\d{4})(?![\w])"
    ),
}
"""What is taken out unless the plan says otherwise, in this order. A card number must also pass
Luhn's check (ISO/IEC 7812-1), so that other long numbers stay."""


class Redactor:
    """Replaces what its patterns match. Raises `re.error` for a pattern that is none."""

    def __init__(self, patterns: Mapping[str, str]) -> None:
        self._patterns = [(name, re.compile(text)) for name, text in patterns.items()]

    def hiding(self, who: Mapping[str, str]) -> "Redactor":
        """The same, and each value of `who` becomes `[name]`: whole words of a text, and short ones
        only where they are all of it."""
        both = Redactor({})
        own = [
            (
                name,
                re.compile(
                    _WHOLE.format(re.escape(value))
                    if len(value) >= _WORD
                    else rf"\A{re.escape(value)}\Z"
                ),
            )
            for name, value in who.items()
        ]
        both._patterns = [*own, *self._patterns]
        return both

    def text(self, text: str) -> str:
        """The text with `[name]` in the place of each match."""
        for name, pattern in self._patterns:
            text = pattern.sub(lambda found, name=name: _mark(name, found[0]), text)
        return text

    def data(self, data: Any) -> Any:
        """The same in every text of JSON data, keys too, and in whole numbers."""
        if isinstance(data, str):
            return self.text(data)
        if isinstance(data, dict):
            entries = cast("dict[Any, Any]", data)
            return {self.text(str(k)): self.data(v) for k, v in entries.items()}
        if isinstance(data, list | tuple):
            return [self.data(item) for item in cast("list[Any]", data)]
        if isinstance(data, int) and not isinstance(data, bool) and abs(data) >= _LONG:
            digits = str(data)
            hidden = self.text(digits)
            return data if hidden == digits else hidden
        return data


_WHOLE: Final = r"(?<!\w){}(?!\w)"
_WORD: Final = 4
"""Characters from which on an id is looked for inside of texts."""

_LONG: Final = 10**13


def _mark(name: str, found: str) -> str:
    if name == "card" and not _luhn(found):
        return found
    return f"[{name}]"


def _luhn(text: str) -> bool:
    digits = [int(c) for c in text if c.isdigit()]
    doubled = (sum(divmod(2 * d, 10)) for d in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
