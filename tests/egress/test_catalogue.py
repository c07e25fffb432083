"""The egress knows a server's tools by itself, and never makes a call wait for what it knows."""

import asyncio

from molt.egress.catalogue import FRESH_SECONDS, Catalogue
from molt.egress.mcp_client import NoTools, Tool


class Server:
    """Tells its tools when it is let."""

    def __init__(self) -> None:
        self.tools = {"a": Tool("a", None, None, True)}
        self.asked = 0
        self.now = 0.0
        self.go = asyncio.Event()
        self.go.set()
        self.away = False

    async def tell(self) -> dict[str, Tool]:
        self.asked += 1
        await self.go.wait()
        if self.away:
            raise NoTools("away")
        return dict(self.tools)

    def catalogue(self) -> Catalogue:
        return Catalogue("s", self.tell, lambda: self.now)


async def test_a_list_is_asked_for_once_by_many_calls_at_once():
    server = Server()
    catalogue = server.catalogue()
    found = await asyncio.gather(*(catalogue.find("a") for _ in range(20)))
    assert all(found)
    assert server.asked == 1


async def test_an_old_list_serves_while_a_new_one_is_asked_for():
    server = Server()
    catalogue = server.catalogue()
    await catalogue.find("a")
    server.now += FRESH_SECONDS
    server.go.clear()
    server.tools = {"a": Tool("a", None, None, False)}
    old = await asyncio.wait_for(catalogue.find("a"), 5)
    assert old is not None
    assert old.read_only
    server.go.set()
    for _ in range(5):
        await asyncio.sleep(0)
    new = await catalogue.find("a")
    assert new is not None
    assert not new.read_only


async def test_what_has_changed_is_not_believed_any_more():
    server = Server()
    catalogue = server.catalogue()
    await catalogue.find("a")
    server.tools = {}
    catalogue.changed()
    assert await catalogue.find("a") is None


async def test_an_unknown_tool_does_not_make_a_server_be_asked_at_every_call():
    server = Server()
    catalogue = server.catalogue()
    for _ in range(10):
        assert await catalogue.find("b") is None
    assert server.asked == 1
    server.now += 1
    await catalogue.find("b")
    assert server.asked == 2


async def test_a_server_that_is_away_leaves_what_was_known():
    server = Server()
    catalogue = server.catalogue()
    await catalogue.find("a")
    server.away = True
    server.now += FRESH_SECONDS
    await catalogue.find("b")
    assert await catalogue.find("a") is not None
    assert catalogue.known
