"""Evidence reaches control once, whole and in order, however control behaves."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.core.evidence import Batch, BucketSums, Call, Seen, Slot, SlotKey, SumsKey, Tally
from molt.link import batches
from molt.link.batches import BatchSender, Draft, Evidence
from molt.link.control_client import ControlUnreachable

from ..gateway.servers import until

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def slot(start: int = 0, requests: int = 1, arm="candidate") -> Slot:
    return Slot(SlotKey("r", 1, "guest", arm, "live", start), requests, Tally(1))


def sums(bucket: int = 0, amount: float = 1.0) -> BucketSums:
    return BucketSums(
        SumsKey("r", 1, 0, "guest", "candidate", "live"), {"requests": {bucket: amount}}
    )


def evidence(*slots: Slot, **more) -> Evidence:
    made = Evidence(list(slots), [], [], [], {})
    return made._replace(**more)


class Control:
    """Answers batches from a script of statuses; 0 means that it cannot be reached."""

    def __init__(self, statuses: Iterator[int]) -> None:
        self.statuses = statuses
        self.got: list[Batch] = []

    async def post_batch(self, body: bytes) -> int:
        self.got.append(msgspec.json.decode(body, type=Batch))
        status = next(self.statuses, 204)
        if status == 0:
            raise ControlUnreachable("gone")
        await asyncio.sleep(0)
        return status


def sender(*statuses: int) -> tuple[BatchSender, Control]:
    control = Control(iter(statuses))

    def make(sequence: int) -> Batch:
        return Batch("gateway-1", sequence, NOW, 1)

    return BatchSender(control, make, first=100), control  # pyright: ignore[reportArgumentType]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=20))
def test_a_draft_adds_up_what_it_is_given(parts: list[tuple[int, int]]):
    draft, batch = Draft(), Batch("g", 1, NOW, 1)
    for start, requests in parts:
        draft.add(evidence(slot(start, requests), sums=[sums(start, requests)]))
    draft.move_to(batch)
    assert {s.key.start: s.requests for s in batch.slots} == {
        start: sum(r for s, r in parts if s == start) for start in {s for s, _ in parts}
    }
    found = batch.sums[0].columns["requests"] if batch.sums else {}
    assert sum(found.values()) == sum(r for _, r in parts)
    assert not draft


def test_a_draft_is_bounded_and_counts_what_it_had_to_drop(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batches, "MOST_SLOTS", 10)
    monkeypatch.setattr(batches, "MOST_SEEN", 5)
    draft = Draft()
    seen = [Seen("r", 1, "control", f"u{n}") for n in range(9)]
    for start in range(15):
        draft.add(evidence(slot(start, 2), seen=seen))
    batch = Batch("g", 1, NOW, 1)
    draft.move_to(batch)
    assert len(batch.slots) == 10
    assert batch.lost == 2 * 5
    assert len(batch.seen) == 5


async def test_a_long_absence_is_sent_in_pieces(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batches, "SLOTS_A_BATCH", 4)
    sending, control = sender()
    sending.draft.add(evidence(*(slot(start) for start in range(10))))
    await sending.send()
    assert [len(b.slots) for b in control.got] == [4, 4, 2]
    assert [b.sequence for b in control.got] == [101, 102, 103]


async def test_an_empty_batch_is_sent_when_it_is_asked_for():
    sending, control = sender()
    await sending.send()
    assert [b.slots for b in control.got] == [[]]


@pytest.mark.parametrize("failure", [0, 401, 500, 503])
async def test_a_batch_is_repeated_as_it_was_until_it_is_kept(failure: int):
    sending, control = sender(failure, failure, 204)
    sending.draft.add(evidence(slot(1)))
    await sending.send()
    assert len(control.got) == 3
    assert len({msgspec.json.encode(b) for b in control.got}) == 1


async def test_a_repeated_batch_that_control_knows_has_arrived():
    sending, control = sender(0, 409)
    sending.draft.add(evidence(slot(1)))
    await sending.send()
    assert [b.sequence for b in control.got] == [101, 101]


async def test_a_new_batch_whose_number_is_known_gets_another_number():
    sending, control = sender(409, 204, 204)
    sending.draft.add(evidence(slot(1, requests=7)))
    await sending.send()
    first, second = control.got
    assert second.sequence > first.sequence
    assert second.slots == first.slots
    await sending.send()
    assert control.got[-1].sequence > second.sequence


async def test_a_batch_that_control_will_never_take_is_counted_as_lost():
    sending, control = sender(422, 204)
    sending.draft.add(evidence(slot(1, requests=7)))
    await sending.send()
    assert control.got[-1].lost == 7
    assert control.got[-1].slots == []


async def test_a_batch_under_way_is_not_lost_by_a_stop():
    sending, control = sender(*[0] * 1000)
    sending.draft.add(evidence(slot(1, requests=7)))
    running = asyncio.create_task(sending.send())
    await until(lambda: control.got)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    sending.draft.add(evidence(slot(2, requests=1)))
    control.statuses = iter(())
    await sending.send()
    kept = {b.sequence: b for b in control.got}
    assert [s.requests for b in kept.values() for s in b.slots] == [7, 1]


def test_calls_go_out_in_order_and_what_does_not_fit_waits():
    def call(number: int) -> Call:
        return Call(str(number), NOW, "tool", "t", "executed")

    draft = Draft()
    for number in range(batches.CALLS_A_BATCH + 1):
        draft.add_call(call(number))
    first, second = Batch("egress", 1, NOW, 1), Batch("egress", 2, NOW, 1)
    draft.move_to(first)
    assert draft
    draft.move_to(second)

    assert [c.id for c in first.calls] == [str(n) for n in range(batches.CALLS_A_BATCH)]
    assert [c.id for c in second.calls] == [str(batches.CALLS_A_BATCH)]
    assert not draft
