"""Rules on arguments in models' answers, whole and streamed, with the official clients."""

import json

import httpx
import pytest
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from molt.core.policy import ToolPolicy

from .clients import BROKEN, FORBIDDEN_ENDS, REFUSED, ask
from .conftest import World
from .provider import PATHS

POLICY = ToolPolicy(allow=("*",), arguments={"add_*": ("quantity <= 20",)})
MANY = '{"quantity": 21, "password": "hunter2"}'

every_api = pytest.mark.parametrize("api", list(PATHS))
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def letters(text: str) -> list[str]:
    """As small pieces as can be."""
    return list(text)


@pytest.fixture
async def ruled(world: World) -> World:
    await world.say(tools={"guest": POLICY})
    world.provider.cut = letters
    return world


@every_api
@both_ways
async def test_a_call_that_keeps_the_rules_comes_as_it_is(ruled: World, api: str, stream: bool):
    ruled.provider.tools = [("menu_search", "{}"), ("add_to_cart", '{"quantity": 20}')]
    said = await ask(api, ruled.url, ruled.token(), stream=stream)
    assert (said.text, said.refusal) == ("Hello there", None)
    assert said.tools == ("menu_search", "add_to_cart")
    assert not ruled.control.reported


@every_api
@both_ways
async def test_a_call_that_breaks_a_rule_is_stopped_and_the_rollback_written_first(
    ruled: World, api: str, stream: bool
):
    ruled.provider.tools = [("menu_search", "{}"), ("add_to_cart", MANY)]
    token = ruled.token()

    said = await ask(api, ruled.url, token, stream=stream)

    assert said.tools == (("menu_search",) if stream else ())
    assert "add_to_cart: arguments break `quantity <= 20`" in (said.refusal or "")
    assert said.reason == FORBIDDEN_ENDS[api]
    (violation,) = ruled.control.reported.values()  # there before the answer was
    assert (violation.tool, violation.source) == ("add_to_cart", "enforced")
    assert violation.arguments == '{"quantity":21,"password":"[secret]"}'
    with pytest.raises(REFUSED, match="ended by a violation"):
        await ask(api, ruled.url, token, stream=stream)
    tool, model, _ = await ruled.calls(3)
    assert (tool.disposition, tool.arguments) == ("denied", violation.arguments)
    assert (model.disposition, model.reason) == ("executed", "forbidden_tool")


@every_api
@both_ways
async def test_a_rule_broken_in_shadow_counts_too(ruled: World, api: str, stream: bool):
    ruled.provider.tools = [("add_to_cart", MANY)]
    said = await ask(api, ruled.url, ruled.token("shadow"), stream=stream)
    assert said.tools == ()
    (violation,) = ruled.control.reported.values()
    assert violation.mode == "shadow"


@every_api
@both_ways
async def test_arguments_that_nobody_can_judge_go_no_further_and_are_no_violation(
    ruled: World, api: str, stream: bool
):
    if api == "messages" and not stream:
        pytest.skip("arguments are an object of the answer there, not a text of their own")
    ruled.provider.tools = [("add_to_cart", '{"quantity": 21, "quantity": 1}')]
    with pytest.raises(BROKEN, match="cannot be judged"):
        await ask(api, ruled.url, ruled.token(), stream=stream)
    assert not ruled.control.reported
    (call,) = await ruled.calls()
    assert call.reason == "unreadable"


@every_api
async def test_an_escaped_letter_hides_no_call(ruled: World, api: str):
    ruled.provider.tools = [("add_to_cart", MANY)]
    ruled.provider.escaped = True
    said = await ask(api, ruled.url, ruled.token(), stream=False)
    assert said.tools == ()
    assert len(ruled.control.reported) == 1


@every_api
async def test_not_a_letter_of_a_forbidden_call_reaches_the_agent(ruled: World, api: str):
    ruled.provider.tools = [("add_to_cart", MANY)]
    body = {"model": "m", "max_tokens": 50, "messages": [], "input": "hi", "stream": True}
    headers = {"x-molt-run": ruled.token()}
    async with httpx.AsyncClient(trust_env=False, headers=headers) as client:
        answer = await client.post(ruled.url + PATHS[api], json=body)
    assert b"Hello" in answer.content
    for mark in (b'"tool_use"', b'"function_call', b"hunter", b"_0"):
        assert mark not in answer.content


@every_api
async def test_a_stream_with_calls_that_keep_the_rules_has_the_providers_bytes(
    ruled: World, api: str
):
    ruled.provider.tools = [("add_to_cart", '{"quantity": 20}'), ("menu_search", "{}")]
    body = {"model": "m", "max_tokens": 50, "messages": [], "input": "hi", "stream": True}
    body["stream_options"] = {"include_usage": True}
    async with httpx.AsyncClient(trust_env=False) as client:
        headers = {"x-molt-run": ruled.token()}
        through = await client.post(ruled.url + PATHS[api], json=body, headers=headers)
        direct = await client.post(ruled.provider.url + PATHS[api], json=body)
    assert through.content == direct.content


@both_ways
async def test_pydantic_ai_never_runs_a_tool_against_a_rule(ruled: World, stream: bool):
    provider = OpenAIProvider(base_url=f"{ruled.url}/v1", api_key="none")
    agent, did = Agent(OpenAIChatModel("gpt-4o-mini", provider=provider)), []

    @agent.tool_plain
    def add_to_cart(quantity: int) -> str:
        did.append(quantity)
        ruled.provider.tools = []
        return "added"

    async def ran(quantity: int) -> str:
        ruled.provider.tools = [("add_to_cart", json.dumps({"quantity": quantity}))]
        settings = {"extra_headers": {"x-molt-run": ruled.token()}}
        try:
            if not stream:
                return (await agent.run("tea", model_settings=settings)).output  # pyright: ignore
            async with agent.run_stream("tea", model_settings=settings) as result:  # pyright: ignore
                return await result.get_output()
        except Exception as error:
            return str(error)

    # A stream of pydantic-ai's ends with its first text; without one it runs the tools.
    ruled.provider.words = []
    await ran(20)
    assert did == [20]
    await ran(21)
    assert did == [20]
    assert len(ruled.control.reported) == 1
    await provider.client.close()
