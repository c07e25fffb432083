"""What else can happen at the door to models."""

import asyncio
import json

import httpx
import openai
import pytest
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from molt.egress.settings import ModelService

from .clients import REFUSED, ask
from .conftest import World, until

HOSTED = {
    "chat": {"web_search_options": {}},
    "responses": {"tools": [{"type": "web_search"}]},
    "messages": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
}


@pytest.mark.parametrize("api", list(HOSTED))
async def test_a_forbidden_tool_that_the_provider_would_run_is_refused_when_it_is_offered(
    world: World, api: str
):
    with pytest.raises(REFUSED, match="forbids web_search"):
        await ask(api, world.url, world.token(), stream=False, **HOSTED[api])
    assert not world.provider.asked
    (violation,) = world.control.reported.values()
    assert violation.tool == "web_search"


async def test_a_name_in_pieces_is_stopped_too(world: World):
    world.provider.cut_name = lambda name: [name[:4], name[4:]]
    world.provider.tools = [("menu_search", "{}"), ("menu_drop", "{}")]
    said = await ask("chat", world.url, world.token(), stream=True)
    assert "menu_drop" not in said.tools
    assert "forbids menu_drop" in (said.refusal or "")


async def test_usage_of_a_stream_is_counted_and_hidden_from_who_did_not_ask(world: World):
    said = await ask("chat", world.url, world.token(), stream=True)
    assert said.output_tokens is None
    wanted = {"stream_options": {"include_usage": True}}
    said = await ask("chat", world.url, world.token(), stream=True, **wanted)
    assert said.output_tokens == 2
    assert [c.tokens_out for c in await world.calls(2)] == [2, 2]


async def test_the_bytes_of_a_stream_come_as_the_provider_sent_them(world: World):
    body = {"model": "m", "stream": True, "stream_options": {"include_usage": True}}
    async with httpx.AsyncClient(trust_env=False) as client:
        path = "/v1/chat/completions"
        token = {"x-molt-run": world.token()}
        through = await client.post(world.url + path, json=body, headers=token)
        direct = await client.post(world.provider.url + path, json=body)
    assert through.content == direct.content
    assert through.headers["content-type"] == direct.headers["content-type"]


async def test_without_a_run_a_model_may_be_used_where_the_operator_says_so(world: World):
    await world.stop_egress()
    await world.start(models_without_run=True)
    world.provider.tools = [("menu_drop", "{}")]
    said = await ask("chat", world.url, None, stream=False, most=9000)
    assert said.tools == ("menu_drop",)  # nobody knows whose call it is
    assert world.provider.asked[0]["max_tokens"] < 4000
    (call,) = await world.calls()
    assert (call.run, call.agent, call.disposition) == (None, None, "executed")


async def test_the_provider_is_chosen_by_api_and_model(world: World):
    await world.stop_egress()
    url = world.provider.url
    await world.start(
        models=(
            ModelService("claude", url, apis=("messages",), key="for-claude"),
            ModelService(
                "gpt", f"{url}/v1", models=("gpt-*",), key="for-gpt", headers={"x-a": "b"}
            ),
        )
    )
    await ask("messages", world.url, world.token(), stream=False)
    await ask("chat", world.url, world.token(), stream=False)
    one, other = world.provider.headers
    assert one["x-api-key"] == "for-claude"
    assert (other["authorization"], other["x-a"]) == ("Bearer for-gpt", "b")
    with pytest.raises(openai.NotFoundError, match=r"egress\.models.*'o9'"):
        await ask("chat", world.url, world.token(), stream=False, model="o9")


async def test_a_provider_that_is_down_is_said_so_and_costs_nothing(world: World):
    await world.provider.stop()
    token = world.token()
    async with openai.AsyncOpenAI(
        base_url=f"{world.url}/v1", api_key=token, max_retries=0
    ) as client:
        with pytest.raises(openai.InternalServerError, match="provider fake could not be reached"):
            await client.chat.completions.create(model="m", messages=[])
    assert world.left(token) == 4000
    (call,) = await world.calls()
    assert (call.reason, call.status) == ("upstream_failed", 0)


async def test_a_provider_that_is_silent_is_not_waited_for_for_ever(world: World):
    await world.stop_egress()
    service = ModelService("slow", world.provider.url, answer_timeout=0.05)
    await world.start(models=(service,))
    world.provider.pauses = True
    answer = await post(world, {"model": "m"})
    assert answer.status_code == 504
    assert answer.json()["error"]["type"] == "upstream_error"


async def post(world: World, body: object, **more) -> httpx.Response:
    """One chat request as it is."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(
            f"{world.url}/v1/chat/completions",
            content=content,
            headers={"x-molt-run": world.token(), **more},
        )


async def test_what_is_no_request_is_refused_in_the_apis_form(world: World):
    answer = await post(world, b"{not json")
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert not world.provider.asked


async def test_a_request_that_is_too_large_is_refused(world: World):
    await world.stop_egress()
    await world.start(max_body=1000)
    assert (await post(world, b"x" * 1001)).status_code == 413


async def test_output_alone_is_limited_where_the_operator_counts_so(world: World):
    await world.stop_egress()
    await world.start(tokens_counted="output")
    await world.limit(50)
    world.provider.input_tokens = 10_000
    token = world.token()
    said = await ask("chat", world.url, token, stream=False)
    assert said.text == "Hello there"
    assert world.provider.asked[0]["max_completion_tokens"] == 50
    assert world.left(token) == 48


async def test_several_choices_share_what_is_left(world: World):
    await world.limit(120)
    await ask("chat", world.url, world.token(), stream=True, n=3)
    assert world.provider.asked[0]["max_completion_tokens"] * 3 <= 120


async def test_a_client_that_gives_up_while_it_waits_for_tokens_holds_nothing(world: World):
    await world.limit(100)
    token = world.token()
    world.provider.pauses = True
    first = asyncio.create_task(ask("chat", world.url, token, stream=False))
    await until(lambda: world.provider.asked)
    second = asyncio.create_task(ask("chat", world.url, token, stream=False))
    await until(lambda: world.connections() == 2)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    world.provider.go.set()
    assert (await first).text == "Hello there"
    assert world.left(token) == 93
    assert len(world.provider.asked) == 1


# --- pydantic-ai, a framework that loops over model and tools


def guest_agent(world: World) -> tuple[Agent, OpenAIProvider, list[str]]:
    """An agent with the tools `menu_search` and `menu_drop` of its own."""
    provider = OpenAIProvider(base_url=f"{world.url}/v1", api_key="none")
    agent, did = Agent(OpenAIChatModel("gpt-4o-mini", provider=provider)), []

    @agent.tool_plain
    def menu_search(q: str) -> str:
        did.append(f"menu_search {q}")
        world.provider.tools = []
        return "tea"

    @agent.tool_plain
    def menu_drop() -> str:
        did.append("menu_drop")
        return "gone"

    return agent, provider, did


@pytest.mark.parametrize("mode", ["live", "shadow"])
async def test_pydantic_ai_works_through_the_egress(world: World, mode):
    agent, provider, did = guest_agent(world)
    world.provider.tools = [("menu_search", '{"q": "tea"}')]
    run = {"x-molt-run": world.token(mode)}
    result = await agent.run("tea?", model_settings={"extra_headers": run})
    assert (result.output, did) == ("Hello there", ["menu_search tea"])
    assert len(await world.calls(2)) == 2
    await provider.client.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_pydantic_ai_never_runs_a_tool_that_is_forbidden(world: World, stream: bool):
    agent, provider, did = guest_agent(world)
    world.provider.tools = [("menu_drop", "{}")]
    settings = {"extra_headers": {"x-molt-run": world.token()}}
    outcome = None
    try:
        if stream:
            async with agent.run_stream("drop it", model_settings=settings) as result:  # pyright: ignore
                outcome = await result.get_output()
        else:
            outcome = (await agent.run("drop it", model_settings=settings)).output  # pyright: ignore
    except Exception as error:
        outcome = str(error)
    assert did == []
    assert len(world.control.reported) == 1
    assert outcome
    await provider.client.close()


async def test_pydantic_ai_is_told_when_the_run_has_no_tokens_left(world: World):
    agent, provider, _ = guest_agent(world)
    await world.limit(1)
    settings = {"extra_headers": {"x-molt-run": world.token()}}
    with pytest.raises(ModelHTTPError, match="MOLTBOT_MAX_TOKENS_PER_REQUEST"):
        await agent.run("tea?", model_settings=settings)  # pyright: ignore
    await provider.client.close()
