"""How far two answers in words agree: their wording, and the facts in them."""

import re
import unicodedata
from typing import Final, NamedTuple

from rapidfuzz import fuzz

_SPACE: Final = re.compile(r"\s+")
_NOISE: Final = re.compile(r"[^\w\s.,$€£%+-]")
_MONEY: Final = re.compile(
    r"(?:[$€£]|\b(?:USD|EUR|GBP)\s?)\s?(\d+(?:[.,]\d{3})*(?:[.,]\d{1,2})?)"
    r"|(\d+(?:[.,]\d{3})*(?:[.,]\d{1,2})?)\s?(?:[$€£]|(?:USD|EUR|GBP|dollars?|euros?)\b)",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"(?<![\w.,-])\d+(?:[.,]\d+)*(?![\w-])")
_NAME: Final = re.compile(r"(?<=[\w,;:] )(?:[A-Z][\w'’&-]+)(?: (?:of |and |the )?[A-Z][\w'’&-]+)*")
_LONGEST: Final = 20_000
"""Characters of a text that are looked at."""


class Facts(NamedTuple):
    """What a text states: amounts of money, other numbers, and names (words with a capital)."""

    prices: frozenset[str]
    numbers: frozenset[str]
    names: frozenset[str]


def normalised(text: str) -> str:
    """The words alone: one case, no accents apart from their letters, single spaces."""
    plain = unicodedata.normalize("NFKC", text[:_LONGEST]).casefold()
    return _SPACE.sub(" ", _NOISE.sub(" ", plain)).strip()


def likeness(one: str, other: str) -> float:
    """How alike the wording is, 0 to 1, whatever the order of the words.

    rapidfuzz's token sort ratio: the normalised indel similarity of the sorted words.
    """
    a, b = normalised(one), normalised(other)
    return 1.0 if a == b else fuzz.token_sort_ratio(a, b) / 100


def facts(text: str) -> Facts:
    """The facts in a text."""
    text = unicodedata.normalize("NFKC", text[:_LONGEST])
    prices = frozenset(_amount(a or b) for a, b in _MONEY.findall(text))
    rest = _MONEY.sub(" ", text)
    numbers = frozenset(_amount(n) for n in _NUMBER.findall(rest))
    names = frozenset(name.casefold() for name in _NAME.findall(text))
    return Facts(prices, numbers, names)


def _amount(text: str) -> str:
    """`1,234.50`, `1.234,50` and `1234.5` are one amount."""
    whole, mark, cents = text.rpartition("." if text.rfind(".") > text.rfind(",") else ",")
    if not mark:
        return str(int(text))
    if len(cents) == 3 and re.fullmatch(r"\d{1,3}([.,]\d{3})*", whole):
        return str(int(re.sub(r"[.,]", "", text)))
    digits = re.sub(r"[.,]", "", whole)
    return f"{int(digits)}.{cents}".rstrip("0").rstrip(".")
