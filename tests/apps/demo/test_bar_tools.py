"""The tool server, through a real MCP client."""

import pytest
from fastmcp import Client
from fastmcp.exceptions import ToolError

from molt.apps.demo.bar.desks import AGENT_TOOLS, READ_ONLY

LATTE = {"venue_id": "venue-1", "item_id": "latte", "options": ["Oat Milk"]}


async def test_it_offers_exactly_the_tools_of_the_five_agents_with_schemas_and_hints(tools):
    async with Client(f"{tools.url}/mcp") as client:
        offered = {tool.name: tool for tool in await client.list_tools()}
    assert set(offered) == {name for names in AGENT_TOOLS.values() for name in names}
    for name, tool in offered.items():
        assert tool.annotations.read_only_hint == (name in READ_ONLY)
        assert tool.output_schema["type"] == "object"
        assert tool.description
    assert offered["add_to_cart"].input_schema["properties"]["quantity"]["maximum"] == 20


async def test_results_are_structured_and_satisfy_the_output_schema(tools):
    async with Client(f"{tools.url}/mcp") as client:
        added = await client.call_tool("add_to_cart", {"cart_id": "t1", **LATTE})
        cart = await client.call_tool("view_cart", {"cart_id": "t1"})
        found = await client.call_tool("menu_search", {"venue_id": "venue-1", "query": "beer"})
    assert added.structured_content["line_total"] == 5.0
    assert [line["name"] for line in cart.structured_content["lines"]] == ["Latte"]
    assert len(found.structured_content["items"]) == 4


@pytest.mark.parametrize(
    ("tool", "arguments", "why"),
    [
        ("place_order", {"cart_id": "t-empty"}, "the cart is empty"),
        ("add_to_cart", {"cart_id": "t2", "venue_id": "venue-1", "item_id": "soup"}, "no 'soup' on the menu"),
        ("add_to_cart", {"cart_id": "t2", "venue_id": "moon", "item_id": "latte"}, "known are venue-1"),
        ("add_to_cart", {"cart_id": "t2", "venue_id": "venue-1", "item_id": "amber-ale", "options": ["Oat Milk"]},
         "does not come with"),
        ("add_to_cart", {"cart_id": "t2", **LATTE, "quantity": 99}, "less than or equal to 20"),
        ("check_order_status", {"order_id": "O-999999"}, "no order"),
        ("approval_resolve", {"approval_id": "A-77", "decision": "approved"}, "no approval"),
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_refused_in_words(tools, tool: str, arguments: dict, why: str):
    async with Client(f"{tools.url}/mcp") as client:
        with pytest.raises(ToolError, match=why):
            await client.call_tool(tool, arguments)


async def test_orders_are_counted_by_the_mode_they_were_executed_for(tools):
    before = tools.stats()
    async with Client(f"{tools.url}/mcp") as client:
        for cart, mode in [("t3", "live"), ("t4", "shadow"), ("t5", "shadow")]:
            meta = {"x-molt-run": f"run-{cart}", "x-molt-mode": mode}
            await client.call_tool("add_to_cart", {"cart_id": cart, **LATTE}, meta=meta)
            await client.call_tool("place_order", {"cart_id": cart}, meta=meta)
    after = tools.stats()
    assert after["orders"] - before["orders"] == 3
    assert after["orders_by_shadow_runs"] - before["orders_by_shadow_runs"] == 2
    assert (
        after["calls_by_tool"]["place_order"] - before["calls_by_tool"].get("place_order", 0) == 3
    )


async def test_a_header_names_the_mode_where_metadata_does_not(tools):
    from fastmcp.client.transports import StreamableHttpTransport

    before = tools.stats()["orders_by_shadow_runs"]
    async with Client(
        StreamableHttpTransport(f"{tools.url}/mcp", headers={"x-molt-mode": "shadow"})
    ) as client:
        await client.call_tool("add_to_cart", {"cart_id": "t6", **LATTE})
        await client.call_tool("place_order", {"cart_id": "t6"})
    assert tools.stats()["orders_by_shadow_runs"] == before + 1


async def test_the_manager_and_the_admin_see_what_happened(tools):
    async with Client(f"{tools.url}/mcp") as client:
        await client.call_tool("add_to_cart", {"cart_id": "t7", **LATTE})
        order = (await client.call_tool("place_order", {"cart_id": "t7"})).structured_content[
            "order_id"
        ]
        active = await client.call_tool("get_active_orders", {"venue_id": "venue-1"})
        served = await client.call_tool(
            "update_order_status", {"order_id": order, "status": "served"}
        )
        sales = await client.call_tool("get_sales_summary", {"venue_id": "venue-1"})
        resolved = await client.call_tool(
            "approval_resolve", {"approval_id": "A-3", "decision": "rejected"}
        )
    assert order in [one["order_id"] for one in active.structured_content["orders"]]
    assert served.structured_content["status"] == "served"
    assert sales.structured_content["revenue"] >= 5.0
    assert resolved.structured_content["status"] == "rejected"
