"""MCP through Molt, with clients and servers that nobody here wrote, in both eras of the protocol."""

import json
from typing import Any

import httpx
import pytest
from fastmcp import Client as FastClient
from fastmcp.client.transports import StreamableHttpTransport
from mcp.client import Client
from mcp.types import ElicitResult

from molt.core.policy import ToolPolicy
from molt.egress.settings import ToolService

from .tools_world import Era, House, mcp_house, with_sessions, without_sessions

pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")

ERAS = [
    pytest.param(with_sessions, "legacy", id="sessions"),
    pytest.param(without_sessions, "legacy", id="json"),
    pytest.param(with_sessions, "2026-07-28", id="stateless"),
]


def asking(house: House, mode: str) -> Client:
    return Client(f"{house.url}/mcp/shop", mode=mode)


def run(house: House, mode: str = "live") -> dict[str, Any]:
    return {"x-molt-run": house.token(mode)}


@pytest.mark.parametrize(("era", "mode"), ERAS)
async def test_an_allowed_call_is_executed_and_its_answer_passes_unchanged(era: Era, mode: str):
    async with mcp_house(era) as house, asking(house, mode) as client:
        seen: list[float] = []

        async def progress(at: float, total: float | None, message: str | None) -> None:
            seen.append(at)

        found = await client.call_tool(
            "menu_search", {"query": "tea"}, meta=run(house), progress_callback=progress
        )
        line = await client.call_tool("cart_add", {"item": "tea", "quantity": 2}, meta=run(house))
    assert found.structured_content == {"result": ["tea 1", "tea 2"]}
    assert line.structured_content == {"item": "tea", "quantity": 2, "total": 2.5}
    assert house.dispositions() == [("menu_search", "read"), ("cart_add", "executed")]
    assert seen == ([1.0] if era is with_sessions else [])


async def test_what_a_server_asks_of_its_client_passes_both_ways():
    async def answer(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"value": f"{params.message} Green."})

    async with mcp_house() as house:
        address = f"{house.url}/mcp/shop"
        async with Client(address, mode="legacy", elicitation_callback=answer) as client:
            said = await client.call_tool("menu_ask", {"question": "Tea?"}, meta=run(house))
    assert said.structured_content == {"result": "Tea? Green."}


@pytest.mark.parametrize(("era", "mode"), ERAS)
async def test_a_forbidden_call_is_a_violation_and_the_tool_never_hears_of_it(era: Era, mode: str):
    async with mcp_house(era) as house, asking(house, mode) as client:
        meta = run(house)
        denied = await client.call_tool("approve_all", {}, meta=meta)
        after = await client.call_tool("cart_add", {"item": "tea"}, meta=meta)
    assert denied.is_error
    assert "the policy forbids approve_all" in denied.content[0].text
    assert [(r["tool"], r["agent"]) for r in house.reports.made] == [("approve_all", "guest")]
    assert after.is_error
    assert house.shop.writes == 0
    assert house.dispositions() == [("approve_all", "denied"), ("cart_add", "denied")]


@pytest.mark.parametrize(("era", "mode"), ERAS)
async def test_arguments_beyond_a_rule_are_a_violation(era: Era, mode: str):
    async with mcp_house(era) as house, asking(house, mode) as client:
        meta = run(house)
        denied = await client.call_tool("cart_add", {"item": "tea", "quantity": 21}, meta=meta)
    assert denied.is_error
    assert "quantity <= 20" in denied.content[0].text
    assert json.loads(house.reports.made[0]["arguments"]) == {"item": "tea", "quantity": 21}
    assert house.shop.writes == 0


@pytest.mark.parametrize(("era", "mode"), ERAS)
async def test_in_shadow_a_write_is_answered_and_not_executed(era: Era, mode: str):
    async with mcp_house(era) as house, asking(house, mode) as client:
        meta = run(house, "shadow")
        line = await client.call_tool("cart_add", {"item": "tea", "quantity": 2}, meta=meta)
        note = await client.call_tool("cart_note", {"text": "hot"}, meta=meta)
        wrong = await client.call_tool("cart_add", {"item": "tea", "quantity": "x"}, meta=meta)
        found = await client.call_tool("menu_search", {"query": "tea"}, meta=meta)
        unknown = await client.call_tool("cart_odd", {}, meta=meta)
    assert line.structured_content == {"item": "tea", "quantity": 2, "total": 0.0}
    assert line.meta == {"molt/dry-run": True}
    assert not note.is_error
    assert wrong.is_error
    assert "Input validation error: quantity: 'x' is not of type 'integer'" in wrong.content[0].text
    assert unknown.is_error
    assert "Unknown tool" in unknown.content[0].text
    assert found.structured_content == {"result": ["tea 1", "tea 2"]}
    assert house.shop.calls == {"menu_search": 1}
    assert not house.reports.made
    assert house.dispositions()[0] == ("cart_add", "would_execute")
    assert house.notes.calls[0].arguments == '{"item":"tea","quantity":2}'


@pytest.mark.parametrize(("era", "mode"), ERAS)
async def test_over_the_limit_no_tool_is_called(era: Era, mode: str):
    async with mcp_house(era) as house, asking(house, mode) as client:
        meta = run(house)
        answers = [
            await client.call_tool("menu_search", {"query": "tea"}, meta=meta) for _ in range(11)
        ]
    assert [a.is_error or False for a in answers] == [False] * 10 + [True]
    assert "may make 10 tool calls" in answers[-1].content[0].text
    assert house.shop.calls["menu_search"] == 10
    assert not house.reports.made


@pytest.mark.parametrize(("era", "mode"), ERAS)
async def test_without_a_run_reads_pass_and_writes_are_denied(era: Era, mode: str):
    async with mcp_house(era) as house, asking(house, mode) as client:
        read = await client.call_tool("menu_search", {"query": "tea"})
        cart = await client.call_tool("view_cart", {"cart": "c"})
        write = await client.call_tool("cart_add", {"item": "tea"})
        forged = await client.call_tool(
            "cart_add",
            {"item": "tea"},
            meta={"x-molt-run": house.token().replace("guest", "admin")},
        )
    assert not read.is_error
    assert not cart.is_error
    assert write.is_error
    assert forged.is_error
    assert house.shop.writes == 0
    assert not house.reports.made


@pytest.mark.parametrize(("era", "mode"), ERAS)
async def test_without_flags_writes_are_denied(era: Era, mode: str):
    async with mcp_house(era) as house, asking(house, mode) as client:
        house.callers.heard(-601.0)  # control has been silent for longer than the time to live
        read = await client.call_tool("menu_search", {"query": "tea"}, meta=run(house))
        write = await client.call_tool("cart_add", {"item": "tea"}, meta=run(house))
    assert not read.is_error
    assert write.is_error
    assert "control has been silent" in write.content[0].text
    assert house.shop.writes == 0


@pytest.mark.parametrize(("era", "mode"), ERAS)
async def test_lists_leave_out_what_the_agent_must_not_call(era: Era, mode: str):
    async with mcp_house(era) as house:
        headers = {"x-molt-run": house.token()}
        transport = StreamableHttpTransport(f"{house.url}/mcp/shop", headers=headers)
        async with FastClient(transport) as client:
            mine = {tool.name for tool in await client.list_tools()}
        async with asking(house, mode) as client:
            everybodys = {tool.name for tool in (await client.list_tools()).tools}
    assert mine == {"menu_search", "menu_ask", "view_cart", "cart_add", "cart_note"}
    assert everybodys == mine | {"menu_drop", "approve_all"}


async def test_the_operators_word_beats_the_servers():
    async with mcp_house() as house, asking(house, "legacy") as client:
        house.say(ToolPolicy(allow=("*",), writes=("menu_search",), read_only=("approve_all",)))
        meta = run(house, "shadow")
        dry = await client.call_tool("menu_search", {"query": "tea"}, meta=meta)
        real = await client.call_tool("approve_all", {}, meta=meta)
    assert dry.meta == {"molt/dry-run": True}
    assert dry.structured_content == {"result": []}
    assert real.structured_content == {"result": "done"}
    assert house.shop.calls == {"approve_all": 1}


async def test_recorded_reads_answer_shadow_runs_with_what_live_ones_got():
    async with mcp_house() as house, asking(house, "legacy") as client:
        house.say(ToolPolicy(allow=("*",), reads="recorded"))
        await client.call_tool("menu_search", {"query": "tea"}, meta=run(house))
        meta = run(house, "shadow")
        same = await client.call_tool("menu_search", {"query": "tea"}, meta=meta)
        other = await client.call_tool("menu_search", {"query": "rum"}, meta=meta)
    assert same.structured_content == {"result": ["tea 1", "tea 2"]}
    assert same.meta is not None
    assert same.meta["molt/recorded"] is True
    assert other.structured_content == {"result": []}
    assert other.meta == {"molt/dry-run": True}
    assert house.shop.calls == {"menu_search": 1}


async def test_tasks_change_nothing_unless_the_audit_log_can_be_written():
    async with mcp_house() as house, asking(house, "legacy") as client:
        house.journal.failed = True
        write = await client.call_tool("cart_add", {"item": "tea"}, meta=run(house))
    assert write.is_error
    assert house.shop.writes == 0


# --- what no client library sends

CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "menu_search", "arguments": {"query": "tea"}},
}
ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


async def posted(house: House, body: Any, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.post(
            f"{house.url}/mcp/shop", content=content, headers={**ACCEPT, **named}
        )


@pytest.mark.parametrize(
    "headers",
    [
        {"mcp_method": "tools/list"},
        {"mcp_name": "cart_add"},
        {"mcp_name": "=?base64?Y2FydF9hZGQ=?="},
        {"mcp_protocol_version": "2026-07-28"},
        {"mcp_protocol_version": "2026-07-28", "mcp_method": "tools/call"},
    ],
)
async def test_a_header_that_contradicts_the_body_is_refused(headers: dict[str, str]):
    async with mcp_house() as house:
        answer = await posted(house, CALL, **headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == -32020
    assert not house.shop.calls


WRITE = {"name": "cart_add", "arguments": {"item": "x"}}


@pytest.mark.parametrize(
    "body",
    [
        [CALL, CALL],
        b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"a"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{"name":"a"}}',
        {**CALL, "params": {**WRITE, "Name": "menu_search"}},
        {**CALL, "params": {"name": ["cart_add"]}},
        {**CALL, "params": [WRITE]},
        {k: v for k, v in CALL.items() if k != "id"},
        {**CALL, "id": None},
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"n":NaN}}}',
        json.dumps(CALL).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps(CALL).encode(),
        b"[" * 100_000,
        b"",
        b"null",
    ],
)  # fmt: skip
async def test_what_could_be_read_in_two_ways_is_refused(body: Any):
    async with mcp_house() as house:
        answer = await posted(house, body, x_molt_run=house.token())
    assert answer.status_code == 400
    assert "error" in answer.json()
    assert not house.shop.calls


async def test_bodies_that_are_not_plain_json_are_refused():
    async with mcp_house() as house:
        coded = await posted(house, CALL, content_encoding="gzip")
        text = await posted(house, CALL, content_type="text/plain")
    assert (coded.status_code, text.status_code) == (415, 415)


@pytest.mark.parametrize(
    ("method", "kind"),
    [("custom/do", "request"), ("custom/do", "notice"), ("tasks/cancel", "request")],
)
async def test_methods_that_nobody_decided_about_are_not_passed_on(method: str, kind: str):
    async with mcp_house() as house:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {}}
        if kind == "notice":
            del body["id"]
        answer = await posted(house, body, x_molt_run=house.token("shadow"))
    assert answer.json()["error"]["code"] == -32601


async def test_the_servers_credentials_are_molts_and_the_agents_own_stay_here():
    house_headers: list[dict[str, str]] = []

    async def spy(scope: Any, receive: Any, send: Any) -> None:
        house_headers.append({k.decode(): v.decode() for k, v in scope["headers"]})
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with mcp_house(lambda shop: spy) as house:
        notice = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        await posted(
            house, notice, authorization="Bearer agent", cookie="a=b", x_molt_run=house.token()
        )
    (seen,) = house_headers
    assert seen["authorization"] == "Bearer secret"
    assert "cookie" not in seen
    assert not any(name.startswith("x-molt-") for name in seen)


async def test_a_server_that_is_away_is_said_so():
    house = House()
    async with house.open(ToolService("shop", "http://127.0.0.1:9/mcp")):
        answer = await posted(house, CALL, x_molt_run=house.token())
        dry = await posted(house, {**CALL, "params": WRITE}, x_molt_run=house.token("shadow"))
    assert answer.status_code == 502
    assert "does not say which tools it has" in dry.text
