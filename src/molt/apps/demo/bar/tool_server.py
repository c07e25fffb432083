"""`bar-tools`: the bar's tools behind MCP (streamable HTTP at /mcp), with plain GET /stats and /health.

Every executed call is counted, and every order keeps the run and mode that it came from, as the
caller's request metadata (`_meta`) or headers (`x-molt-run`, `x-molt-mode`) say: how many orders
shadow runs have really placed is counted here, where they would be executed, and nowhere else.
"""

import logging
from collections import Counter as Tally
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from fastmcp import FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.server.dependencies import get_context, get_http_headers
from fastmcp.tools import Tool
from mcp.types import ToolAnnotations
from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from molt.apps.demo.bar import shapes
from molt.apps.demo.bar.counter import Counter
from molt.apps.demo.bar.desks import READ_ONLY
from molt.apps.demo.bar.serving import keyed
from molt.apps.demo.bar.store import Books, Refused

RUN, MODE, RUN_ID = "x-molt-run", "x-molt-mode", "x-molt-run-id"

VenueId = Annotated[str, Field(description="Id of the venue, such as venue-1.")]
CartId = Annotated[
    str, Field(description="Id of the guest's cart: the id of the conversation.", min_length=1)
]
ItemId = Annotated[str, Field(description="Id of a menu item, as menu_search gives it.")]
Limit = Annotated[int, Field(description="At most this many results.", ge=1, le=50)]
Decision = Literal["approved", "rejected"]
Status = Literal["received", "preparing", "ready", "served", "cancelled"]
OrderType = Literal["here", "to go", "delivery"]


class BarTools:
    """The tool server over one database file."""

    def __init__(self, database: Path, key: str = "") -> None:
        self._key = key
        self._books = Books(database)
        self._counter = Counter(self._books)
        self._calls: Tally[str] = Tally()
        self.mcp: FastMCP[Any] = FastMCP(
            "bar-tools", mask_error_details=True, dereference_schemas=False
        )
        inputs: dict[str, dict[str, Any]] = {}
        for function in (*self._guest_tools(), *self._desk_tools()):
            reads = function.__name__ in READ_ONLY
            hints = ToolAnnotations(read_only_hint=reads, open_world_hint=False)
            tool = self.mcp.add_tool(Tool.from_function(function, annotations=hints))
            inputs[tool.name] = tool.parameters
        # Without this look-up the protocol layer lists all tools anew at each call, which doubles its cost.
        self.mcp._mcp_server.get_tool_input_schema = inputs.get  # pyright: ignore[reportPrivateUsage]
        self.mcp.custom_route("/stats", methods=["GET"])(self._stats)
        self.mcp.custom_route("/health", methods=["GET"])(self._health)

    def app(self) -> ASGIApp:
        """The ASGI application: stateless, so that any client may come and go."""
        app = self.mcp.http_app(path="/mcp", stateless_http=True, json_response=True)
        return keyed(app, self._key)

    def close(self) -> None:
        """Release the database."""
        self._books.close()

    def _do(self, tool: str, **arguments: Any) -> Any:
        run, mode = _origin()
        try:
            result = self._counter.call(tool, arguments, run, mode)
        except Refused as refusal:
            # A refusal is an ordinary answer to a guest, not a fault of this server.
            raise ToolError(str(refusal), log_level=logging.DEBUG) from None
        finally:
            self._calls[tool] += 1
        return result

    async def _stats(self, request: Request) -> JSONResponse:
        return JSONResponse({**self._books.counts(), "calls_by_tool": dict(self._calls)})

    async def _health(self, request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "service": "bar-tools"})

    def _guest_tools(self) -> tuple[Any, ...]:
        async def menu_search(
            venue_id: VenueId, query: str = "", limit: Limit = 6
        ) -> shapes.MenuItems:
            """Find menu items by words such as "latte", "herbal tea" or "beer"; no words list the menu."""
            return self._do("menu_search", venue_id=venue_id, query=query, limit=limit)

        async def get_item_details(venue_id: VenueId, item_id: ItemId) -> shapes.ItemDetails:
            """What is in a menu item, and with which milks, sweeteners and sizes it can be ordered."""
            return self._do("get_item_details", venue_id=venue_id, item_id=item_id)

        async def add_to_cart(
            venue_id: VenueId,
            cart_id: CartId,
            item_id: ItemId,
            quantity: Annotated[int, Field(ge=1, le=20)] = 1,
            options: Annotated[
                list[str], Field(description="Options as get_item_details names them.")
            ] = [],  # noqa: B006 (never changed)
            notes: Annotated[str, Field(max_length=200)] = "",
        ) -> shapes.AddedLine:
            """Put an item into the guest's cart."""
            arguments = {"quantity": quantity, "options": options, "notes": notes}
            return self._do(
                "add_to_cart", venue_id=venue_id, cart_id=cart_id, item_id=item_id, **arguments
            )

        async def view_cart(cart_id: CartId) -> shapes.Cart:
            """What is in the guest's cart, and its total."""
            return self._do("view_cart", cart_id=cart_id)

        async def remove_from_cart(cart_id: CartId, line_id: int) -> shapes.RemovedLine:
            """Take one line out of the guest's cart."""
            return self._do("remove_from_cart", cart_id=cart_id, line_id=line_id)

        async def place_order(
            cart_id: CartId, order_type: OrderType = "here", name: str = "", table_no: str = ""
        ) -> shapes.PlacedOrder:
            """Order what is in the cart. Only after the guest has confirmed it."""
            return self._do(
                "place_order", cart_id=cart_id, order_type=order_type, name=name, table_no=table_no
            )

        async def check_order_status(order_id: str) -> shapes.Order:
            """How far an order is."""
            return self._do("check_order_status", order_id=order_id)

        async def call_staff(venue_id: VenueId, table_no: str, reason: str) -> shapes.StaffCall:
            """Ask a member of staff to come to a table."""
            return self._do("call_staff", venue_id=venue_id, table_no=table_no, reason=reason)

        async def get_recommendations(venue_id: VenueId, taste: str = "") -> shapes.Recommendations:
            """Three items that suit a taste."""
            return self._do("get_recommendations", venue_id=venue_id, taste=taste)

        return (
            menu_search, get_item_details, add_to_cart, view_cart, remove_from_cart, place_order,
            check_order_status, call_staff, get_recommendations,
        )  # fmt: skip

    def _desk_tools(self) -> tuple[Any, ...]:
        async def get_active_orders(venue_id: VenueId, limit: Limit = 10) -> shapes.Orders:
            """Orders that are neither served nor cancelled, newest first."""
            return self._do("get_active_orders", venue_id=venue_id, limit=limit)

        async def update_order_status(order_id: str, status: Status) -> shapes.Order:
            """Set how far an order is."""
            return self._do("update_order_status", order_id=order_id, status=status)

        async def get_sales_summary(venue_id: VenueId) -> shapes.SalesSummary:
            """Orders and revenue of a venue."""
            return self._do("get_sales_summary", venue_id=venue_id)

        async def approval_list_pending(venue_id: VenueId) -> shapes.Approvals:
            """What waits for a decision."""
            return self._do("approval_list_pending", venue_id=venue_id)

        async def approval_resolve(
            approval_id: str, decision: Decision, decided_by: str = ""
        ) -> shapes.Approval:
            """Approve or reject something that waits for a decision."""
            return self._do(
                "approval_resolve",
                approval_id=approval_id,
                decision=decision,
                decided_by=decided_by,
            )

        async def venues_list() -> shapes.Venues:
            """All venues."""
            return self._do("venues_list")

        async def venues_search(query: str) -> shapes.Venues:
            """Venues by name, district or feature."""
            return self._do("venues_search", query=query)

        async def venues_get(venue_id: VenueId) -> shapes.VenueData:
            """One venue."""
            return self._do("venues_get", venue_id=venue_id)

        async def menu_get(venue_id: VenueId) -> shapes.VenueMenu:
            """The whole menu of a venue."""
            return self._do("menu_get", venue_id=venue_id)

        async def web_research(query: str, limit: Limit = 3) -> shapes.Findings:
            """What the fixed corpus of trade notes says about a question."""
            return self._do("web_research", query=query, limit=limit)

        return (
            get_active_orders, update_order_status, get_sales_summary, approval_list_pending, approval_resolve,
            venues_list, venues_search, venues_get, menu_get, web_research,
        )  # fmt: skip


def _origin() -> tuple[str, str]:
    """The run and mode that the caller acts for. Molt's own headers are the truth; without them the
    request's `_meta` says it, or what headers the agent sends itself."""
    headers = get_http_headers(include={RUN, MODE, RUN_ID})
    if RUN_ID in headers:
        return headers[RUN_ID], headers.get(MODE, "")
    context = get_context().request_context
    meta = cast("dict[str, Any]", dict(context.meta) if context and context.meta else {})
    if RUN in meta or MODE in meta:
        return str(meta.get(RUN, "")), str(meta.get(MODE, ""))
    return headers.get(RUN, ""), headers.get(MODE, "")
