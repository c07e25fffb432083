"""No sequence of MCP messages in shadow, or without a run, reaches a tool that may change something."""

import json
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from molt.core.policy import ToolPolicy

from .tools_world import House, mcp_house, without_sessions

PLAIN = 6
"""How often a part of a message is as it should be, for each time that it is not."""

TOOLS: dict[str, Any] = {
    "cart_add": {"item": "tea"},
    "cart_note": {"text": "hot"},
    "approve_all": {},
    "menu_search": {"query": "tea"},
    "CART_ADD": {"item": "tea"},
    "no_such": {},
}
NAMES = st.sampled_from(list(TOOLS))
ARGUMENTS = st.sampled_from([True] * PLAIN + [None, [], "x"])
METHODS = st.sampled_from(
    ["tools/call"] * PLAIN + ["tools/list", "ping", "Tools/Call", "tools/call ", "tasks/cancel"]
)
EXTRAS = st.sampled_from(
    [{}] * PLAIN + [{"Method": "tools/call"}, {"METHOD": "x"}, {"id": None}, {"jsonrpc": "1.0"}]
)
FORMS = st.sampled_from(
    ["plain"] * PLAIN + ["batch", "notification", "twice", "task", "utf-16", "bom"]
)
HEADERS = st.sampled_from(
    [{}] * PLAIN
    + [
        {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/list"},
        {"mcp-protocol-version": "2025-11-25"},
        {"mcp-method": "ping"},
        {"x-molt-mode": "live", "x-molt-run-id": "a"},
        {"content-type": "text/json"},
        {"content-encoding": "identity, gzip"},
    ]
)
CALLS = st.lists(
    st.tuples(METHODS, NAMES, ARGUMENTS, EXTRAS, FORMS, HEADERS, st.booleans()),
    min_size=15,
    max_size=30,
)


def body(method: str, name: str, arguments: Any, extra: dict[str, Any], form: str) -> bytes:
    given = TOOLS[name] if arguments is True else arguments
    params = {"name": name, "arguments": given} | ({"task": {}} if form == "task" else {})
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params, **extra}
    if form == "notification":
        message.pop("id")
    text = json.dumps([message] if form == "batch" else message)
    if form == "twice":
        text = text.replace('"method"', '"method": "ping", "method"', 1)
    return b"\xef\xbb\xbf" * (form == "bom") + text.encode(
        "utf-16" if form == "utf-16" else "utf-8"
    )


async def test_no_sequence_of_messages_reaches_a_write():
    async with (
        mcp_house(without_sessions) as house,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        house.say(ToolPolicy(allow=("*",)))
        sequences: list[list[Any]] = []

        @given(CALLS)
        @settings(max_examples=15, database=None, suppress_health_check=list(HealthCheck))
        def gather(calls: list[Any]) -> None:
            sequences.append(calls)

        gather()
        for calls in sequences:
            await send(house, client, calls)
        assert house.shop.writes == 0
        # The door is open: a plain read goes through it, whatever was drawn before.
        await send(house, client, [("tools/call", "menu_search", True, {}, "plain", {}, True)])
    assert house.shop.calls["menu_search"] > 0


async def send(house: House, client: httpx.AsyncClient, calls: list[Any]) -> None:
    for method, name, arguments, extra, form, headers, known in calls:
        run = {"x-molt-run": house.token("shadow")} if known else {}
        await client.post(
            f"{house.url}/mcp/shop",
            content=body(method, name, arguments, extra, form),
            headers={
                "content-type": "application/json",
                "accept": "application/json, text/event-stream",
                **run,
                **headers,
            },
        )
