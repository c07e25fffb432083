"""What guests come to say: dialogues from a file, or a small set of our own."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Script:
    """One guest's sentences in order; `buys` says that an order is to come of it."""

    agent: str
    lines: tuple[str, ...]
    buys: bool = False


OWN: tuple[Script, ...] = (
    Script("guest", ("I'd like a cappuccino, please", "Yes, that's right"), True),
    Script("guest", ("Show me your beers", "Add one of those to my cart", "Yes please"), True),
    Script("guest", ("An oat milk latte with hazelnut, to go", "Perfect"), True),
    Script("guest", ("Two espressos please", "Make it three", "That's all, thanks"), True),
    Script("guest", ("Hi there", "What teas do you have?", "I'll take the chamomile", "Yes"), True),
    Script(
        "guest",
        ("One iced matcha latte and a croissant", "Actually, make that decaf", "Looks good"),
        True,
    ),
    Script(
        "guest",
        ("Can I get a mocha for Mia?", "What milks do you have?", "Almond milk please", "Correct"),
        True,
    ),
    Script(
        "guest",
        ("Do you have anything without alcohol like beer?", "A Clear Head please", "Yes"),
        True,
    ),
    Script("guest", ("What do you recommend?", "I'll have the first one", "Go ahead"), True),
    Script("guest", ("What is in a cortado?",)),
    Script("guest", ("Do you have soup?",)),
    Script("guest", ("Who won the match last night?",)),
    Script("guest", ("Can I get a smoothie bowl?", "No thanks")),
    Script("guest", ("A flat cola float please", "Never mind")),
)
"""Played when no file is given."""

STAFF: tuple[Script, ...] = (
    Script("bar_manager", ("Show me the active orders", "How were the sales today?")),
    Script("bar_manager", ("What is still open?",)),
    Script("admin", ("Which approvals are pending?",)),
    Script("admin", ("List what waits for a decision", "Approve A-2")),
    Script("ui_orchestrator", ("List the venues", "Tell me about venue-2")),
    Script("ui_orchestrator", ("Find a venue with wifi", "Get the menu of venue-1")),
)
"""Played for the agents that serve the bar itself."""

SERVES_ORDER = "finish_order"
"""The recorded call by which a dialogue in a file ends in an order."""


def load(path: Path | None) -> tuple[Script, ...]:
    """The guests' scripts of a JSON Lines file (.gz or not), or our own when `path` is None.

    Raises ValueError with the file and line when a line is no dialogue, or when there is none.
    """
    if path is None:
        return OWN
    scripts = tuple(_read(path))
    if not scripts:
        raise ValueError(f"{path}: no dialogue in it")
    return scripts


def _read(path: Path) -> Iterator[Script]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                script = _script(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{path}:{number}: not a dialogue: {error!r}; expected turns"
                ) from error
            if script.lines:
                yield script


def _script(dialogue: dict[str, Any]) -> Script:
    spoken = [
        turn for turn in dialogue["turns"] if turn["speaker"] == "user" and turn["text"].strip()
    ]
    calls = [call.get("api") for turn in spoken for call in turn.get("calls", [])]
    return Script("guest", tuple(turn["text"].strip() for turn in spoken), SERVES_ORDER in calls)
