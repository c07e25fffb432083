"""Plain HTTP tools: the same policy and dry run, and no way around them."""

import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from molt.core.policy import ToolPolicy
from molt.egress.route_table import RouteTable, read_path
from molt.egress.settings import Route

from .tools_world import ROUTES, House, http_house


async def ask(house: House, method: str, path: str, mode: str = "live", **more: object):
    headers = {"x-molt-run": house.token(mode)} if mode else {}
    headers |= more.pop("headers", {})  # pyright: ignore[reportArgumentType]
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.request(method, f"{house.url}/http/shop{path}", headers=headers, **more)  # pyright: ignore[reportArgumentType]


async def test_an_allowed_call_reaches_its_route_with_all_it_said():
    async with http_house() as house:
        read = await ask(house, "GET", "/menu/earl%20grey?lang=en&size=l")
        write = await ask(house, "POST", "/cart/add", json={"item": "tea", "quantity": 2})
    assert read.json()["did"] == "GET /menu/earl grey"
    assert read.json()["query"] == "lang=en&size=l"
    assert json.loads(write.json()["body"]) == {"item": "tea", "quantity": 2}
    assert house.dispositions() == [("menu_get", "read"), ("cart_add", "executed")]
    assert json.loads(house.notes.calls[0].arguments or "") == {
        "item": "earl grey", "lang": "en", "size": "l",
    }  # fmt: skip
    assert house.shop.headers[1]["x-molt-mode"] == "live"
    assert "x-molt-run" not in house.shop.headers[1]


async def test_in_shadow_a_write_is_answered_by_its_schema_or_example():
    async with http_house() as house:
        order = await ask(house, "POST", "/cart/add", "shadow", json={"item": "tea"})
        note = await ask(house, "POST", "/cart/7/note", "shadow", json={"text": "hot"})
        read = await ask(house, "GET", "/menu/tea", "shadow")
    assert (order.status_code, order.json()) == (201, {"order_id": "O-0"})
    assert order.headers["x-molt-dry-run"] == "true"
    assert note.json() == {"ok": True}
    assert read.json()["did"] == "GET /menu/tea"
    assert house.shop.writes == 0
    assert house.dispositions()[0] == ("cart_add", "would_execute")


async def test_invalid_arguments_get_an_error_in_shadow():
    schema = {"type": "object", "properties": {"quantity": {"type": "integer"}}}
    async with http_house((Route("POST", "/cart/add", "cart_add", input_schema=schema),)) as house:
        answer = await ask(house, "POST", "/cart/add", "shadow", json={"quantity": "many"})
    assert answer.status_code == 422
    assert not house.reports.made


async def test_a_rule_holds_for_path_query_and_body():
    policy = ToolPolicy(allow=("*",), arguments={"*": ('item != "rum"', "quantity <= 20")})
    async with http_house() as house:
        house.say(policy)
        answers = [
            await ask(house, "GET", "/menu/rum"),
            await ask(house, "GET", "/menu/tea?quantity=21"),
            await ask(house, "GET", "/menu/tea?quantity=1&quantity=2"),
            await ask(house, "POST", "/cart/add", json={"quantity": 21}),
            await ask(house, "POST", "/cart/add?quantity=21", json={"item": "tea"}),
        ]
        fine = await ask(house, "GET", "/menu/tea?quantity=20")
    assert [a.status_code for a in answers] == [403] * 5
    assert fine.status_code == 200
    assert len(house.reports.made) == 5


async def test_an_unlisted_route_is_a_forbidden_tool():
    async with http_house() as house:
        answer = await ask(house, "POST", "/admin/wipe")
    assert answer.status_code == 403
    assert answer.headers["x-molt-denied"] == "forbidden"
    assert house.reports.made[0]["tool"] == "POST /admin/wipe"
    assert not house.shop.calls


async def test_a_forbidden_tool_is_a_violation_and_over_the_limit_is_none():
    async with http_house() as house:
        forbidden = await ask(house, "DELETE", "/orders/1")
        token = {"x-molt-run": house.token()}
        limited = [await ask(house, "GET", "/menu/tea", mode="", headers=token) for _ in range(11)]
    assert forbidden.status_code == 403
    assert [a.status_code for a in limited] == [200] * 10 + [429]
    assert len(house.reports.made) == 1


async def test_without_a_run_reads_pass_and_writes_are_denied():
    async with http_house() as house:
        read = await ask(house, "GET", "/menu/tea", mode="")
        write = await ask(house, "POST", "/cart/add", mode="", json={})
    assert (read.status_code, write.status_code) == (200, 401)
    assert house.shop.writes == 0


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [
        ("POST", "/cart/add?item=a", {"json": {"item": "b"}}),
        ("POST", "/cart/add?_method=DELETE", {"json": {}}),
        ("POST", "/cart/add", {"json": {"_method": "DELETE"}}),
        ("POST", "/cart/add", {"content": b'{"quantity": 1, "quantity": 99}'}),
        ("POST", "/cart/add?a=1;b=2", {"json": {}}),
        ("GET", "/menu/tea", {"content": b"{}"}),
    ],
)
async def test_what_could_be_read_in_two_ways_is_refused(method: str, path: str, more: dict):
    async with http_house() as house:
        headers = {"content-type": "application/json"}
        answer = await ask(house, method, path, headers=headers, **more)
    assert answer.status_code == 400
    assert not house.shop.calls


async def test_only_json_bodies_are_taken():
    async with http_house() as house:
        answer = await ask(house, "POST", "/cart/add", data={"quantity": "99"})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    "path",
    [
        b"/menu/..", b"/menu/%2e%2e", b"/menu/%2E", b"/menu/a%2fb", b"/menu/a%5cb", b"/menu/a\\b",
        b"/menu//a", b"/menu/a;x=1", b"/menu/a%3bx", b"/menu/%252e%252e", b"/menu/a%00",
        b"/menu/%ff", b"/menu/a b", b"menu/a", b"/menu/%zz",
    ],
)  # fmt: skip
def test_a_path_with_two_readings_has_none(path: bytes):
    assert read_path(path) is None
    assert RouteTable(ROUTES).match("GET", path) is None


def test_literal_segments_win_over_parameters():
    table = RouteTable([Route("GET", "/menu/{id}", "one"), Route("GET", "/menu/all", "all")])
    found = table.match("GET", b"/menu/all")
    assert found is not None
    assert found.route.tool == "all"
    assert table.match("GET", b"/menu/all/") is None
    assert table.match("HEAD", b"/menu/x") is not None


PIECES = st.sampled_from(
    [
        "/", "menu", "cart", "add", "orders", "note", "tea", "..", ".", "%2e", "%2f", "%2F..", "\\",
        "%5c", ";", "//", "%00", "%252f", "7", "?", "a=1", "&", "_method=POST", "#", "*", "@", "search",
    ]
)  # fmt: skip
LISTED = st.sampled_from(["cart/add", "cart/7/note", "orders/1", "menu/tea", "menu/search"])
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
TRICKS = st.sampled_from(
    [
        "", "x-http-method-override: POST\r\n", "x_http_method: DELETE\r\n",
        "x-original-url: /cart/add\r\n", "x-rewrite-url: /orders/1\r\n", "x-molt-mode: live\r\n",
        "X-HTTP-Method: POST\r\n", "x-forwarded-prefix: /cart\r\n", "content-encoding: gzip\r\n",
    ]
)  # fmt: skip
BODIES = st.sampled_from(["", "{}", '{"_method": "DELETE"}', '{"item": "a"}', "x=1", "[1]"])
CALLS = st.lists(
    st.tuples(
        METHODS, LISTED | st.lists(PIECES, max_size=6).map("".join), TRICKS, BODIES, st.booleans()
    ),
    min_size=20,
    max_size=40,
)


async def test_no_sequence_of_calls_in_shadow_reaches_a_write():
    async with http_house() as house:
        house.say(ToolPolicy(allow=("*",), read_only=("menu_search",)), shadow=True)
        sequences: list[list] = []

        @given(CALLS)
        @settings(max_examples=25, database=None, suppress_health_check=list(HealthCheck))
        def gather(calls: list) -> None:
            sequences.append(calls)

        gather()
        for calls in sequences:
            await send(house, calls)
    reads = ("menu:GET /menu/", "menu:HEAD /menu/", "write:POST /menu/search")
    assert [name for name in house.shop.calls if not name.startswith(reads)] == []


async def send(house: House, calls: list) -> None:
    """Raw requests on raw connections: what a library would put in order stays as it is."""
    import asyncio

    at = urlsplit(house.url)
    for method, path, trick, body, known in calls:
        run = house.token("shadow") if known else ""
        head = (
            f"{method} /http/shop/{path} HTTP/1.1\r\nhost: x\r\nx-molt-run: {run}\r\n{trick}"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            f"connection: close\r\n\r\n{body}"
        )
        reader, writer = await asyncio.open_connection(at.hostname, at.port, family=socket.AF_INET)
        writer.write(head.encode())
        await reader.read()
        writer.close()
        await writer.wait_closed()
