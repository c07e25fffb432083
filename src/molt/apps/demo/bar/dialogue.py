"""How a guest is served: a generator that asks for tool calls and ends with the answer.

Whoever drives it performs the calls: the existing system on its own books, the agent's offline
model through pydantic-ai and MCP. A result that holds "error" was refused by the tool.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from molt.apps.demo.bar import voice as say
from molt.apps.demo.bar.menu import BY_ID, GROUP_OF, price_of
from molt.apps.demo.bar.orderlines import Line
from molt.apps.demo.bar.understanding import Intent, Kind, understand


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call that the dialogue wants done."""

    tool: str
    arguments: dict[str, Any]


Results = list[dict[str, Any]]
Steps = Generator[list[Call], Results, str]
"""Yields batches of independent calls, is sent their results, returns the answer."""


@dataclass(slots=True)
class InCart:
    """A line this dialogue has put into the cart."""

    line_id: int
    item_id: str
    quantity: int
    options: tuple[str, ...]
    notes: str

    @property
    def text(self) -> str:
        """The line in words."""
        return say.line_text(BY_ID[self.item_id].name, self.quantity, self.options, self.notes)

    @property
    def price(self) -> float:
        """Dollars for all of it."""
        return price_of(BY_ID[self.item_id], self.options) * self.quantity


@dataclass(slots=True)
class Memory:
    """What a service remembers of one conversation."""

    cart_id: str
    venue: str = ""
    table: str = ""
    user: str = ""
    lines: list[InCart] = field(default_factory=list[InCart])
    shown: list[str] = field(default_factory=list[str])
    name: str = ""
    order_type: str = ""
    order_id: str = ""


def serve_guest(text: str, memory: Memory, voice: say.Voice) -> Steps:
    """The calls and the answer for one sentence of a guest; `memory` is kept up to date."""
    intent = understand(text, tuple(line.item_id for line in memory.lines), bool(memory.shown))
    memory.name = intent.name or memory.name
    memory.order_type = intent.order_type or memory.order_type
    return (yield from HANDLERS.get(intent.kind, _off_topic)(intent, memory, voice))


def _order(intent: Intent, memory: Memory, voice: say.Voice) -> Steps:
    if not intent.lines:
        return (yield from _order_by_words(intent, memory, voice))
    # Looked up and added in one batch: a model's every step costs its user a round trip. What the
    # bar has stopped selling is refused by add_to_cart as well.
    lines = [_fitting(line) for line in intent.lines]
    items = list(dict.fromkeys(line.item_id for line in lines))
    lookups = [_search(memory, BY_ID[item].name, 3) for item in items]
    results = yield [*lookups, *(_add_call(line, memory) for line in lines)]
    return _added(lines, results[len(lookups) :], memory, voice, voice.added)


def _order_by_words(intent: Intent, memory: Memory, voice: say.Voice) -> Steps:
    """An order that names nothing from the menu: "a beer" may mean one thing, several, or nothing."""
    (result,) = yield [_search(memory, intent.topic, 8)]
    items = result.get("items", [])
    if not items:
        return _refused([result]) or voice.unknown.format(topic=intent.topic)
    memory.shown = [item["item_id"] for item in items]
    if len(items) > 1:
        return f"Which one would you like? {voice.listing.format(items=say.priced(items))}"
    return (yield from _add([Line(items[0]["item_id"])], memory, voice, voice.added))


def _add(wanted: list[Line], memory: Memory, voice: say.Voice, phrase: str) -> Steps:
    lines = [_fitting(line) for line in wanted]
    results = yield [_add_call(line, memory) for line in lines]
    return _added(lines, results, memory, voice, phrase)


def _added(
    lines: list[Line], results: Results, memory: Memory, voice: say.Voice, phrase: str
) -> str:
    if refusal := _refused(results):
        return refusal
    new = [
        InCart(result["line_id"], line.item_id, line.quantity, line.options, line.notes)
        for line, result in zip(lines, results, strict=True)
    ]
    memory.lines += new
    return f"{phrase.format(lines=say.join(line.text for line in new))} {_summary(memory, voice)}"


def _summary(memory: Memory, voice: say.Voice) -> str:
    order = say.join(line.text for line in memory.lines)
    return voice.confirm.format(
        order=order, total=say.money(sum(line.price for line in memory.lines))
    )


def _change(intent: Intent, memory: Memory, voice: say.Voice) -> Steps:
    """Replaces the last line: with other options, or with another item ("a mocha instead")."""
    old = memory.lines[-1]
    if intent.lines:
        lines = [_fitting(line) for line in intent.lines]
    else:
        changed = {GROUP_OF[name] for name in intent.options} - {"Sweetener"}
        kept = tuple(name for name in old.options if GROUP_OF[name] not in changed)
        lines = [
            _fitting(
                Line(
                    old.item_id,
                    old.quantity,
                    tuple(dict.fromkeys((*kept, *intent.options))),
                    old.notes,
                )
            )
        ]
    remove = Call("remove_from_cart", {"cart_id": memory.cart_id, "line_id": old.line_id})
    results = yield [*(_add_call(line, memory) for line in lines), remove]
    if refusal := _refused(results):
        return refusal
    memory.lines.remove(old)
    return _added(lines, results[:-1], memory, voice, voice.changed)


def _confirm(intent: Intent, memory: Memory, voice: say.Voice) -> Steps:
    if not memory.lines:
        if memory.order_id:
            return f"Your order {memory.order_id} is already on its way."
        (cart,) = yield [Call("view_cart", {"cart_id": memory.cart_id})]
        if not cart.get("lines"):
            return f"There is {say.NOTHING_ORDERED} yet. What can I get you?"
    arguments: dict[str, Any] = {
        "cart_id": memory.cart_id,
        "order_type": memory.order_type or "here",
    }
    arguments |= {"name": memory.name} if memory.name else {}
    arguments |= {"table_no": memory.table} if memory.table else {}
    (placed,) = yield [Call("place_order", arguments)]
    if refusal := _refused([placed]):
        return refusal
    memory.lines.clear()
    memory.order_id = str(placed["order_id"])
    total, minutes = say.money(placed["total"]), placed["ready_in_minutes"]
    return voice.placed.format(id=memory.order_id, total=total, minutes=minutes)


def _decline(intent: Intent, memory: Memory, voice: say.Voice) -> Steps:
    yield from ()
    return voice.declined if memory.lines else "All right. Tell me when you would like something."


def _list(intent: Intent, memory: Memory, voice: say.Voice) -> Steps:
    (result,) = yield [_search(memory, intent.topic, 12 if not intent.topic else 8)]
    items = result.get("items", [])
    if not items:
        return _refused([result]) or voice.unknown.format(topic=intent.topic)
    memory.shown = [item["item_id"] for item in items]
    return voice.listing.format(items=say.priced(items))


def _available(intent: Intent, memory: Memory, voice: say.Voice) -> Steps:
    (result,) = yield [
        _search(memory, BY_ID[intent.topic].name if intent.lines else intent.topic, 5)
    ]
    items = result.get("items", []) if intent.topic else []
    if not items:
        return _refused([result]) or voice.unknown.format(topic=intent.topic or "that")
    memory.shown = [item["item_id"] for item in items]
    return f"Yes. {voice.listing.format(items=say.priced(items))}"


def _details(intent: Intent, memory: Memory, voice: say.Voice) -> Steps:
    (item,) = yield [Call("get_item_details", {"venue_id": memory.venue, "item_id": intent.topic})]
    if refusal := _refused([item]):
        return refusal
    memory.shown = [intent.topic]
    return f"{item['name']}: {item['description']}. It is {say.money(item['price'])}."


def _options(intent: Intent, memory: Memory, voice: say.Voice) -> Steps:
    about = memory.lines[-1].item_id if memory.lines else "latte"
    (item,) = yield [Call("get_item_details", {"venue_id": memory.venue, "item_id": about})]
    if refusal := _refused([item]):
        return refusal
    groups = {group["group"]: group["options"] for group in item["option_groups"]}
    if intent.topic not in groups:
        return f"{item['name']} comes as it is."
    return f"For {item['name']} we have {say.join(groups[intent.topic])}."


def _cart(intent: Intent, memory: Memory, voice: say.Voice) -> Steps:
    (cart,) = yield [Call("view_cart", {"cart_id": memory.cart_id})]
    if refusal := _refused([cart]):
        return refusal
    if not cart["lines"]:
        return f"There is {say.NOTHING_ORDERED} yet."
    lines = [
        say.line_text(x["name"], x["quantity"], x["options"], x["notes"]) for x in cart["lines"]
    ]
    return voice.confirm.format(order=say.join(lines), total=say.money(cart["total"]))


def _remove(intent: Intent, memory: Memory, voice: say.Voice) -> Steps:
    wanted = {line.item_id for line in intent.lines}
    line = next((x for x in reversed(memory.lines) if not wanted or x.item_id in wanted), None)
    if line is None:
        return f"There is {say.NOTHING_ORDERED} that I could remove."
    (result,) = yield [
        Call("remove_from_cart", {"cart_id": memory.cart_id, "line_id": line.line_id})
    ]
    if refusal := _refused([result]):
        return refusal
    memory.lines.remove(line)
    rest = _summary(memory, voice) if memory.lines else "Your cart is empty now."
    return f"I removed {line.text}. {rest}"


def _refer(intent: Intent, memory: Memory, voice: say.Voice) -> Steps:
    """ "One of those": the guest means something from the list that was shown last."""
    place = int(intent.topic)
    place = min(place, len(memory.shown)) - 1 if place > 0 else len(memory.shown) - 1
    chosen = Line(memory.shown[place], 1, intent.options)
    answer = yield from _add([chosen], memory, voice, voice.added)
    return answer if place or len(memory.shown) == 1 else f"I took the first on the list. {answer}"


def _status(intent: Intent, memory: Memory, voice: say.Voice) -> Steps:
    if not memory.order_id:
        return "You have not placed an order yet."
    (order,) = yield [Call("check_order_status", {"order_id": memory.order_id})]
    if refusal := _refused([order]):
        return refusal
    return f"Order {order['order_id']} is {order['status']}, about {order['ready_in_minutes']} minutes to go."


def _staff(intent: Intent, memory: Memory, voice: say.Voice) -> Steps:
    table = memory.table or "bar"
    arguments = {"venue_id": memory.venue, "table_no": table, "reason": intent.topic}
    (result,) = yield [Call("call_staff", arguments)]
    return (
        _refused([result])
        or f"Somebody will be with you in about {result['response_seconds']} seconds."
    )


def _recommend(intent: Intent, memory: Memory, voice: say.Voice) -> Steps:
    (result,) = yield [
        Call("get_recommendations", {"venue_id": memory.venue, "taste": intent.topic})
    ]
    if refusal := _refused([result]):
        return refusal
    memory.shown = [item["item_id"] for item in result["items"]]
    return f"I would try {say.priced(result['items'])}."


def _say(choose: Callable[[say.Voice], str]) -> Callable[[Intent, Memory, say.Voice], Steps]:
    def answer(intent: Intent, memory: Memory, voice: say.Voice) -> Steps:
        yield from ()
        reminder = f" {_summary(memory, voice)}" if memory.lines else ""
        return choose(voice) + reminder

    return answer


_off_topic = _say(lambda voice: voice.off_topic)

HANDLERS: dict[Kind, Callable[[Intent, Memory, say.Voice], Steps]] = {
    Kind.ORDER: _order,
    Kind.CHANGE: _change,
    Kind.CONFIRM: _confirm,
    Kind.DECLINE: _decline,
    Kind.LIST: _list,
    Kind.AVAILABLE: _available,
    Kind.DETAILS: _details,
    Kind.OPTIONS: _options,
    Kind.CART: _cart,
    Kind.REMOVE: _remove,
    Kind.REFER: _refer,
    Kind.STATUS: _status,
    Kind.STAFF: _staff,
    Kind.RECOMMEND: _recommend,
    Kind.GREETING: _say(lambda voice: voice.greeting),
    Kind.THANKS: _say(lambda voice: voice.thanks),
    Kind.OTHER: _off_topic,
}


def _search(memory: Memory, query: str, limit: int) -> Call:
    return Call("menu_search", {"venue_id": memory.venue, "query": query, "limit": limit})


def _add_call(line: Line, memory: Memory) -> Call:
    arguments: dict[str, Any] = {
        "venue_id": memory.venue,
        "cart_id": memory.cart_id,
        "item_id": line.item_id,
    }
    arguments |= {"quantity": line.quantity, "options": list(line.options), "notes": line.notes}
    return Call("add_to_cart", arguments)


def _fitting(line: Line) -> Line:
    """`line` with the options that its item can have; the others become a note for the bar."""
    groups = BY_ID[line.item_id].groups
    options = tuple(name for name in line.options if GROUP_OF[name] in groups)
    others = [name.lower() for name in line.options if GROUP_OF[name] not in groups]
    return Line(
        line.item_id, line.quantity, options, ", ".join(filter(None, [line.notes, *others]))
    )


def _refused(results: Results) -> str:
    error = next((result["error"] for result in results if "error" in result), "")
    return f"Sorry, that did not work: {error}." if error else ""
