"""Models through the egress, asked by the official clients, in every mode."""

import asyncio

import httpx
import pytest

from molt.core.evidence import Mode

from .clients import BROKEN, FORBIDDEN_ENDS, LIMIT_ENDS, REFUSED, ask
from .conftest import World, until

pytestmark = [
    pytest.mark.parametrize("api", ["chat", "responses", "messages"]),
    pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"]),
]
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("mode", ["live", "shadow"])
async def test_an_allowed_answer_comes_as_it_is(world: World, api: str, stream: bool, mode):
    world.provider.tools = [("menu_search", '{"q": "tea"}')]
    token = world.token(mode)

    said = await ask(api, world.url, token, stream=stream)

    assert (said.text, said.refusal, said.tools) == ("Hello there", None, ("menu_search",))
    (call,) = await world.calls()
    assert (call.kind, call.disposition, call.status) == ("model", "executed", 200)
    assert (call.run, call.agent, call.mode) == (token.split(".")[1], "guest", mode)
    assert (call.subject, call.via) == ("5ub7ec7", "fake")
    assert (call.tokens_in, call.tokens_out) == (5, 2)
    assert call.cost == pytest.approx(5 * 1 + 2 * 2)
    assert world.left(token) == 4000 - 7


async def test_the_key_is_molts_and_the_agents_own_never_leaves(
    world: World, api: str, stream: bool
):
    await ask(api, world.url, world.token(), stream=stream, extra_headers={"traceparent": PARENT})
    (headers,) = world.provider.headers
    sent = {headers.get("authorization"), headers.get("x-api-key")}
    assert sent == ({None, "sk-of-molt"} if api == "messages" else {"Bearer sk-of-molt", None})
    assert headers["traceparent"] == PARENT
    assert not [name for name in headers if name.startswith("x-molt-")]
    (call,) = await world.calls()
    assert call.trace == PARENT[3:35]


async def test_a_forbidden_call_is_stopped_and_the_rollback_written_first(
    world: World, api: str, stream: bool
):
    arguments = '{"table": "all", "password": "hunter2", "to": "ann@example.com"}'
    world.provider.tools = [("menu_drop", arguments)]
    token = world.token()

    said = await ask(api, world.url, token, stream=stream)

    assert said.tools == ()
    assert "forbids menu_drop" in (said.refusal or "")
    assert said.reason == FORBIDDEN_ENDS[api]
    (violation,) = world.control.reported.values()  # there before the answer was
    assert (violation.tool, violation.agent, violation.source) == ("menu_drop", "guest", "enforced")
    assert (violation.run, violation.subject) == (token.split(".")[1], "5ub7ec7")
    said_all = '{"table":"all","password":"[secret]","to":"[email]"}'
    assert violation.arguments == (None if stream else said_all)
    with pytest.raises(REFUSED, match="ended by a violation"):
        await ask(api, world.url, token, stream=stream)
    calls = await world.calls(3)
    assert [c.disposition for c in calls] == ["denied", "executed", "denied"]
    assert [c.kind for c in calls] == ["tool", "model", "model"]


async def test_a_forbidden_call_beside_an_allowed_one_is_stopped(
    world: World, api: str, stream: bool
):
    world.provider.tools = [("menu_search", '{"q": "tea"}'), ("menu_drop", "{}")]
    said = await ask(api, world.url, world.token(), stream=stream)
    assert "menu_drop" not in said.tools
    assert said.refusal
    assert len(world.control.reported) == 1


async def test_a_violation_in_shadow_counts_too(world: World, api: str, stream: bool):
    world.provider.tools = [("approval_resolve", "{}")]
    said = await ask(api, world.url, world.token("shadow"), stream=stream)
    assert said.tools == ()
    (violation,) = world.control.reported.values()
    assert violation.mode == "shadow"


async def test_when_control_is_away_the_call_is_stopped_and_the_violation_told_later(
    world: World, api: str, stream: bool
):
    world.provider.tools = [("menu_drop", "{}")]
    world.control.refuse = 503
    said = await ask(api, world.url, world.token(), stream=stream)
    assert said.refusal
    assert not world.control.reported
    world.control.refuse = 0
    await until(lambda: world.control.reported)
    assert len(world.control.reported) == 1


async def test_the_limit_is_clamped_to_what_the_run_has_left(world: World, api: str, stream: bool):
    await world.limit(200)
    token = world.token()
    await ask(api, world.url, token, stream=stream, most=150)
    assert world.left(token) == 200 - 7

    await ask(api, world.url, token, stream=stream, most=10_000)

    names = ("max_completion_tokens", "max_output_tokens", "max_tokens")
    first, second = (next(b[n] for n in names if n in b) for b in world.provider.asked)
    assert first == 150
    assert 100 < second < 193


async def test_a_provider_that_ignores_the_limit_is_cut_with_a_well_formed_end(
    world: World, api: str, stream: bool
):
    if not stream:
        pytest.skip("a whole answer has been made, and paid, when it comes")
    await world.limit(100)
    world.provider.words = [f"word{n} " for n in range(300)]
    world.provider.obeys = False
    token = world.token()

    said = await ask(api, world.url, token, stream=True)

    assert said.reason == LIMIT_ENDS[api]
    assert 40 < len(said.text.split()) <= 101
    assert world.left(token) == 0
    with pytest.raises(REFUSED, match="MOLTBOT_MAX_TOKENS_PER_REQUEST"):
        await ask(api, world.url, token, stream=True)
    assert [c.reason for c in await world.calls(2)] == ["token_limit", "token_limit"]


async def test_at_zero_left_the_error_is_the_apis_own(world: World, api: str, stream: bool):
    await world.limit(1)
    with pytest.raises(REFUSED) as refusal:
        await ask(api, world.url, world.token(), stream=stream)
    assert "1 of its 1 tokens left" in str(refusal.value)
    assert not world.provider.asked
    body = refusal.value.body
    error = body["error"] if api == "messages" else body
    assert error["type"] == "token_limit"


async def test_calls_of_one_run_share_its_tokens_and_wait_for_each_other(
    world: World, api: str, stream: bool
):
    await world.limit(120)
    token = world.token()
    asked = [ask(api, world.url, token, stream=stream, most=1000) for _ in range(4)]
    said = await asyncio.gather(*asked)
    assert [s.text for s in said] == ["Hello there"] * 4
    assert world.left(token) == 120 - 4 * 7


async def test_without_a_run_nothing_is_spent(world: World, api: str, stream: bool):
    for token in (None, "v1.made.up", world.token().replace("guest", "admin")):
        with pytest.raises(REFUSED, match="Models are for runs that Molt began"):
            await ask(api, world.url, token, stream=stream)
    assert not world.provider.asked
    assert {c.reason for c in await world.calls(3)} == {"no_run"}


async def test_a_withdrawn_run_gets_no_model(world: World, api: str, stream: bool):
    token = world.token()
    await world.say(enabled=False)
    with pytest.raises(REFUSED, match="switched off"):
        await ask(api, world.url, token, stream=stream)
    assert not world.provider.asked


async def test_a_rollback_ends_what_is_under_way(world: World, api: str, stream: bool):
    world.provider.pauses = True
    asking = asyncio.create_task(ask(api, world.url, world.token(), stream=stream))
    await until(lambda: world.provider.asked)
    await world.say(enabled=False)
    with pytest.raises(BROKEN, match="may not go on"):
        await asking
    (call,) = await world.calls()
    assert "withdrawn" in (call.reason or "")
    assert call.disposition == "executed"  # the provider was asked, and may bill it


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, br"])
async def test_an_answer_that_cannot_be_read_is_not_passed_on(
    world: World, api: str, stream: bool, coding: str
):
    world.provider.coding = coding
    with pytest.raises(BROKEN):
        await ask(api, world.url, world.token(), stream=stream)
    assert world.provider.headers[0]["accept-encoding"] == "identity"
    (call,) = await world.calls()
    assert call.reason in ("unreadable", "upstream_failed")


async def test_an_error_of_the_provider_comes_as_it_is_and_costs_nothing(
    world: World, api: str, stream: bool
):
    world.provider.status = 400
    token = world.token()
    with pytest.raises(BROKEN) as error:
        await ask(api, world.url, token, stream=stream)
    assert "as told" in str(error.value)
    assert error.value.response.headers["retry-after"] == "7"  # pyright: ignore[reportAttributeAccessIssue]
    assert world.left(token) == 4000


async def test_an_agent_without_tool_lists_is_not_policed(world: World, api: str, stream: bool):
    await world.say(tools={})
    world.provider.tools = [("menu_drop", "{}")]
    said = await ask(api, world.url, world.token(), stream=stream)
    assert said.tools == ("menu_drop",)


async def test_usage_counts_when_the_client_has_gone(world: World, api: str, stream: bool):
    world.provider.pauses = True
    token = world.token()
    paths = {"chat": "chat/completions", "responses": "responses", "messages": "messages"}
    body = {"model": "gpt-4o", "messages": [], "input": "hi", "max_tokens": 50, "stream": stream}
    async with httpx.AsyncClient(trust_env=False, headers={"x-molt-run": token}) as client:
        url = f"{world.url}/v1/{paths[api]}"
        asking = asyncio.create_task(client.post(url, json=body))
        await until(lambda: world.provider.asked)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await until(lambda: not world.connections())
    world.provider.go.set()
    (call,) = await world.calls()
    assert (call.tokens_in, call.tokens_out) == (5, 2)
    assert world.left(token) == 4000 - 7


@pytest.mark.parametrize("mode", ["live", "shadow"])
async def test_what_a_run_spent_is_told_to_control_whatever_its_agent_tells(
    world: World, api: str, stream: bool, mode: Mode
):
    token = world.token(mode)
    for _ in range(2):
        await ask(api, world.url, token, stream=stream)
    calls = await world.calls(2)

    slots = [slot for batch in world.control.batches for slot in batch.slots]
    spent = sum(slot.metered for slot in slots)
    assert spent == pytest.approx(sum(call.cost or 0.0 for call in calls))
    assert spent > 0
    (place,) = {(k.rollout, k.epoch, k.agent, k.arm, k.mode) for k in (s.key for s in slots)}
    assert place == ("r", 3, "guest", "candidate", mode)
    assert not any(slot.requests or slot.priced for slot in slots)


async def test_a_client_that_has_gone_is_not_waited_for_for_ever(
    world: World, api: str, stream: bool
):
    await world.stop_egress()
    await world.start(drain=0.05)
    world.provider.pauses = True
    token = world.token()
    asking = asyncio.create_task(ask(api, world.url, token, stream=stream))
    await until(lambda: world.provider.asked)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    (call,) = await world.calls()
    assert call.reason == "client_gone"
    assert world.left(token) < 4000


async def test_while_nothing_can_be_put_on_record_nothing_is_called(
    world: World, api: str, stream: bool
):
    world.audit.broken = True
    await until(lambda: world.egress.journal.failed)
    with pytest.raises(BROKEN, match="audit log"):
        await ask(api, world.url, world.token(), stream=stream)
    assert not world.provider.asked
