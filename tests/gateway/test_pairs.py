"""Both answers of a mirrored request are kept while they pass: sampled, bounded, counted when dropped."""

from typing import Any

import msgspec
import pytest

from molt.core.flags import Comparing
from molt.core.pairs import RawPair, RawPairs
from molt.gateway.observations import Observation
from molt.gateway.pairs import MOST_OPEN, OpenPair, Pairs
from molt.gateway.routes import Decided, Route, Running
from molt.link.control_client import ControlUnreachable
from molt.link.pairs import MOST_PAIRS, PairSender
from molt.wire.usage import JsonReader, Usage

from .world import chat, ended, exchange, rollout

JSON = b"application/json"


class Control:
    """Takes what is posted, or is away."""

    def __init__(self) -> None:
        self.away = False
        self.got: list[RawPairs] = []

    async def post_pairs(self, body: bytes) -> int:
        if self.away:
            raise ControlUnreachable("away")
        self.got.append(msgspec.msgpack.decode(body, type=RawPairs))
        return 204


def route(**comparing: Any) -> Route:
    return Route(rollout(shadow=True, comparing=Comparing(**comparing)), "guest", Running(60))


class World:
    def __init__(self, chance: float = 0.5, **comparing: Any) -> None:
        self.control = Control()
        self.sender = PairSender(self.control, "g1")  # type: ignore[arg-type]
        self.pairs = Pairs(self.sender, lambda: chance)
        self.route = route(**comparing)

    def begin(self, run: str = "run1", method: bytes = b"POST") -> OpenPair | None:
        asked = chat("u1") if method == b"POST" else exchange(method)
        return self.pairs.begin(asked, self.route, run)

    def end(self, pair: OpenPair, arm: Any, body: bytes = b"{}", **more: Any) -> Usage:
        """One answer comes and ends."""
        mirror = more.pop("mirror", arm == "candidate")
        decided = Decided(self.route, arm, "shadow", "shadow", subject="u1", pair=pair)
        done = ended(chat("u1"), **{"outcome": "ok", "mirror": mirror} | more)
        done.bytes_out = len(body)
        reader = pair.reader(done, decided, JsonReader(), JSON, None)
        for at in range(0, len(body), 10):
            reader.feed(body[at : at + 10])
        used = reader.finish()
        done.usage = used
        self.pairs.take(done, decided, self.route, Observation("request"), 1e9, "hash")
        return used

    async def sent(self) -> list[RawPair]:
        assert await self.sender.send()
        return [pair for batch in self.control.got for pair in batch.pairs]


async def test_a_pair_holds_both_bodies_and_what_was_asked_and_usage_is_read_all_the_same():
    w = World()
    pair = w.begin()
    assert pair is not None
    w.end(pair, "candidate", b'{"content": "a"}')
    body = b'{"model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}'
    assert w.end(pair, "control", body).input_tokens == 3

    (raw,) = await w.sent()

    assert (raw.id, raw.subject, raw.agent) == ("run1", "hash", "guest")
    assert (raw.control.body, raw.control.tokens_in) == (body, 3)
    assert raw.candidate.body == b'{"content": "a"}'
    assert b"hello" in (raw.request or b"")
    assert raw.who == {"subject": "u1"}


async def test_a_body_over_the_bound_is_cut_and_marked():
    w = World(max_body=25)
    pair = w.begin()
    assert pair is not None
    w.end(pair, "candidate", b"x" * 26)
    w.end(pair, "control", b"x" * 25)
    (raw,) = await w.sent()
    assert (raw.candidate.cut, raw.candidate.body) == (True, b"")
    assert (raw.control.cut, len(raw.control.body)) == (False, 25)


def test_only_the_sample_is_kept_and_nothing_where_comparison_is_off():
    assert World(chance=0.2, sample=2_500).begin() is not None
    assert World(chance=0.3, sample=2_500).begin() is None
    off = World()
    off.route = Route(rollout(shadow=True), "guest", Running(60))
    assert off.begin() is None


@pytest.mark.parametrize("outcome", ["mirror_dropped", "client_aborted", "cancelled"])
async def test_a_pair_without_both_answers_is_none(outcome):
    w = World()
    pair = w.begin()
    assert pair is not None
    w.end(pair, "control")
    w.end(pair, "candidate", outcome=outcome)
    assert await w.sent() == []


async def test_a_candidate_that_gave_no_answer_makes_a_pair_all_the_same():
    w = World()
    pair = w.begin()
    assert pair is not None
    w.end(pair, "control")
    w.end(pair, "candidate", outcome="upstream_timeout", status=0)
    (raw,) = await w.sent()
    assert raw.candidate.outcome == "upstream_timeout"


async def test_control_gets_safe_methods_twice_where_the_plan_says_so():
    w = World(chance=0.1, twice=2_000)
    post = w.begin()
    assert post is not None
    assert post.twin is None
    pair = w.begin(method=b"GET")
    assert pair is not None
    assert pair.twin is not None
    w.end(pair, "control", b"first")
    w.end(pair, "candidate", b"agent")
    w.end(pair, "control", b"again", mirror=True)
    (raw,) = await w.sent()
    assert raw.twin is not None
    assert [s.body for s in (raw.control, raw.candidate, raw.twin)] == [
        b"first",
        b"agent",
        b"again",
    ]


async def test_too_many_at_once_are_not_kept_but_counted_and_places_come_free_again():
    w = World()
    pairs = [w.begin(f"run{n}") for n in range(MOST_OPEN)]
    assert w.begin() is None
    first = pairs[0]
    assert first is not None
    w.pairs.abandon(Decided(w.route, "control", "shadow", pair=first))
    assert w.begin() is not None
    assert await w.sender.send()
    assert w.control.got[0].dropped == [("r", 3, "guest", 1)]


async def test_while_control_is_away_the_queue_is_bounded_and_nothing_is_sent_twice():
    w = World()
    w.control.away = True
    for n in range(MOST_PAIRS + 5):
        pair = w.begin(f"run{n}")
        assert pair is not None
        w.end(pair, "control")
        w.end(pair, "candidate")
    assert not await w.sender.send()

    w.control.away = False
    ids = [raw.id for raw in await w.sent()]
    assert len(ids) == len(set(ids)) == MOST_PAIRS
    assert sum(count for batch in w.control.got for *_, count in batch.dropped) == 5
