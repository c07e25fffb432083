"""What an agent's model is told before the guest's words: written by the agent, read by the bar's own model."""

import json
import re
from dataclasses import dataclass
from typing import Any

from molt.apps.demo.bar.desks import AGENT_TOOLS
from molt.apps.demo.bar.dialogue import Call, Memory

TASKS = {
    "guest": "You serve guests of a bar. Look items up before you add them, and place an order only when it was confirmed.",
    "bar_manager": "You help the manager of a bar with active orders, their status and sales.",
    "admin": "You help an administrator with pending approvals. Decide nothing that you were not told to.",
    "ui_orchestrator": "You look up venues and menus for the screens of an app.",
    "research": "You answer from the documents that web_research finds, and name them.",
}
PLACE = re.compile(r"Venue: (.*?)\. Table: (.*?)\. User: (.*?)\. The cart's id is (.*?)\.(?: |$)")
FIRST = re.compile(r"First call (\w+) with (\{.*\})\.$")
NONE = "none"


@dataclass(frozen=True, slots=True)
class Brief:
    """Who speaks to whom, and where; `first` is what the model was told to call before all else."""

    agent: str
    venue: str
    table: str
    user: str
    cart_id: str
    first: Call | None = None


def written(agent: str, memory: Memory, first: Call | None = None) -> str:
    """The instructions of one run."""
    place = (
        f"Venue: {memory.venue}. Table: {memory.table or NONE}. User: {memory.user or NONE}. "
        f"The cart's id is {memory.cart_id}."
    )
    text = f"{TASKS[agent]} Use your tools; never invent items or prices. {place}"
    return f"{text} First call {first.tool} with {json.dumps(first.arguments)}." if first else text


def read(text: str) -> Brief | None:
    """What `written` wrote, or None when these are somebody else's instructions."""
    agent = next((name for name in AGENT_TOOLS if text.startswith(TASKS[name])), None)
    place = PLACE.search(text)
    if agent is None or place is None:
        return None
    venue, table, user, cart_id = place.groups()
    first = FIRST.search(text)
    call = Call(first[1], _arguments(first[2])) if first else None
    return Brief(agent, venue, _named(table), _named(user), cart_id, call)


def _named(word: str) -> str:
    return "" if word == NONE else word


def _arguments(text: str) -> dict[str, Any]:
    return json.loads(text)
