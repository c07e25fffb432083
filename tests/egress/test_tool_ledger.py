"""The budget of tool calls is exact, whatever the ways and however many calls at once."""

import asyncio
import json

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from molt.core.flags import Limits
from molt.egress.settings import Route, ToolService

from .tools_world import House, serving, without_sessions

WAYS = st.lists(st.sampled_from(["mcp", "http", "guard"]), min_size=1, max_size=25)
CASES = st.tuples(WAYS, st.integers(0, 12))


def question(house: House, way: str, token: str) -> tuple[str, dict[str, object]]:
    arguments = {"item": "tea", "quantity": 1}
    if way == "http":
        return f"{house.url}/http/till/cart/add", arguments
    if way == "guard":
        return f"{house.url}/guard/v1/calls", {"tool": "cart_add", "arguments": arguments}
    params = {"name": "cart_add", "arguments": arguments}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return f"{house.url}/mcp/shop", call


async def test_a_run_makes_exactly_as_many_calls_as_it_may_over_all_ways_together():
    house = House()
    till = (Route("POST", "/cart/add", "cart_add"),)
    async with (
        serving(without_sessions(house.shop), "on") as mcp,
        serving(house.shop.http()) as http,
        house.open(
            ToolService("shop", f"{mcp}/mcp"), ToolService("till", http, "http", routes=till)
        ),
        httpx.AsyncClient(trust_env=False) as client,
    ):
        cases: list[tuple[list[str], int]] = []

        @given(CASES)
        @settings(max_examples=15, database=None, suppress_health_check=list(HealthCheck))
        def gather(case: tuple[list[str], int]) -> None:
            cases.append(case)

        gather()
        for ways, most in cases:
            house.say(limits=Limits(max_tool_calls_per_request=most))
            token, before = house.token(), house.shop.writes
            accept = {"accept": "application/json, text/event-stream", "x-molt-run": token}

            async def ask(way: str, token: str, accept: dict[str, str]) -> str:
                url, body = question(house, way, token)
                headers = {**accept, "content-type": "application/json"}
                return (await client.post(url, content=json.dumps(body), headers=headers)).text

            said = await asyncio.gather(*(ask(way, token, accept) for way in ways))
            executed = sum('"act":"execute"' in text for text in said) + house.shop.writes - before
            assert executed == min(most, len(ways))
            assert sum("tool calls, and has made them" in t for t in said) == len(ways) - executed
