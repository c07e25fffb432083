"""Every recipe of the page that tells how to connect an agent is run as it stands there."""

import re
from pathlib import Path
from typing import Any

import pytest

from .conftest import World

PAGE = Path(__file__).parents[2] / "docs" / "connect-an-agent.md"
ADDRESS = "http://127.0.0.1:8082"
RECIPES = re.findall(
    r"^### (.+?)\n.*?```python\n(.*?)```",
    PAGE.read_text().partition("## 3. Tools")[0],
    re.DOTALL | re.MULTILINE,
)


def test_the_page_has_a_recipe_for_each_framework_it_promises():
    titles = [title for title, _ in RECIPES]
    assert titles[:5] == ["openai", "anthropic", "pydantic-ai", "LangChain", "Plain HTTP"]


@pytest.mark.parametrize(("title", "recipe"), RECIPES, ids=[title for title, _ in RECIPES])
async def test_a_recipe_reaches_the_model_as_its_run(world: World, title: str, recipe: str):
    names: dict[str, Any] = {}
    assert ADDRESS in recipe
    exec(compile(recipe.replace(ADDRESS, world.url), title, "exec"), names)
    token = world.token()

    said = await names["answer"]({"x-molt-run": token}, "Is there tea?")

    assert said == "Hello there"
    (call,) = await world.calls()
    assert (call.run, call.disposition) == (token.split(".")[1], "executed")
    assert token not in str(world.provider.headers)
    await close(names)


async def close(names: dict[str, Any]) -> None:
    """Close what a recipe keeps open as long as its process lives."""
    if "client" in names:
        await names["client"].close()
    if "provider" in names:
        await names["provider"].client.close()
    if "model" in names:
        await names["model"].root_async_client.close()
