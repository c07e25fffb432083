"""The guests, against real services and a real outcomes API."""

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from molt.apps.demo.bar.voice import RUDE
from molt.apps.demo.guests import Guests
from molt.apps.demo.guests.people import Mood, Population
from molt.apps.demo.guests.scripts import Script, load
from molt.apps.demo.guests.visit import Seen, outcomes

CALM = Mood(
    leaves=False, calls_staff=False, tells=0.9, pleased=0.5, complains=0.9, writes_ticket=0.9
)

Serve = Callable[[web.Application], "asyncio.Future[str]"]


@pytest.fixture
async def serve() -> AsyncIterator[Callable]:
    """Serves aiohttp applications on free ports."""
    runners: list[web.AppRunner] = []

    async def start(app: web.Application) -> str:
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


def answering(status: int, body: dict | str) -> web.Application:
    """A service that answers every conversation alike."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    return app


class Api:
    """The outcomes endpoint of a control API; `refuse` answers with that status first."""

    def __init__(self, refuse: int = 0) -> None:
        self.batches: list[list[dict]] = []
        self.tokens: set[str] = set()
        self.refuse = refuse

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/api/v1/outcomes", self.take)
        return app

    async def take(self, request: web.Request) -> web.Response:
        if self.refuse:
            status, self.refuse = self.refuse, 0
            return web.Response(status=status)
        self.tokens.add(request.headers["authorization"])
        self.batches.append(await request.json())
        return web.json_response({}, status=202)

    @property
    def outcomes(self) -> list[dict]:
        return [one for batch in self.batches for one in batch]


async def test_guests_order_and_every_outcome_reaches_the_api_once(existing, serve):
    api = Api()
    before = existing.stats()["orders"]
    guests = Guests(
        url=existing.url, api=await serve(api.app()), token="t", rate=200.0, pace=0.01, seed=3
    )
    await guests.run(conversations=300)
    kinds = Counter(one["kind"] for one in api.outcomes)
    assert guests.failed_for_users == 0, list(guests.recent_failures)
    assert guests.conversations == 300
    assert guests.requests > 450
    assert existing.stats()["orders"] - before >= guests.orders > 80
    assert kinds == guests.outcomes
    assert kinds["order_completed"] == guests.orders
    assert kinds["cart_started"] == kinds["order_completed"] + kinds["cart_abandoned"]
    assert kinds["order_completed"] / kinds["cart_started"] > 0.8
    assert len({one["id"] for one in api.outcomes}) == len(api.outcomes)
    assert api.tokens == {"Bearer t"}


async def test_an_outcome_has_the_form_that_the_api_reads(existing, serve):
    from molt.apps.api.models import OutcomeIn

    api = Api()
    guests = Guests(
        url=existing.url, api=await serve(api.app()), token="t", rate=200.0, pace=0.0, seed=4
    )
    await guests.run(conversations=80)
    read = [OutcomeIn.model_validate(one) for one in api.outcomes]
    assert all(one.at is not None and one.agent == "guest" for one in read)
    assert all(one.value is not None for one in read if one.kind == "staff_response")


async def test_an_api_that_is_away_for_a_moment_loses_nothing(existing, serve):
    api = Api(refuse=503)
    guests = Guests(
        url=existing.url, api=await serve(api.app()), token="t", rate=200.0, pace=0.0, seed=5
    )
    await guests.run(conversations=60)
    assert api.refuse == 0
    assert Counter(one["kind"] for one in api.outcomes) + Counter() == guests.outcomes
    assert guests.outcomes_lost == 0


async def test_an_api_that_refuses_is_not_asked_for_ever(existing, serve):
    guests = Guests(
        url=existing.url, api=await serve(answering(401, "no")), rate=200.0, pace=0.0, seed=5
    )
    await guests.run(conversations=40)
    assert guests.outcomes_lost == guests.outcomes.total()


@pytest.mark.parametrize(
    ("status", "body", "failed"),
    [
        (500, {"error": "x"}, True),
        (200, "<html>", True),
        (200, {"content": "", "session_id": "s"}, True),
        (200, {"choices": [], "content": 3}, True),
        (429, {"error": "slow down"}, False),
    ],
)
async def test_errors_and_nonsense_count_as_failed_for_users_and_rate_limits_do_not(
    serve, status, body, failed
):
    guests = Guests(url=await serve(answering(status, body)), rate=500.0, pace=0.0, seed=6)
    await guests.run(conversations=40)
    assert guests.requests == 40, "nobody goes on after being failed"
    assert guests.failed_for_users == (40 if failed else 0)
    assert guests.limited == (0 if failed else 40)
    assert guests.orders == 0
    if failed:
        assert guests.outcomes["cart_abandoned"] > 0


async def test_a_service_that_is_not_there_fails_its_users():
    guests = Guests(url="http://127.0.0.1:9", rate=500.0, pace=0.0, seed=6)
    await guests.run(conversations=20)
    assert guests.failed_for_users == 20
    assert "ClientConnectorError" in guests.recent_failures[0]


async def test_guests_complain_about_rudeness(serve):
    rude = {"content": RUDE, "session_id": "s", "tool_calls": []}
    guests = Guests(
        url=await serve(answering(200, rude)), rate=500.0, pace=0.0, openai_share=0.0, seed=7
    )
    await guests.run(conversations=100)
    assert guests.outcomes["complaint"] > 25
    assert guests.outcomes["dissatisfied"] > guests.outcomes["satisfied"]
    assert guests.failed_for_users == 0, "an insult is an answer"


async def test_guests_stop_when_they_are_told_and_nobody_is_failed_by_it(existing):
    guests = Guests(url=existing.url, rate=300.0, pace=5.0, seed=8)
    running = asyncio.create_task(guests.run())
    deadline = asyncio.get_running_loop().time() + 10
    while guests.active < 50:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    await guests.stop()
    await asyncio.wait_for(running, 10)
    assert guests.active == 0
    assert guests.failed_for_users == 0


async def test_a_guest_whose_order_was_lost_starts_again(serve, existing):
    """As after a rollback: the first service heard the order, the second only the confirmation."""
    script = Script("guest", ("A latte please", "Yes, that's right"), True)
    lost = {"content": "So far you have 1 x Latte.", "session_id": "elsewhere", "tool_calls": []}
    first = True

    async def route(request: web.Request) -> web.Response:
        nonlocal first
        if first:
            first = False
            return web.json_response(lost)
        import aiohttp

        async with (
            aiohttp.ClientSession() as http,
            http.post(existing.url + request.path, data=await request.read()) as a,
        ):
            return web.json_response(await a.json())

    app = web.Application()
    app.router.add_post("/functions/v1/agent-chat", route)
    guests = Guests(
        url=await serve(app), rate=500.0, pace=0.0, openai_share=0.0, guest_share=1.0, seed=2
    )
    guests._scripts = (script,)
    await guests.run(conversations=1)
    assert guests.orders == 1
    assert guests.requests == 4


def test_outcomes_follow_from_what_the_guest_got():
    buyer, asker = (
        Script("guest", ("A latte", "Yes"), True),
        Script("guest", ("Do you have soup?",)),
    )
    assert outcomes(buyer, CALM, Seen(cart=True, ordered=True)) == [
        ("cart_started", None),
        ("order_completed", None),
    ]
    assert outcomes(buyer, CALM, Seen(failures=1)) == [
        ("cart_started", None),
        ("cart_abandoned", None),
    ]
    assert outcomes(asker, CALM, Seen()) == []
    assert outcomes(asker, CALM, Seen(waits=[60.0])) == [("staff_response", 60.0)]
    assert outcomes(Script("admin", ("List",)), CALM, Seen(failures=1)) == []


def test_a_few_users_talk_much_and_nobody_more_than_five_times_the_mean():
    import random

    people, draw = Population(500, seed=1), random.Random(2)
    visits = Counter(people.guest(draw) for _ in range(50_000))
    assert len(visits) > 450
    assert 2.5 < max(visits.values()) / 100 < 6.5


async def test_the_same_seed_brings_the_same_guests(serve):
    async def kinds(seed: int) -> Counter:
        service = answering(200, {"content": "fine", "session_id": "s", "tool_calls": []})
        guests = Guests(url=await serve(service), rate=500.0, pace=0.0, openai_share=0.0, seed=seed)
        await guests.run(conversations=80)
        return guests.outcomes

    assert await kinds(1) == await kinds(1)
    assert await kinds(1) != await kinds(2)


def test_scripts_are_read_from_a_file_as_it_is_and_its_faults_are_named(tmp_path: Path):
    turns = [{"speaker": "user", "text": " A latte "}, {"speaker": "assistant", "text": "Ok?"},
             {"speaker": "user", "text": "Yes", "calls": [{"api": "finish_order"}]}]  # fmt: skip
    path = tmp_path / "dialogs.jsonl.gz"
    path.write_bytes(gzip.compress((json.dumps({"id": "x", "turns": turns}) + "\n").encode()))
    assert load(path) == (Script("guest", ("A latte", "Yes"), True),)
    plain = tmp_path / "bad.jsonl"
    plain.write_text('{"turns": []}\n{"nothing": 1}\n')
    with pytest.raises(ValueError, match=r"bad\.jsonl:2: not a dialogue"):
        load(plain)
    assert all(script.lines for script in load(None))


def test_recorded_dialogues_are_read_as_they_are(recorded, dialogues_file):
    scripts = load(dialogues_file)
    assert len(scripts) == len(recorded)
    assert 0.6 < sum(script.buys for script in scripts) / len(scripts) < 0.9
