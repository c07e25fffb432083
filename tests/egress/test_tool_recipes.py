"""Every recipe for tools on the page that tells how to connect an agent is run as it stands there."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastmcp import FastMCP
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from typing_extensions import TypedDict

from molt.core.policy import ToolPolicy
from molt.egress.settings import Route, ToolService

from .tools_world import House, serving

pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")

PAGE = Path(__file__).parents[2] / "docs" / "connect-an-agent.md"
ADDRESS = "http://127.0.0.1:8082"
RECIPES = re.findall(
    r"^### (.+?)\n.*?```python\n(.*?)```",
    PAGE.read_text().partition("## 3. Tools")[2],
    re.DOTALL | re.MULTILINE,
)


class Line(TypedDict):
    """What the tool answers."""

    item: str
    quantity: int


def bar(done: list[str]) -> Any:
    server: FastMCP[Any] = FastMCP("bar")

    @server.tool
    async def add_to_cart(item: str, quantity: int = 1) -> Line:
        done.append(item)
        return Line(item=item, quantity=quantity)

    return server.http_app(path="/mcp")


@pytest.fixture
async def house() -> AsyncIterator[House]:
    made = House()
    made.say(ToolPolicy(allow=("add_to_cart",)))
    made.shop.calls.clear()
    async with serving(bar(made.done), "on") as mcp, serving(made.shop.http()) as http:
        schema = {"type": "object", "properties": {"item": {"type": "string"}}}
        routes = (Route("POST", "/cart/add", "add_to_cart", output_schema=schema),)
        shop = ToolService("shop", http, "http", routes=routes)
        async with made.open(ToolService("bar", f"{mcp}/mcp"), shop):
            yield made


def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    if len(messages) == 1:
        call = ToolCallPart("add_to_cart", {"item": "latte", "quantity": 2})
        return ModelResponse(parts=[call])
    return ModelResponse(parts=[TextPart("two lattes")])


@pytest.mark.parametrize("mode", ["live", "shadow"])
@pytest.mark.parametrize(("title", "recipe"), RECIPES, ids=[title for title, _ in RECIPES])
async def test_a_recipe_calls_its_tool_as_its_run(house: House, mode: str, title: str, recipe: str):
    assert ADDRESS in recipe
    names: dict[str, Any] = {"__name__": "recipe"}
    exec(compile(recipe.replace(ADDRESS, house.url), title, "exec"), names)
    more = {"model": FunctionModel(model)} if "agent" in names else {}

    answer = await names["order"]({"x-molt-run": house.token(mode)}, **more)

    (call,) = house.notes.calls
    assert call.name == "add_to_cart"
    assert call.disposition == ("executed" if mode == "live" else "would_execute")
    if "mcp" in title or "MCP" in title:
        assert house.done == (["latte"] if mode == "live" else [])
    if "agent" in names:
        assert answer == "two lattes"
    elif "process" in title:
        assert (answer.item, answer.quantity) == ("latte", 2)
    elif "HTTP" not in title:
        assert answer == {"item": "latte", "quantity": 2}
    else:
        assert house.shop.writes == (mode == "live")


def test_each_way_that_the_page_promises_has_its_recipe():
    assert len(RECIPES) == 5
