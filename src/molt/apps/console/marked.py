"""Two texts with what differs marked in each, word by word."""

import json
import re
from difflib import SequenceMatcher
from typing import Any

from markupsafe import Markup, escape

LONGEST = 4000
"""Words of a text that are compared; beyond that the comparison takes too long to wait for."""


def pretty(value: Any) -> str:
    """Data as a person reads it."""
    if value is None:
        return ""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True, default=str)


def marked(left: str, right: str) -> tuple[Markup, Markup]:
    """Both texts, escaped; what is only in the left is in `<del>`, only in the right in `<ins>`."""
    a, b = re.findall(r"\s+|\w+|[^\w\s]", left), re.findall(r"\s+|\w+|[^\w\s]", right)
    if len(a) > LONGEST or len(b) > LONGEST:
        return escape(left), escape(right)
    first, second = Markup(), Markup()
    for kind, i, j, k, m in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        mine, theirs = "".join(a[i:j]), "".join(b[k:m])
        same = kind == "equal"
        first += escape(mine) if same or not mine else Markup("<del>{}</del>").format(mine)
        second += escape(theirs) if same or not theirs else Markup("<ins>{}</ins>").format(theirs)
    return first, second
