"""From the user through gateway, agent, egress and provider, with everything real but the model."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..egress.provider import Provider
from ..gateway.servers import Served
from .conftest import Molt, quick, until

pytestmark = pytest.mark.e2e


class Agent(Served):
    """Answers guests with what its model says, which it reaches through the egress."""

    def __init__(self) -> None:
        super().__init__([Route("/{path:path}", self._answer, methods=["POST", "GET"])])
        self.egress = ""
        self.retries = 2
        self.modes: list[str] = []
        self.runs: list[str] = []
        self.tokens: list[str] = []
        self.errors: list[str] = []

    async def _answer(self, request: Request) -> Response:
        token = request.headers["x-molt-run"]
        self.tokens.append(token)
        self.modes.append(request.headers["x-molt-mode"])
        self.runs.append(token.split(".")[1])
        try:
            return JSONResponse({"message": await self.think(token)})
        except openai.APIError as error:
            self.errors.append(str(error))
            return JSONResponse({"message": ""}, 502, {"x-agent-actions": "none"})

    async def think(self, token: str, **more: Any) -> str | None:
        """What the model says, for the run of `token`."""
        async with openai.AsyncOpenAI(
            base_url=f"{self.egress}/v1", api_key="none", max_retries=self.retries
        ) as client:
            said = await client.chat.completions.create(
                model="gpt-4o-mini",
                messages=[{"role": "user", "content": "hi"}],
                extra_headers={"x-molt-run": token},
                **more,
            )
        message = said.choices[0].message
        return message.content or message.refusal


class Existing(Served):
    """The control arm."""

    def __init__(self) -> None:
        super().__init__([Route("/{path:path}", self._answer, methods=["POST", "GET"])])

    async def _answer(self, request: Request) -> Response:
        return JSONResponse({"message": "the usual"})


class World:
    """All of it."""

    def __init__(self) -> None:
        self.provider, self.agent, self.existing = Provider(), Agent(), Existing()
        self.molt: Molt

    async def start(self, folder: Path) -> None:
        for service in (self.provider, self.agent, self.existing):
            await service.start()
        models = {"fake": {"url": f"{self.provider.url}/v1", "key": "sk-molt"}}
        self.molt = await asyncio.to_thread(
            Molt,
            folder,
            self.existing.url,
            self.agent.url,
            egress={"listen": "127.0.0.1:0", "models": models},
        )
        self.agent.egress = self.molt.serve.ready["egress"]

    async def stop(self) -> None:
        await asyncio.to_thread(self.molt.stop)
        for service in (self.provider, self.agent, self.existing):
            await service.stop()

    async def begin(self) -> None:
        """A rollout in which the agent answers everybody, once the egress knows of it."""
        await asyncio.to_thread(self.molt.begin, quick(share=100))

        def follows() -> bool:
            return "egress" in self.molt.client.get("/flags").json()["gateways"]

        await asyncio.to_thread(until, follows)

    async def ask(self, user: str = "u1") -> dict[str, Any]:
        return (await asyncio.to_thread(self.molt.ask, "tea?", user)).json()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World()
    await made.start(tmp_path)
    yield made
    await made.stop()


async def test_a_run_is_seen_whole_and_a_forbidden_call_rolls_back_before_it_is_answered(
    world: World,
):
    await world.begin()
    assert (await world.ask())["message"] == "Hello there"
    run = world.agent.runs[-1]

    def told() -> list[dict[str, Any]]:
        return world.molt.client.get(f"/runs/{run}/calls").json()

    (call,) = await asyncio.to_thread(until, told)
    assert (call["kind"], call["disposition"], call["mode"]) == ("model", "executed", "live")
    assert (call["tokens_in"], call["tokens_out"]) == (5, 2)

    world.provider.tools = [("approval_resolve", '{"id": 7}')]
    said = await world.ask("u2")
    assert "forbids approval_resolve" in said["message"]
    state = await asyncio.to_thread(world.molt.state)
    assert state["phase"] == "rolled_back"
    (opened,) = await asyncio.to_thread(world.molt.events, "IncidentOpened")
    detail = opened["detail"]
    assert (detail["tool"], detail["agent"], detail["source"]) == (
        "approval_resolve", "guest", "enforced",
    )  # fmt: skip
    assert detail["run"] == world.agent.runs[-1]
    assert detail["subject"]
    assert "7" in detail["arguments"]

    world.provider.tools = []
    assert (await world.ask("u3"))["message"] == "the usual"


async def test_a_killed_egress_is_started_again_and_runs_of_before_get_nothing_more(world: World):
    await world.begin()
    world.agent.retries = 0
    world.provider.pauses = True
    asking = asyncio.create_task(world.ask("u1"))
    await asyncio.to_thread(until, lambda: world.provider.asked)
    first = world.molt.child_pid("egress_process")
    os.kill(first, signal.SIGKILL)

    assert (await asking)["message"] == "the usual", "the agent had done nothing: control answers"
    (broken,) = world.agent.errors
    assert "onnection" in broken
    world.provider.pauses = False
    world.provider.go.set()

    def again() -> bool:
        return world.molt.child_pid("egress_process") not in (0, first)

    await asyncio.to_thread(until, again)
    world.agent.retries = 5
    with pytest.raises(openai.PermissionDeniedError, match="egress was started anew"):
        await world.agent.think(world.agent.tokens[0])
    asked = len(world.provider.asked)

    def served() -> bool:
        return world.molt.ask("tea?", "u2").json()["message"] == "Hello there"

    await asyncio.to_thread(until, served)
    assert len(world.provider.asked) > asked, "a new run has its own account"
