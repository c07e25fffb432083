"""The other four agent types: manager, admin, UI and research desks, as the same kind of dialogue."""

import re

from molt.apps.demo.bar import voice as say
from molt.apps.demo.bar.dialogue import Call, Memory, Steps, serve_guest
from molt.apps.demo.bar.voice import Voice

AGENT_TOOLS: dict[str, tuple[str, ...]] = {
    "guest": (
        "menu_search", "get_item_details", "add_to_cart", "view_cart", "remove_from_cart", "place_order",
        "check_order_status", "call_staff", "get_recommendations",
    ),
    "bar_manager": ("get_active_orders", "update_order_status", "get_sales_summary"),
    "admin": ("approval_list_pending", "approval_resolve"),
    "ui_orchestrator": ("venues_list", "venues_search", "venues_get", "menu_get"),
    "research": ("web_research",),
}  # fmt: skip
"""Agent type -> the tools it has, and no others."""

READ_ONLY = frozenset(
    [
        "menu_search",
        "get_item_details",
        "view_cart",
        "check_order_status",
        "get_recommendations",
        "get_active_orders",
        "get_sales_summary",
        "approval_list_pending",
        "venues_list",
        "venues_search",
        "venues_get",
        "menu_get",
        "web_research",
    ]
)
"""Tools that change nothing."""

ORDER_ID, APPROVAL_ID, VENUE_ID = (
    re.compile(r"\bO-\d+\b"),
    re.compile(r"\bA-\d+\b"),
    re.compile(r"\bvenue-\d+\b"),
)
STATUS = re.compile(r"\b(received|preparing|ready|served|cancelled)\b")


def converse(agent: str, text: str, memory: Memory, voice: Voice) -> Steps:
    """The calls and the answer for one sentence to `agent`; raises KeyError for an unknown agent type."""
    if agent == "guest":
        return serve_guest(text, memory, voice)
    return DESKS[agent](text, memory)


def bar_manager(text: str, memory: Memory) -> Steps:
    """Active orders, their status, and sales."""
    order, status = ORDER_ID.search(text.upper()), STATUS.search(text.lower())
    if order and status:
        call = Call("update_order_status", {"order_id": order[0], "status": status[1]})
        (result,) = yield [call]
        return _problem(result) or f"Order {result['order_id']} is now {result['status']}."
    if re.search(r"\b(sales|revenue|takings|sold|turnover)\b", text.lower()):
        (result,) = yield [Call("get_sales_summary", {"venue_id": memory.venue})]
        if problem := _problem(result):
            return problem
        return f"{result['orders']} orders, {say.money(result['revenue'])}, {say.money(result['mean_order'])} on average."
    (result,) = yield [Call("get_active_orders", {"venue_id": memory.venue, "limit": 5})]
    if problem := _problem(result):
        return problem
    orders = [f"{order['order_id']} ({order['status']})" for order in result["orders"]]
    return f"Active orders: {say.join(orders)}." if orders else "There are no active orders."


def admin(text: str, memory: Memory) -> Steps:
    """Pending approvals, and decisions on them."""
    which = APPROVAL_ID.search(text.upper())
    decision = re.search(r"\b(approve|reject)", text.lower())
    if which and decision:
        word = {"approve": "approved", "reject": "rejected"}[decision[1]]
        arguments = {
            "approval_id": which[0],
            "decision": word,
            "decided_by": memory.user or "admin",
        }
        (result,) = yield [Call("approval_resolve", arguments)]
        return _problem(result) or f"{result['approval_id']} is {result['status']}."
    (result,) = yield [Call("approval_list_pending", {"venue_id": memory.venue})]
    if problem := _problem(result):
        return problem
    waiting = [f"{x['approval_id']}: {x['what']}" for x in result["approvals"]]
    return (
        f"Waiting for a decision: {'; '.join(waiting)}."
        if waiting
        else "Nothing waits for a decision."
    )


def ui_orchestrator(text: str, memory: Memory) -> Steps:
    """Venues and menus for the screens of the product."""
    low = text.lower()
    venue = VENUE_ID.search(low)
    if "menu" in low:
        (result,) = yield [Call("menu_get", {"venue_id": venue[0] if venue else memory.venue})]
        return (
            _problem(result)
            or f"{len(result['items'])} items: {say.priced(result['items'][:5])} and more."
        )
    if venue:
        (result,) = yield [Call("venues_get", {"venue_id": venue[0]})]
        return (
            _problem(result)
            or f"{result['name']}, {result['district']}, {result['tables']} tables."
        )
    if match := re.search(
        r"\b(?:find|search|with|near|in)\s+(?:a venue\s+)?(?:with|in|near)?\s*(.+?)[?.!]*$", low
    ):
        (result,) = yield [Call("venues_search", {"query": match[1]})]
    else:
        (result,) = yield [Call("venues_list", {})]
    if problem := _problem(result):
        return problem
    names = [venue["name"] for venue in result["venues"]]
    return f"Venues: {say.join(names)}." if names else "I found no such venue."


def research(text: str, memory: Memory) -> Steps:
    """What the fixed corpus says about a question."""
    (result,) = yield [Call("web_research", {"query": text[:200], "limit": 3})]
    if problem := _problem(result):
        return problem
    found = [f"{note['title']}: {note['text']} ({note['url']})" for note in result["results"]]
    return " ".join(found) or "I found nothing about that."


DESKS = {
    "bar_manager": bar_manager,
    "admin": admin,
    "ui_orchestrator": ui_orchestrator,
    "research": research,
}


def _problem(result: dict[str, object]) -> str:
    return f"Sorry, that did not work: {result['error']}." if "error" in result else ""
