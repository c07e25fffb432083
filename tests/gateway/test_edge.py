"""The edge decides as the core does, whatever the flags; and its pins never break a rollback."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.core.assignment import CONTROL, assign, explain, pinned
from molt.core.flags import Limits
from molt.gateway.addresses import ClientAddresses
from molt.gateway.edge import Arms, Manners, MoltEdge
from molt.gateway.fallback import Fallback
from molt.gateway.identity import Identity, profiles
from molt.gateway.observations import Pricing
from molt.gateway.recorder import Recorder
from molt.link.tokens import Runs
from molt.wire.deadlines import Deadlines
from molt.wire.exchange import Answer, Exchange, Forward
from molt.wire.upstream import Upstream

from .world import FlatPrices, MemoryAudit, chat, ended, flags, hashed

NO_LIMIT = Limits(rate_limit_per_minute=1_000_000)

changes = st.fixed_dictionaries(
    {},
    optional={
        "enabled": st.booleans(),
        "shadow": st.booleans(),
        "share": st.sampled_from([0, 1, 100, 5_000, 9_999, 10_000]),
        "mirror": st.sampled_from([0, 5_000, 10_000]),
        "disabled_agents": st.sampled_from([(), ("guest",), ("research",)]),
        "epoch": st.integers(1, 9),
    },
)
users = st.none() | st.sampled_from([f"u{n}" for n in range(20)])
sessions = st.none() | st.sampled_from(["s1", "s2", "s3"])
agents = st.sampled_from(["guest", "research", "unknown"])


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def made() -> tuple[MoltEdge, Time]:
    deadlines, clock = Deadlines(), Time()
    recorder = Recorder(
        audit=MemoryAudit(),
        pricing=Pricing(FlatPrices()),
        hash_subject=hashed,
        hurry=lambda: None,
        crowd=lambda: None,
        monotonic=clock,
    )
    edge = MoltEdge(
        Arms(
            Upstream.from_url("control", "http://127.0.0.1:1", deadlines),
            Upstream.from_url("candidate", "http://127.0.0.1:2", deadlines),
        ),
        identity=Identity(profiles(["agent-chat"])),
        addresses=ClientAddresses(()),
        runs=Runs(bytes(32)),
        recorder=recorder,
        fallback=Fallback(None),
        manners=Manners(session_field="session_id"),
        monotonic=clock,
    )
    return edge, clock


def snapshot(version: int = 1, **changed: Any):
    return flags(version, limits=NO_LIMIT, **changed)


def where(plan: object) -> str:
    assert isinstance(plan, Forward)
    return plan.upstream.name


@given(changes, st.lists(st.tuples(users, agents), max_size=20))
def test_without_conversations_it_decides_as_the_core_explains(change, requests):
    edge, clock = made()
    edge.apply(snapshot(**change))
    edge.heard(clock.now)
    for number, (user, agent) in enumerate(requests):
        request = chat(user, session=f"fresh-{number}" if user else None, agent=agent)
        plan = edge.decide(request)
        expected = explain(snapshot(**change), agent, user)
        assert where(plan) == expected.arm
        assert request.token.reason == expected.reason
        assert isinstance(plan, Forward)
        assert (plan.mirror is not None) == expected.mirror
        assert (plan.fallback is not None) == (expected.arm == "candidate")


@given(st.lists(st.tuples(changes, users, sessions), min_size=1, max_size=30))
def test_with_conversations_it_decides_as_the_core_pins(steps):
    edge, clock = made()
    arms: dict[str, Any] = {}
    for version, (change, user, session) in enumerate(steps, 1):
        edge.apply(snapshot(version, **change))
        edge.heard(clock.now)
        rollout = snapshot(**change).rollouts[0]
        request = chat(user, session)
        edge.decide(request)
        subject = user or session
        fresh = assign(rollout, "guest", subject)
        if session is not None and session in arms:
            assert request.token.arm == pinned(rollout, arms[session], "guest", fresh).arm
        if not rollout.enabled or rollout.shadow or "guest" in rollout.disabled_agents:
            assert request.token.arm == CONTROL
        if session is not None:
            arms[session] = request.token.arm


@given(changes, users, sessions)
def test_nobody_goes_to_an_agent_that_nobody_watches(change, user, session):
    edge, clock = made()
    edge.apply(snapshot(**change, cancel_in_flight=True))
    edge.heard(clock.now)
    edge.decide(chat(user, session))
    clock.now += 600.1
    request = chat(user, session)
    assert where(edge.decide(request)) == "control"
    assert request.token.reason == "stale_flags"


@given(changes, users, sessions)
def test_nobody_goes_to_the_agent_while_nothing_is_kept_on_record(change, user, session):
    edge, clock = made()
    edge.apply(snapshot(**change))
    edge.heard(clock.now)
    edge.decide(chat(user, session))
    edge.audit_failed = True
    assert where(edge.decide(chat(user, session))) == "control"


def test_without_flags_everything_goes_to_control_untouched():
    edge, _ = made()
    request = chat("u1")
    plan = edge.decide(request)
    assert plan == Forward(edge._arms.control)
    assert request.token.reason == "no_flags"


def test_what_is_refused_counts_for_the_arm_it_would_have_gone_to():
    edge, clock = made()
    edge.apply(flags(share=10_000, limits=Limits(rate_limit_per_minute=1)))
    edge.heard(clock.now)
    edge.decide(chat("u1"))
    refused = chat("u1")
    answer = edge.decide(refused)
    assert isinstance(answer, Answer)
    assert answer.status == 429
    assert (refused.token.arm, refused.token.reason) == ("candidate", "limited")


def test_in_flight_counts_what_the_candidate_is_working_on():
    edge, clock = made()
    edge.apply(snapshot(share=10_000))
    edge.heard(clock.now)
    requests = [chat(f"u{n}") for n in range(3)]
    for request in requests:
        edge.decide(request)
    assert edge.in_flight() == 3
    for request in requests:
        edge.record(ended(request))
    assert edge.in_flight() == 0


class Cancelled(Exchange):
    """An exchange that notes that it was taken back."""

    taken_back: bool = False

    def cancel(self) -> None:
        self.taken_back = True


@pytest.mark.parametrize(
    ("cancels", "change", "taken_back"),
    [
        (True, {"share": 0}, True),
        (True, {"enabled": False}, True),
        (True, {"disabled_agents": ("guest",)}, True),
        (True, {"share": 100}, False),
        (False, {"share": 0}, False),
    ],
)
def test_a_rollback_takes_back_what_is_in_flight_only_if_the_plan_says_so(
    cancels: bool, change: dict[str, Any], taken_back: bool
):
    edge, clock = made()
    edge.apply(snapshot(share=10_000))
    edge.heard(clock.now)
    plain = chat("u1")
    request = Cancelled(
        plain.method, plain.target, plain.headers, plain.host, "", 100.0, body=plain.body
    )
    edge.decide(request)
    edge.apply(snapshot(2, cancel_in_flight=cancels, **change))
    assert request.taken_back == taken_back
