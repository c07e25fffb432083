"""A whole gateway between real services and a control process, over real sockets."""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from molt.core.assignment import bucket_of
from molt.core.errors import OperatorError
from molt.core.flags import Flags, Limits
from molt.gateway.settings import Candidate, GatewaySettings, Service
from molt.gateway.worker import Worker
from molt.link.tokens import verify

from .servers import KEY, Bar, FakeControl, until
from .world import FlatPrices, MemoryAudit, flags, hashed

RUN_KEY = bytes(32)
USERS = [f"u{n}" for n in range(200)]
INSIDE = next(u for u in USERS if bucket_of("salt", u) < 5_000)
OUTSIDE = next(u for u in USERS if bucket_of("salt", u) >= 5_000)
LATER = next(u for u in USERS if 5_000 <= bucket_of("salt", u) < 9_000)


class World:
    """A worker and all that is around it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.control = FakeControl(flags())
        self.existing, self.agent = Bar("existing"), Bar("agent")
        self.audit = MemoryAudit()
        self.settings: dict[str, Any] = {}
        self.reports_actions = True
        self.worker: Worker | None = None

    async def start(self) -> None:
        for server in (self.control, self.existing, self.agent):
            await server.start()
        await self.start_worker()

    async def start_worker(self) -> None:
        settings = GatewaySettings(
            id="gateway-1",
            molt_url=self.control.url,
            gateway_key=KEY,
            run_key=RUN_KEY.hex(),
            subject_key=RUN_KEY.hex(),
            state_dir=str(self.folder),
            audit_dir=str(self.folder),
            control=Service(self.existing.url),
            candidate=Service(self.agent.url, answer_timeout=1.0),
            port=0,
            agent=Candidate(reports_actions=self.reports_actions),
            report_url="http://molt/api/v1/runs/calls",
            batch_seconds=0.05,
        )
        settings = msgspec.structs.replace(settings, **self.settings)
        self.worker = Worker(settings, audit=self.audit, prices=FlatPrices(), hash_subject=hashed)
        await self.worker.start()
        self.client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.worker.port}", timeout=10, trust_env=False
        )

    async def stop_worker(self) -> None:
        await self.client.aclose()
        assert self.worker is not None
        await self.worker.stop()

    async def stop(self) -> None:
        for bar in (self.existing, self.agent):
            bar.release.set()
        await self.stop_worker()
        for server in (self.control, self.existing, self.agent):
            await server.stop()

    async def ask(
        self, user: str | None = INSIDE, session: str | None = None, **more: Any
    ) -> httpx.Response:
        """One turn; `agent` and `headers` may be given."""
        body: dict[str, Any] = {"message": "hello", "agent_type": more.pop("agent", "guest")}
        if user is not None:
            body["context"] = {"user_id": user}
        if session is not None:
            body["session_id"] = session
        return await self.client.post("/functions/v1/agent-chat", json=body, **more)

    async def apply(self, snapshot: Flags) -> None:
        """Publish flags and wait until the worker says that it acts on them."""
        self.control.publish(snapshot)
        await until(lambda: any(b.applied == snapshot.version for b in self.control.batches))

    async def counted(self, requests: int) -> None:
        """Wait until so many requests have arrived at control as evidence."""
        await until(lambda: self.control.total("requests") >= requests)

    @property
    def edge(self):
        assert self.worker is not None
        return self.worker.edge


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@pytest.fixture
async def unstarted(tmp_path: Path) -> AsyncIterator[World]:
    """For tests that change the settings first."""
    made = World(tmp_path)
    try:
        yield made
    finally:
        await made.stop()


def arm(answer: httpx.Response) -> str:
    """Which arm answered, by the body and by the header, which must agree."""
    said = {"existing": "control", "agent": "candidate"}[answer.json()["content"].split()[0]]
    assert answer.headers["x-molt-arm"] == said
    return said


# --- who goes where


async def test_each_subject_goes_to_the_arm_of_its_hash_and_stays_there(world: World):
    for _ in range(2):
        for user in USERS[:30]:
            expected = "candidate" if bucket_of("salt", user) < 5_000 else "control"
            assert arm(await world.ask(user)) == expected


async def test_the_candidate_gets_a_run_token_and_control_does_not(world: World):
    await world.ask(INSIDE)
    await world.ask(OUTSIDE)
    at_agent, at_existing = world.agent.asked[0]["headers"], world.existing.asked[0]["headers"]
    run = verify(at_agent["x-molt-run"], RUN_KEY, 0)
    assert (run.rollout, run.agent, run.arm, run.mode) == ("r", "guest", "candidate", "live")
    assert at_agent["x-molt-mode"] == "live"
    assert at_agent["x-molt-report"] == "http://molt/api/v1/runs/calls"
    assert "traceparent" in at_agent
    assert "traceparent" in at_existing
    assert not any(name.startswith("x-molt-") for name in at_existing)


async def test_what_clients_say_in_molts_own_headers_is_not_believed(world: World):
    await world.ask(INSIDE, headers={"x-molt-mode": "shadow", "x-molt-run": "forged"})
    headers = world.agent.asked[0]["headers"]
    assert headers["x-molt-mode"] == "live"
    assert headers["x-molt-run"].startswith("v1.")


async def test_an_inbound_trace_goes_on_and_is_not_doubled(world: World):
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for user in (INSIDE, OUTSIDE):
        await world.ask(user, headers={"traceparent": parent})
    for bar in (world.agent, world.existing):
        (trace,) = bar.asked[0]["traces"]
        assert trace[:36] == parent[:36]
        assert trace != parent


async def test_what_no_rollout_covers_is_forwarded_untouched(world: World):
    answers = [await world.ask(INSIDE, agent="unknown"), await world.client.get("/menu?x=1")]
    for answer in answers:
        assert answer.json()["content"].startswith("existing")
        assert "x-molt-arm" not in answer.headers
    assert all("traceparent" not in asked["headers"] for asked in world.existing.asked)
    await until(lambda: len(world.audit.records) == 2)
    assert [r["reason"] for r in world.audit.records] == ["no_rollout"] * 2


async def test_the_arm_is_not_shown_when_the_settings_say_so(unstarted: World):
    unstarted.settings["show_arm"] = False
    await unstarted.start()
    assert "x-molt-arm" not in (await unstarted.ask(INSIDE)).headers


# --- conversations and shares


async def test_a_conversation_keeps_its_arm_when_the_share_changes(world: World):
    assert arm(await world.ask(LATER, "s-old")) == "control"
    await world.apply(flags(2, share=9_000))
    assert arm(await world.ask(LATER, "s-old")) == "control"
    assert arm(await world.ask(LATER, "s-new")) == "candidate"
    await world.apply(flags(3, share=1_000))
    assert arm(await world.ask(LATER, "s-new")) == "candidate"
    assert arm(await world.ask(LATER, "s-newest")) == "control"


@pytest.mark.parametrize(
    "change", [{"enabled": False}, {"shadow": True}, {"share": 0}, {"disabled_agents": ("guest",)}]
)
async def test_a_rollback_moves_everybody_at_once(world: World, change: dict[str, Any]):
    assert arm(await world.ask(INSIDE, "s1")) == "candidate"
    await world.apply(flags(2, **change))
    assert arm(await world.ask(INSIDE, "s1")) == "control"


async def test_a_session_named_by_the_first_answer_is_pinned(world: World):
    world.existing.names_sessions = world.agent.names_sessions = True
    first = await world.ask(LATER)
    session = first.json()["session_id"]
    assert arm(first) == "control"
    await world.apply(flags(2, share=9_000))
    assert arm(await world.ask(LATER, session)) == "control"
    assert arm(await world.ask(LATER)) == "candidate"  # the next conversation
    await world.counted(3)
    counted = sum(world.control.summed("conversations", a) for a in ("control", "candidate"))
    assert counted == 2


async def test_a_session_of_nobody_stays_where_it_began(world: World):
    world.existing.names_sessions = True
    session = (await world.ask(None)).json()["session_id"]
    everybody = msgspec.structs.replace(flags(2), rollouts=(flags(2, share=9_999).rollouts[0],))
    await world.apply(everybody)
    assert arm(await world.ask(None, session)) == "control"


async def test_a_session_that_control_began_in_a_fall_back_stays_with_control(world: World):
    world.existing.names_sessions = True
    world.agent.status = 500
    session = (await world.ask(INSIDE)).json()["session_id"]
    world.agent.status = 200
    assert arm(await world.ask(INSIDE, session)) == "control"


# --- shadow


async def test_in_shadow_control_answers_and_the_candidate_gets_a_copy(world: World):
    await world.apply(flags(2, shadow=True, share=0, mirror=10_000))
    assert arm(await world.ask(INSIDE)) == "control"
    await until(lambda: world.agent.asked)
    copy = world.agent.asked[0]
    assert copy["body"] == world.existing.asked[0]["body"]
    assert copy["headers"]["x-molt-mode"] == "shadow"
    assert verify(copy["headers"]["x-molt-run"], RUN_KEY, 0).mode == "shadow"
    await world.counted(2)
    assert world.control.total("requests", arm="candidate", mode="shadow") == 1
    assert world.control.total("requests", arm="control", mode="live") == 1
    await until(lambda: len(world.audit.records) == 2)


async def test_a_slow_copy_never_delays_the_user(world: World):
    await world.apply(flags(2, shadow=True, mirror=10_000))
    world.agent.hangs = True
    answer = await asyncio.wait_for(world.ask(INSIDE), 0.9)  # the copy times out after 1 s
    assert arm(answer) == "control"
    await until(lambda: world.control.total("errors", arm="candidate", mode="shadow") == 1)


# --- limits


async def test_whoever_is_over_the_limit_gets_429_with_the_time_to_come_back(world: World):
    answers = [await world.ask(OUTSIDE) for _ in range(31)]
    assert [a.status_code for a in answers] == [200] * 30 + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    error = answers[-1].json()["error"]
    assert error["type"] == "rate_limited"
    assert "30 requests a minute" in error["message"]
    assert (await world.ask(INSIDE)).status_code == 200
    await until(lambda: world.control.total("limited") == 1)
    assert world.control.total("errors") == 0
    await world.apply(flags(2, limiter_epoch=1))
    assert (await world.ask(OUTSIDE)).status_code == 200


async def test_clients_without_a_subject_are_limited_by_address(world: World):
    near = {"x-forwarded-for": "198.51.100.1"}
    far = {"x-forwarded-for": "198.51.100.2"}
    answers = [await world.ask(None, headers=near) for _ in range(31)]
    assert answers[-1].status_code == 429
    assert (await world.ask(None, headers=far)).status_code == 200


async def test_a_rollout_that_is_off_limits_nobody(world: World):
    await world.apply(flags(2, enabled=False))
    answers = [await world.ask(INSIDE) for _ in range(35)]
    assert {a.status_code for a in answers} == {200}


# --- flags and control


async def test_without_flags_everything_goes_to_control(unstarted: World):
    unstarted.control.flags = None
    await unstarted.start()
    assert (await unstarted.ask(INSIDE)).json()["content"].startswith("existing")
    await until(lambda: unstarted.audit.records)
    assert unstarted.audit.records[0]["reason"] == "no_flags"
    await unstarted.apply(flags())
    assert arm(await unstarted.ask(INSIDE)) == "candidate"


async def test_when_control_is_silent_for_too_long_control_answers(world: World):
    await world.apply(flags(2, ttl=0.6, limits=Limits(rate_limit_per_minute=1_000_000)))
    assert arm(await world.ask(INSIDE, "s1")) == "candidate"
    await world.control.stop()
    assert arm(await world.ask(INSIDE, "s1")) == "candidate"  # the last flags are still good
    async with asyncio.timeout(10):
        while arm(await world.ask(INSIDE, "s1")) == "candidate":
            pass
    await until(lambda: world.audit.records[-1]["reason"] == "stale_flags")
    await world.control.start()
    sessions = (f"new-{n}" for n in itertools.count())
    async with asyncio.timeout(10):
        while arm(await world.ask(INSIDE, next(sessions))) == "control":
            pass
    assert arm(await world.ask(INSIDE, "s1")) == "control"  # that conversation has moved


async def test_a_restart_without_control_goes_on_with_the_kept_flags(world: World):
    await world.apply(flags(2, share=9_000))
    kept = world.folder / "gateway-1.flags.json"
    await until(lambda: b'"version":2' in kept.read_bytes())
    await world.stop_worker()
    await world.control.stop()
    await world.start_worker()
    assert world.edge.version == 2
    assert arm(await world.ask(LATER)) == "candidate"
    await world.control.start()


async def test_flags_that_are_older_than_those_acted_on_are_not_taken(world: World):
    await world.apply(flags(5))
    world.control.publish(flags(4, share=0))
    await until(lambda: world.control.flags and world.control.flags.version == 4)
    assert arm(await world.ask(INSIDE)) == "candidate"
    assert world.edge.version == 5


# --- when the candidate fails


async def test_a_dead_candidate_is_answered_for_by_control(world: World):
    await world.agent.stop()
    answer = await world.ask(INSIDE)
    assert (answer.status_code, arm(answer)) == (200, "control")
    await world.counted(1)
    assert world.control.total("errors", arm="candidate") == 1
    assert world.control.total("fallbacks", arm="candidate") == 1
    assert world.control.total("requests", arm="control") == 0
    assert world.control.closed == []  # it never had the request


async def test_a_failed_run_that_has_not_acted_is_fenced_and_answered_by_control(world: World):
    world.agent.status = 500
    assert arm(await world.ask(INSIDE)) == "control"
    token = world.agent.asked[0]["headers"]["x-molt-run"]
    assert world.control.closed == [verify(token, RUN_KEY, 0).id]
    await until(lambda: world.control.total("errors", arm="candidate") == 1)


async def test_a_failed_run_that_has_acted_is_not_repeated(world: World):
    world.agent.status = 500
    world.control.everybody_acted = True
    answer = await world.ask(INSIDE)
    assert (answer.status_code, arm(answer)) == (500, "candidate")
    assert world.existing.asked == []
    await until(lambda: world.control.total("errors", arm="candidate") == 1)
    assert world.control.total("fallbacks") == 0


async def test_a_candidate_that_hangs_is_answered_for_when_its_time_is_over(world: World):
    world.agent.hangs = True
    assert arm(await world.ask(INSIDE)) == "control"
    await until(lambda: world.audit.records)
    assert world.audit.records[0]["fallback"] == "timeout"


async def test_when_nobody_knows_what_a_run_did_only_its_own_word_allows_a_repeat(world: World):
    world.agent.status = 503
    await world.control.stop()
    assert arm(await world.ask(INSIDE)) == "candidate"
    world.agent.headers = {"x-agent-actions": "none"}
    assert arm(await world.ask(INSIDE)) == "control"
    await world.control.start()


async def test_a_candidate_that_reports_nothing_is_believed_only_by_its_header(unstarted: World):
    unstarted.reports_actions = False
    await unstarted.start()
    unstarted.agent.status = 500
    assert (await unstarted.ask(INSIDE)).status_code == 500
    unstarted.agent.headers = {"x-agent-actions": "none"}
    assert (await unstarted.ask(INSIDE)).status_code == 200
    assert unstarted.control.closed == []


async def test_a_safe_method_is_always_answered_by_control(unstarted: World):
    unstarted.reports_actions = False
    await unstarted.start()
    unstarted.agent.status = 500
    answer = await unstarted.client.get("/agents/guest/x", headers={"x-user-id": INSIDE})
    assert (answer.status_code, arm(answer)) == (200, "control")
    assert len(unstarted.agent.asked) == 1


async def test_a_rollback_cancels_streams_when_the_plan_says_so(world: World):
    await world.apply(flags(2, cancel_in_flight=True))
    world.agent.streams = True
    async with world.client.stream(
        "POST", "/agents/guest/v1/chat/completions", json={"user": INSIDE}
    ) as answer:
        pieces = answer.aiter_bytes()
        assert await anext(pieces)
        assert world.edge.in_flight() == 1
        world.control.publish(flags(3, share=0, cancel_in_flight=True))
        with pytest.raises(httpx.RemoteProtocolError):
            async for _ in pieces:
                pass
    assert world.edge.in_flight() == 0
    await until(lambda: world.control.total("aborted", arm="candidate") == 1)
    assert world.control.total("errors") == 0


async def test_a_rollback_leaves_streams_alone_when_the_plan_does_not(world: World):
    world.agent.streams = True
    async with world.client.stream(
        "POST", "/agents/guest/v1/chat/completions", json={"user": INSIDE}
    ) as answer:
        pieces = answer.aiter_bytes()
        assert await anext(pieces)
        await world.apply(flags(3, share=0))
        assert world.control.batches[-1].in_flight == 1
        world.agent.release.set()
        async for _ in pieces:
            pass
    await until(lambda: world.control.total("requests", arm="candidate") == 1)
    await until(lambda: world.control.batches[-1].in_flight == 0)


# --- the audit log


async def test_while_nothing_can_be_kept_on_record_nobody_goes_to_the_candidate(world: World):
    assert arm(await world.ask(INSIDE, "s1")) == "candidate"
    world.audit.broken = True
    await until(lambda: world.edge.audit_failed)
    assert arm(await world.ask(INSIDE, "s1")) == "control"
    world.audit.broken = False
    await until(lambda: not world.edge.audit_failed)
    assert arm(await world.ask(INSIDE, "s2")) == "candidate"
    await until(lambda: len(world.audit.records) == 3)
    assert [r["reason"] for r in world.audit.records] == ["in_share", "audit_failed", "in_share"]


# --- evidence


async def test_a_violation_is_at_control_within_100_ms(world: World):
    await world.ask(INSIDE)
    await world.counted(1)
    world.agent.tools = ["approval_resolve"]
    loop = asyncio.get_running_loop()
    await world.ask(INSIDE)
    asked = loop.time()
    await until(world.control.violations)
    assert world.control.violations()[0].tool == "approval_resolve"
    assert world.control.times[-1] - asked < 0.1


async def test_every_request_leaves_exactly_one_observation(world: World):
    for user in USERS[:40]:
        await world.ask(user, f"s-{user}")
    world.agent.status = 404
    for user in USERS[40:60]:
        await world.ask(user)
    inside = [u for u in USERS[:60] if bucket_of("salt", u) < 5_000]
    failing = [u for u in USERS[40:60] if u in inside]
    with contextlib.suppress(httpx.ReadTimeout):
        world.agent.hangs = True
        await world.ask(INSIDE, timeout=0.2)
    await world.counted(60)
    await until(lambda: world.control.total("aborted") == 1)
    await until(lambda: len(world.audit.records) == 61)
    control = world.control
    assert control.total("requests", arm="candidate") == len(inside)
    assert control.total("requests", arm="control") == 60 - len(inside)
    assert control.total("errors", arm="candidate") == len(failing)
    assert control.total("errors", arm="control") == 0
    assert control.summed("requests", "candidate") == len(inside)
    assert control.summed("errors", "candidate") == len(failing)
    assert control.total("cost") == 15 * 60
    seen = [s.subject for b in control.batches for s in b.seen]
    assert sorted(seen) == sorted({hashed(u) for u in (*USERS[:60], INSIDE)})


@pytest.mark.parametrize(("says_done", "counted"), [(True, "requests"), (False, "aborted")])
async def test_a_stream_that_has_said_all_is_answered_though_its_client_leaves(
    world: World, says_done: bool, counted: str
):
    world.agent.streams, world.agent.says_done = True, says_done
    async with world.client.stream(
        "POST", "/agents/guest/v1/chat/completions", json={"user": INSIDE}
    ) as answer:
        assert await anext(answer.aiter_bytes())
    await until(lambda: world.control.total(counted) == 1)
    assert world.control.total("requests") + world.control.total("aborted") == 1


async def test_a_malformed_request_leaves_a_record_too(world: World):
    assert world.worker is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", world.worker.port)
    writer.write(b"GET / HTTP/1.1\r\nhost : x\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    writer.close()
    await writer.wait_closed()
    await until(lambda: world.audit.records)
    assert world.audit.records[0]["outcome"] == "bad_request"


async def test_the_candidates_version_is_reported(world: World):
    world.agent.headers = {"x-agent-version": "7"}
    await world.ask(INSIDE)
    await until(lambda: any(b.versions for b in world.control.batches))
    assert [b.versions for b in world.control.batches if b.versions] == [{"r": "7"}]


async def test_the_last_request_to_the_candidate_is_reported(world: World):
    await world.ask(OUTSIDE)
    await world.counted(1)
    assert world.control.batches[-1].last_candidate == {}
    await world.ask(INSIDE)
    await world.counted(2)
    assert set(world.control.batches[-1].last_candidate) == {"r"}


async def test_batches_that_control_could_not_keep_arrive_once_and_in_order(world: World):
    await world.ask(INSIDE)
    await world.counted(1)
    world.control.refuse = 503
    for user in USERS[:10]:
        await world.ask(user)
    world.control.refuse, world.control.lose = 0, True
    await world.counted(2)  # kept, but the answer was lost
    world.control.lose = False
    await world.counted(11)
    await until(lambda: world.control.batches[-1].sequence > world.control.batches[1].sequence)
    assert world.control.total("requests") == 11
    sequences = [b.sequence for b in world.control.batches]
    assert sequences == sorted(set(sequences))


async def test_evidence_waits_while_control_is_restarted(world: World):
    await world.control.stop()
    for user in USERS[:10]:
        await world.ask(user)
    await world.control.start()
    await world.counted(10)
    assert world.control.total("requests") == 10
    assert world.control.batches[-1].lost == 0


async def test_new_flags_are_read_back_at_once(world: World):
    loop = asyncio.get_running_loop()
    before = loop.time()
    await world.apply(flags(9, limiter_epoch=3))
    assert loop.time() - before < 1.0
    batch = next(b for b in world.control.batches if b.applied == 9)
    assert batch.limiter_epoch == 3
    assert batch.head is not None


async def test_a_stop_hands_over_the_last_evidence(world: World):
    await world.ask(INSIDE)
    await world.stop_worker()
    assert world.control.total("requests") == 1
    assert len(world.audit.records) == 1
    await world.start_worker()


async def test_a_port_that_is_taken_says_so(unstarted: World):
    await unstarted.start()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        await unstarted.stop_worker()
        unstarted.settings["port"] = taken.getsockname()[1]
        with pytest.raises(OperatorError, match=r"listen on 127\.0\.0\.1"):
            await unstarted.start_worker()
    unstarted.settings["port"] = 0
    await unstarted.start_worker()
