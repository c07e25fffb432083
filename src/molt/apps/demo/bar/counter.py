"""The bar's tools as plain functions over its books: one place for what each tool does.

The existing system calls them in its own process; the tool server offers them through MCP.
"""

from collections.abc import Callable
from typing import Any

from molt.apps.demo.bar.menu import CORPUS, ITEMS, VENUES, Item, Venue, options_of, search
from molt.apps.demo.bar.store import Books, Refused, known_item, known_venue
from molt.apps.demo.bar.words import tokens

Result = dict[str, Any]


class Counter:
    """Every tool by its name; `run` and `mode` go into the books beside what a write leaves there."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._tools: dict[str, Callable[..., Result]] = {
            "remove_from_cart": lambda cart_id, line_id: books.remove(cart_id, line_id),
            "view_cart": lambda cart_id: books.cart(cart_id),
            "check_order_status": lambda order_id: books.order(order_id),
            "get_sales_summary": lambda venue_id: books.sales(venue_id),
            "update_order_status": lambda order_id, status: books.set_status(order_id, status),
            "get_active_orders": lambda venue_id, limit=10: {
                "orders": books.active(venue_id, limit)
            },
            "approval_list_pending": lambda venue_id: {"approvals": books.pending(venue_id)},
            "approval_resolve": lambda approval_id, decision, decided_by="": books.resolve(
                approval_id, decision, decided_by
            ),
            "add_to_cart": self._add,
            "menu_search": menu_search,
            "get_item_details": get_item_details,
            "get_recommendations": get_recommendations,
            "venues_list": lambda: {"venues": [venue_data(venue) for venue in VENUES]},
            "venues_search": venues_search,
            "venues_get": lambda venue_id: venue_data(known_venue(venue_id)),
            "menu_get": menu_get,
            "web_research": web_research,
        }

    def call(self, tool: str, arguments: dict[str, Any], run: str = "", mode: str = "") -> Result:
        """The tool's result. Raises `Refused` with a sentence for the guest, KeyError for an unknown tool."""
        if tool == "place_order":
            cart_id, rest = (
                arguments["cart_id"],
                {k: v for k, v in arguments.items() if k != "cart_id"},
            )
            return self._books.place(cart_id, run=run, mode=mode, **rest)
        if tool == "call_staff":
            return self._books.call_staff(
                arguments["venue_id"],
                arguments["table_no"],
                arguments["reason"],
                run=run,
                mode=mode,
            )
        return self._tools[tool](**arguments)

    def _add(
        self,
        venue_id: str,
        cart_id: str,
        item_id: str,
        quantity: int = 1,
        options: list[str] | None = None,
        notes: str = "",
    ) -> Result:
        return self._books.add(cart_id, venue_id, item_id, quantity, options or [], notes)


def menu_search(venue_id: str, query: str = "", limit: int = 6) -> Result:
    """Items that match all words of `query`; an empty query lists the menu from its top."""
    known_venue(venue_id)
    return {"query": query, "items": [item_data(item) for item in search(query, limit)]}


def get_item_details(venue_id: str, item_id: str) -> Result:
    """One item with its description and the options it can be ordered with."""
    known_venue(venue_id)
    item = known_item(item_id)
    groups = [{"group": group, "options": names} for group, names in options_of(item).items()]
    return item_data(item) | {"description": item.description, "option_groups": groups}


def get_recommendations(venue_id: str, taste: str = "") -> Result:
    """Three items that go with `taste`; without a match the house favourites."""
    known_venue(venue_id)
    wanted = set(tokens(taste))
    fitting = [
        i for i in ITEMS if wanted & ({*i.tags, i.category} | set(tokens(i.name))) - {"drink"}
    ]
    favourites = [i for i in ITEMS if i.id in ("cortado", "matcha-latte", "amber-ale")]
    return {"items": [item_data(item) for item in (fitting or favourites)[:3]]}


def venues_search(query: str) -> Result:
    """Venues whose name, district or features share a word with `query`."""
    wanted = set(tokens(query))
    found = [v for v in VENUES if wanted & set(tokens(" ".join((v.name, v.district, *v.features))))]
    return {"venues": [venue_data(venue) for venue in found]}


def menu_get(venue_id: str) -> Result:
    """The whole menu of a venue."""
    known_venue(venue_id)
    return {"venue_id": venue_id, "items": [item_data(item) for item in ITEMS]}


def web_research(query: str, limit: int = 3) -> Result:
    """The notes of the fixed corpus that share most words with `query`."""
    wanted = {word for word in tokens(query) if len(word) > 3}
    scored = [(len(wanted & set(tokens(f"{note.title} {note.text}"))), note) for note in CORPUS]
    best = sorted((pair for pair in scored if pair[0]), key=lambda pair: -pair[0])[:limit]
    return {"results": [{"title": n.title, "url": n.url, "text": n.text} for _, n in best]}


def item_data(item: Item) -> Result:
    """An item as tools show it."""
    return {"item_id": item.id, "name": item.name, "category": item.category, "price": item.price}


def venue_data(venue: Venue) -> Result:
    """A venue as tools show it."""
    return {
        "venue_id": venue.id,
        "name": venue.name,
        "district": venue.district,
        "tables": venue.tables,
        "features": list(venue.features),
    }


def drive_result(
    counter: Counter, tool: str, arguments: dict[str, Any], run: str = "", mode: str = ""
) -> Result:
    """The result of a call, or {"error": sentence} when the bar refused it."""
    try:
        return counter.call(tool, arguments, run, mode)
    except Refused as refusal:
        return {"error": str(refusal)}
