"""The items in a sentence, each with quantity, options and notes: "two lattes, one with oat milk"."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from molt.apps.demo.bar.menu import ITEMS, OPTIONS
from molt.apps.demo.bar.words import marked, tokens


@dataclass(frozen=True, slots=True)
class Line:
    """One wished order line; `options` are canonical names, `notes` is what no option covers."""

    item_id: str
    quantity: int = 1
    options: tuple[str, ...] = ()
    notes: str = ""


NUMBERS = {
    "a": 1,
    "an": 1,
    "one": 1,
    "two": 2,
    "couple": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
}
NUMBERS |= {str(n): n for n in range(1, 10)}
ANOTHER = frozenset(("one", "another", "other", "second", "first"))
SEPARATORS = frozenset((",", ";", "and", "plus", "also", "&"))
_FILLER_WORDS = """
hi hello hey there good morning evening afternoon please can could may might i we you get have
order make do try take add grab would will id ill like love want need just also really a an
the one two three four five six couple of and with in on to for it its that this me us my mine
your some from is be am are thanks thank today let lets go gimme give bring going um uh so
well ok okay yes no yeah sure actually instead plus as too then here togo eat stay delivery
deliver milk coffee tea drink drinks shot shots pump pumps size medium regular normal added
addition sweetener sauce flavor both another other second first each cup name under made
flavored caffeinated caffeine nothing else now cart more but not which what kind hot sweetened
using think nice hmmm hmm taste feeling planning craving great how up differ change rather
forgot sorry wait oh ooo wanted only single oz 4oz 8oz 12oz 16oz macchiato
"""
FILLER = frozenset(_FILLER_WORDS.split())


def _phrases() -> dict[tuple[str, ...], str]:
    """Words -> option name; longer phrases first wins by length at the look-up."""
    table = {tokens(name): name for group in OPTIONS.values() for name in group}
    more = {
        "oat": "Oat Milk", "almond": "Almond Milk", "2%": "2% Milk", "non-fat": "Non-fat Milk",
        "whole": "Whole Milk", "lactosefree": "Lactose Free Milk", "2% lactosefree milk": "Lactose Free Milk",
        "lactosefree milk": "Lactose Free Milk", "vanilla sweetener": "Vanilla", "vanilla sauce": "Vanilla",
        "sugarfree vanilla": "Sugar Free Vanilla", "sugarfree sweetener": "Sugar Free Vanilla",
        "sugarfree": "Sugar Free Vanilla", "hazelnut sweetener": "Hazelnut", "caramel": "Caramel Sauce",
        "caramel sweetener": "Caramel Sauce", "chocolate": "Chocolate Sauce", "chocolate sweetener": "Chocolate Sauce",
        "decaf": "Decaf", "no milk": "No Milk", "black": "No Milk", "one shot": "Single", "two shots": "Double",
        "three shots": "Triple", "four shots": "Quadruple", "big": "Large",
    }  # fmt: skip
    return table | {tuple(key.split()): name for key, name in more.items()}


OPTION_PHRASES = _phrases()
NO_OPTIONS = frozenset(
    (
        ("not", "decaf"),
        ("double", "checking"),
        ("double", "check"),
        ("triple", "foam"),
        ("double", "foam"),
    )
)
"""Words that hold an option's name and do not mean it."""
ITEM_PHRASES: dict[tuple[str, ...], str] = {
    tokens(name): item.id for item in ITEMS for name in (item.name, *item.aliases)
}
LONGEST = max(map(len, ITEM_PHRASES))


@dataclass(frozen=True, slots=True)
class _Mention:
    item_id: str
    start: int
    end: int


NAMED = re.compile(
    r"(?:\b[Ff]or|[Nn]ame(?:'s| is|:)?(?: on| for)?(?: it| the order| my order)?(?: is)?|[Tt]his is|[Uu]nder|[Ii]t's for)"
    r"\s+([A-Z][a-z]{1,14})\b"
)
_NOT_NAMES_WORDS = """
Here To The Me My A Decaf Today Delivery Takeaway Our One Two
"""
NOT_NAMES = frozenset(_NOT_NAMES_WORDS.split())


def name_in(text: str) -> str:
    """The first name an order is for ("for Jean", "my name is Jean"), or ""."""
    return next((m[1] for m in NAMED.finditer(text) if m[1] not in NOT_NAMES), "")


@lru_cache(4096)
def lines_of(text: str) -> tuple[Line, ...]:
    """The order lines named in `text`, in order; empty when no item of the menu is named."""
    name = name_in(text)
    words = marked(text.replace(name, " ") if name else text)
    mentions = _mentions(words)
    if not mentions:
        return ()
    lines: list[Line] = []
    shared: tuple[str, ...] = ()
    for mention, (begin, end) in zip(mentions, _regions(words, mentions), strict=True):
        before, after = words[begin : mention.start], words[mention.end : end]
        if "both" in after and len(mentions) > 1:
            shared = _options(after)
        lines += _region_lines(mention, before, after)
    if shared:
        lines = [
            Line(x.item_id, x.quantity, tuple(dict.fromkeys((*x.options, *shared))), x.notes)
            for x in lines
        ]
    return tuple(lines)


@lru_cache(4096)
def options_in(text: str) -> tuple[str, ...]:
    """The options named in `text`, at most one of each group but sweeteners."""
    return _options(marked(text))


def _mentions(words: tuple[str, ...]) -> list[_Mention]:
    found: list[_Mention] = []
    i = 0
    while i < len(words):
        size = next(
            (n for n in range(min(LONGEST, len(words) - i), 0, -1) if _item_at(words, i, n)), 0
        )
        if size and not _is_part_of_option(words, i, size):
            found.append(_Mention(_item_at(words, i, size), i, i + size))
        i += max(size, 1)
    return found


def _item_at(words: tuple[str, ...], i: int, n: int) -> str:
    phrase = words[i : i + n]
    if plain := ITEM_PHRASES.get(phrase, ""):
        return plain
    last = phrase[-1]
    return ITEM_PHRASES.get((*phrase[:-1], last[:-1]), "") if last.endswith("s") else ""


def _is_part_of_option(words: tuple[str, ...], i: int, size: int) -> bool:
    """True for "espresso" in "espresso shot": an option of a drink, not a drink."""
    following = words[i + size] if i + size < len(words) else ""
    return words[i] == "espresso" and following.startswith("shot") and size == 1 and len(words) > 6


def _regions(words: tuple[str, ...], mentions: list[_Mention]) -> Iterator[tuple[int, int]]:
    """The span of words that speaks about each mention: it ends at the last separator before the next."""
    begin = 0
    for this, following in zip(mentions, [*mentions[1:], None], strict=True):
        if following is None:
            yield begin, len(words)
            return
        cuts = [i for i in range(this.end, following.start) if words[i] in SEPARATORS]
        cut = cuts[-1] if cuts else following.start
        yield begin, cut
        begin = cut


def _region_lines(mention: _Mention, before: tuple[str, ...], after: tuple[str, ...]) -> list[Line]:
    quantity = next((NUMBERS[w] for w in reversed(before[-5:]) if w in NUMBERS), 1)
    base, clauses = _clauses(after)
    mine = _options((*before, ".", *base))
    notes = _notes((*before, ".", *base))
    apart = [options for clause in clauses if (options := _options(clause)) or "regular" in clause]
    if not apart:
        everything = (*before, ".", *after)
        return [Line(mention.item_id, quantity, _options(everything), _notes(everything))]
    if quantity == 1 or len(apart) < quantity:
        own = quantity - len(apart) if quantity > 1 else 1
        return [
            Line(mention.item_id, own, mine, notes),
            *(Line(mention.item_id, 1, o) for o in apart),
        ]
    return [Line(mention.item_id, 1, tuple(dict.fromkeys((*mine, *o))), notes) for o in apart]


def _clauses(after: tuple[str, ...]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Words before the first "one ... the other ..." clause, and the clauses."""
    starts = [
        i for i, w in enumerate(after) if w in ANOTHER and not (i and after[i - 1] in ANOTHER)
    ]
    if not starts:
        return after, []
    ends = [*starts[1:], len(after)]
    return after[: starts[0]], [after[a:b] for a, b in zip(starts, ends, strict=True)]


def _options(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name, _, _ in _spans(words)))


def _spans(words: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    i = 0
    while i < len(words):
        if words[i : i + 2] in NO_OPTIONS:
            i += 2
            continue
        size = next(
            (n for n in (3, 2, 1) if words[i : i + n] in OPTION_PHRASES and i + n <= len(words)), 0
        )
        if size:
            yield OPTION_PHRASES[words[i : i + size]], i, i + size
        i += max(size, 1)


def _notes(words: tuple[str, ...]) -> str:
    """What is left when options and ordinary words are taken away: "super foamy", "sea salt".

    A longer rest is talk and not an instruction to the bar.
    """
    taken = {i for _, begin, end in _spans(words) for i in range(begin, end)}
    rest = [
        w
        for i, w in enumerate(words)
        if i not in taken and w not in FILLER and w.isalpha() and len(w) > 1
    ]
    return " ".join(rest) if len(rest) < 5 else ""
