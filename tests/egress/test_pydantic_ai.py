"""An agent of pydantic-ai whose MCP toolset is reached through Molt, in every mode."""

from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from .tools_world import House, mcp_house

pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")


async def work(house: House, mode: str, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """Let an agent make `calls`; what its tools answered."""
    token = house.token(mode)

    async def on(context: Any, call: Any, name: str, arguments: dict[str, Any]) -> Any:
        return await call(name, arguments, metadata={"x-molt-run": token})

    def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse(parts=[ToolCallPart(name, args) for name, args in calls])
        return ModelResponse(parts=[TextPart("done")])

    toolset = MCPToolset(
        f"{house.url}/mcp/shop", process_tool_call=on, tool_error_behavior="failed"
    )
    agent = Agent(FunctionModel(model), toolsets=[toolset])
    async with agent:
        result = await agent.run("go")
    parts = [part for message in result.all_messages() for part in message.parts]
    return [
        getattr(part, "content", None) for part in parts if part.part_kind.startswith("tool-ret")
    ]


async def test_an_allowed_call_is_executed():
    async with mcp_house() as house:
        answers = await work(house, "live", ("cart_add", {"item": "tea", "quantity": 2}))
    assert answers == [{"item": "tea", "quantity": 2, "total": 2.5}]
    assert house.shop.writes == 1


async def test_in_shadow_it_gets_an_answer_of_the_right_form():
    async with mcp_house() as house:
        answers = await work(house, "shadow", ("cart_add", {"item": "tea", "quantity": 2}))
    assert answers == [{"item": "tea", "quantity": 2, "total": 0.0}]
    assert house.shop.writes == 0


@pytest.mark.parametrize("mode", ["live", "shadow"])
async def test_a_forbidden_call_is_denied(mode: str):
    async with mcp_house() as house:
        await work(house, mode, ("approve_all", {}))
    assert house.shop.writes == 0
    assert [report["tool"] for report in house.reports.made] == ["approve_all"]


async def test_over_the_limit_nothing_more_is_done():
    async with mcp_house() as house:
        await work(house, "live", *[("cart_add", {"item": "tea"})] * 12)
    assert house.shop.writes == 10
    assert not house.reports.made
