"""Words as a guest types them, made comparable: case, apostrophes, plurals, near misses."""

import re
from functools import lru_cache

_DISTINCTIVE_WORDS = """
latte mocha cappuccino cortado macchiato americano espresso matcha steamer chamomile lavender
peppermint rooibos hazelnut caramel vanilla almond chocolate croissant lemonade pilsner
sweetener decaf breakfast earl
"""
DISTINCTIVE = frozenset(_DISTINCTIVE_WORDS.split())
"""Words worth repairing when misspelt; common words are left alone."""

SAME = {
    "macha": "matcha",
    "matha": "matcha",
    "mache": "matcha",
    "machoa": "mocha",
    "moca": "mocha",
    "lattee": "latte",
    "expresso": "espresso",
    "decaffeinated": "decaf",
    "decafinated": "decaf",
    "decafe": "decaf",
    "unleaded": "decaf",
    "gray": "grey",
    "takeaway": "togo",
    "takeout": "togo",
    "nonfat": "non-fat",
    "skim": "non-fat",
    "skimmed": "non-fat",
    "ice": "iced",
    "quad": "quadruple",
    "syrup": "sweetener",
    "flavor": "sweetener",
    "flavour": "sweetener",
    "teas": "tea",
    "coffees": "coffee",
    "beers": "beer",
    "wines": "wine",
    "pastries": "pastry",
    "brewed": "brew",
}

_PHRASES = (
    (re.compile(r"\bto[- ]go\b"), "togo"),
    (re.compile(r"\btake ?(?:away|out)\b"), "togo"),
    (re.compile(r"\bnon[- ]fat\b"), "non-fat"),
    (re.compile(r"\bsugar[- ]free\b"), "sugarfree"),
    (re.compile(r"\blactose[- ]free\b"), "lactosefree"),
    (re.compile(r"\b(?:two|2) ?(?:percent|%)"), "2%"),
    (re.compile(r"\balcohol[- ]free\b"), "alcoholfree"),
)
_WORD = re.compile(r"2%|[a-z0-9]+(?:-[a-z0-9]+)*|[,.;!?]")


@lru_cache(4096)
def tokens(text: str) -> tuple[str, ...]:
    """The words of `text` in canonical form, without punctuation."""
    return tuple(w for w in marked(text) if w not in ",.;!?")


@lru_cache(4096)
def marked(text: str) -> tuple[str, ...]:
    """The words of `text` in canonical form, with punctuation marks as words of their own."""
    lowered = text.lower().replace("’", "'").replace("'s", "").replace("s'", "s").replace("'", "")
    for pattern, word in _PHRASES:
        lowered = pattern.sub(word, lowered)
    return tuple(canonical(word) for word in _WORD.findall(lowered))


@lru_cache(8192)
def canonical(word: str) -> str:
    """`word` as the menu spells it: known variants, plurals and near misses are mended."""
    if word in DISTINCTIVE:
        return word
    if word in SAME:
        return SAME[word]
    if word.endswith("s") and (single := word[:-1]) in DISTINCTIVE | SAME.keys():
        return SAME.get(single, single)
    if len(word) < 5 or not word.isalpha():
        return word
    budget = 1 if len(word) < 8 else 2
    near = [
        known for known in sorted(DISTINCTIVE) if known[0] == word[0] and _near(word, known, budget)
    ]
    return near[0] if len(near) == 1 else word


def _near(a: str, b: str, budget: int) -> bool:
    """True when `a` becomes `b` with at most `budget` insertions, deletions or replacements."""
    if abs(len(a) - len(b)) > budget:
        return False
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1] <= budget
