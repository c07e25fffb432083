"""What the two services say. Same facts, different words, as two real services would differ."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

RUDE = "That is not my problem. Order somewhere else."
"""The useless answer of the `complaints` fault; guests take offence at it."""
NOTHING_ORDERED = "nothing in your cart"
"""Said when a guest confirms an order that this service never heard; the guest then starts again."""
NO_VENUE = "Which venue are you in? Please send its id as context.venue_id, for example venue-1."


@dataclass(frozen=True, slots=True)
class Voice:
    """Sentences of one service; braces are filled by `str.format`."""

    greeting: str
    added: str
    confirm: str
    placed: str
    unknown: str
    listing: str
    off_topic: str
    declined: str
    thanks: str
    changed: str


OLD_SYSTEM = Voice(
    greeting="Hello. You can order drinks, ask about the menu or ask for staff.",
    added="Added to your cart: {lines}.",
    confirm="Your order: {order}. Total {total}. Confirm?",
    placed="Order {id} is placed. Total {total}. Ready in about {minutes} minutes at the bar.",
    unknown="We do not have {topic}. Is there something else on the menu you would like?",
    listing="We have: {items}.",
    off_topic="I can only take orders and answer questions about the menu.",
    declined="The order was not placed. What should I change?",
    thanks="You are welcome.",
    changed="Changed to: {lines}.",
)

AGENT = Voice(
    greeting="Hi, welcome to the bar! What can I get you?",
    added="Lovely, I put {lines} in your cart.",
    confirm="So far you have {order}, {total} together. Shall I place the order?",
    placed="Done! Order {id} is placed, {total}. It will be ready at the bar in about {minutes} minutes.",
    unknown="I am sorry, {topic} is not on our menu. May I get you something else?",
    listing="Here is what we have: {items}. Anything you like?",
    off_topic="I would not know about that, but I can help you with drinks, the menu and your order.",
    declined="No problem, I have not placed it. What would you like to change?",
    thanks="My pleasure!",
    changed="Of course, I made that {lines}.",
)


def money(amount: float) -> str:
    """Dollars as a guest reads them."""
    return f"${amount:.2f}"


def join(parts: Iterable[str]) -> str:
    """A list in a sentence: "a, b and c"."""
    words = list(parts)
    return (
        words[0]
        if len(words) == 1
        else ", ".join(words[:-1]) + " and " + words[-1]
        if words
        else ""
    )


def line_text(name: str, quantity: int, options: Sequence[str], notes: str) -> str:
    """One order line in words, such as "2 x Latte (Oat Milk; extra foam)"."""
    extra = "; ".join(part for part in (", ".join(options), notes) if part)
    return f"{quantity} x {name}" + (f" ({extra})" if extra else "")


def priced(items: Sequence[dict[str, Any]]) -> str:
    """Menu items with their prices in one sentence."""
    return join(f"{item['name']} ({money(item['price'])})" for item in items)
