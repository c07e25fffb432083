"""A forbidden tool call through a whole Molt: the rollback stands when the agent hears the denial."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from molt.adapters.playbooks import load_playbook
from molt.core.playbook import Playbook

from ..egress.tools_world import Shop, serving, with_sessions
from ..gateway.servers import Served
from .conftest import Molt, until

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("default::DeprecationWarning")]

POLICY = {
    "allow": ["menu_search", "cart_add"],
    "arguments": {"cart_add": ["quantity <= 20"]},
}


class Agent(Served):
    """Calls the tool that the guest names, whatever Molt's headers say about shadow."""

    def __init__(self) -> None:
        super().__init__([Route("/{path:path}", self._answer, methods=["POST", "GET"])])
        self.tools = ""
        self.took: list[float] = []
        self.said: list[Any] = []

    async def _answer(self, request: Request) -> Response:
        message = (await request.json())["message"]
        arguments = {"item": "tea", "quantity": 2} if message == "cart_add" else {}
        run = {"x-molt-run": request.headers["x-molt-run"]}
        async with Client(self.tools, mode="legacy") as client:
            began = time.perf_counter()
            result = await client.call_tool(message, arguments, meta=run)
            self.took.append(time.perf_counter() - began)
        self.said.append(result)
        return JSONResponse({"message": result.content[0].text})


class Existing(Served):
    """The control arm."""

    def __init__(self) -> None:
        super().__init__([Route("/{path:path}", self._answer, methods=["POST", "GET"])])

    async def _answer(self, request: Request) -> Response:
        return JSONResponse({"message": "the usual"})


class World:
    """All of it."""

    def __init__(self, molt: Molt, shop: Shop, agent: Agent) -> None:
        self.molt, self.shop, self.agent = molt, shop, agent

    async def begin(self, share: int) -> None:
        await asyncio.to_thread(self.molt.begin, plan(share))
        flags = self.molt.client.get
        await asyncio.to_thread(until, lambda: "egress" in flags("/flags").json()["gateways"])

    async def ask(self, tool: str, user: str) -> str:
        return (await asyncio.to_thread(self.molt.ask, tool, user)).json()["message"]


def plan(share: int) -> Playbook:
    """WF-11 with a policy for the shop, beginning at `share`."""
    data = load_playbook("wf-11").as_data()
    data["agents"] = {"guest": {"tools": POLICY}}
    name, hold = ("shadow", "48h") if share == 0 else ("canary", "24h")
    data["phases"] = [{"name": name, "steps": [{"share": share, "hold": hold, "gates": []}]}]
    return Playbook.model_validate(data)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    shop, agent, existing = Shop(), Agent(), Existing()
    await agent.start()
    await existing.start()
    async with serving(with_sessions(shop), "on") as url:
        tools = {"shop": {"url": f"{url}/mcp"}}
        egress = {"listen": "127.0.0.1:0", "tools": tools}
        molt = await asyncio.to_thread(Molt, tmp_path, existing.url, agent.url, egress=egress)
        agent.tools = f"{molt.serve.ready['egress']}/mcp/shop"
        yield World(molt, shop, agent)
        await asyncio.to_thread(molt.stop)
    await agent.stop()
    await existing.stop()


async def test_a_violation_is_rolled_back_before_its_denial_is_answered(world: World):
    await world.begin(100)
    assert "tea" in await world.ask("cart_add", "u1")
    assert world.shop.calls == {"cart_add": 1}

    assert "the policy forbids approve_all" in await world.ask("approve_all", "u2")
    state = await asyncio.to_thread(world.molt.state)
    assert state["phase"] == "rolled_back"
    assert world.shop.calls == {"cart_add": 1}
    (opened,) = await asyncio.to_thread(world.molt.events, "IncidentOpened")
    assert (opened["detail"]["tool"], opened["detail"]["source"]) == ("approve_all", "enforced")
    assert opened["detail"]["subject"]
    print(f"denied after {1000 * world.agent.took[-1]:.1f} ms, rollback included")
    assert await world.ask("cart_add", "u3") == "the usual"


async def test_an_agent_that_ignores_shadow_changes_nothing(world: World):
    await world.begin(0)
    assert await world.ask("cart_add", "u1") == "the usual"
    (dry,) = await asyncio.to_thread(until, lambda: world.agent.said)
    assert dry.meta == {"molt/dry-run": True}
    assert dry.structured_content == {"item": "tea", "quantity": 2, "total": 0.0}
    assert world.shop.writes == 0
