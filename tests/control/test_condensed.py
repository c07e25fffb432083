"""Long ranges are condensed: the same evidence, no finer than a chart shows, each old slot read once."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molt.adapters.memory.store import MemoryStore
from molt.control.analytics import GRAINS, POINTS, Choice, grain, width
from molt.control.condensed import DAY, HOUR, KEPT, OPEN, PIECE, Condensed
from molt.core.evidence import Batch, Slot, SlotKey, Tally

NOW = 1_767_600_000 // DAY * DAY + 5 * HOUR


def slot(start: int, agent: str = "guest", requests: int = 1) -> Slot:
    key = SlotKey("r", 1, agent, "control", "live", start)
    return Slot(key, requests=requests, errors=Tally(requests // 3), latency={start % 7: requests})


def told(sequence: int, slots: list[Slot]) -> Batch:
    return Batch("g", sequence, datetime.fromtimestamp(NOW, UTC), 1, slots=slots)


class Counting(MemoryStore):
    """Counts the slots that were read."""

    read = 0

    async def slots(self, rollout: str, since: int = 0, until: int | None = None):
        found = await super().slots(rollout, since, until)
        self.read += len(found)
        return found


@pytest.fixture
async def store() -> Counting:
    store = Counting()
    rng = random.Random(5)
    starts = [NOW - 10 * rng.randrange(3 * DAY // 10) for _ in range(600)]
    slots = [slot(s, rng.choice(["guest", "admin"]), rng.randrange(1, 9)) for s in starts]
    await store.ingest(told(1, slots))
    return store


@pytest.mark.parametrize("grain", GRAINS)
async def test_nothing_is_lost_and_nothing_counts_twice_however_ranges_follow_each_other(
    store: Counting, grain: int
) -> None:
    condensed = Condensed(store)
    ranges = [(6 * HOUR, 0), (DAY, 0), (2 * DAY, HOUR), (3 * HOUR, 0), (2 * DAY, 0)]
    for later in (0, 3 * HOUR):
        for before, until in ranges:
            start, end = (NOW - before) // grain * grain, NOW - until
            found = await condensed.slots("r", start, end, NOW + later, grain)
            kept = await store.slots("r", start, end)
            for agent in ("guest", "admin"):
                assert sum(s.requests for s in found if s.key.agent == agent) == sum(
                    s.requests for s in kept if s.key.agent == agent
                )
            assert all(s.key.start % grain == 0 for s in found)
            assert len({s.key for s in found}) == len(found)


async def test_what_is_closed_is_read_once_and_what_is_open_every_time(store: Counting) -> None:
    condensed = Condensed(store)
    for _ in range(2):
        before = store.read
        await condensed.slots("r", NOW - 2 * DAY, NOW + 1, NOW, GRAINS[2])
    still_open = len(await MemoryStore.slots(store, "r", (NOW - OPEN) // PIECE * PIECE))
    assert store.read - before == still_open
    await store.ingest(told(2, [slot(NOW - 10, requests=70)]))
    found = await condensed.slots("r", NOW - 2 * DAY, NOW + 1, NOW, GRAINS[2])
    assert any(s.requests >= 70 for s in found)


async def test_what_a_gateway_tells_of_late_joins_what_is_held(store: Counting) -> None:
    condensed = Condensed(store)

    async def seen() -> int:
        found = await condensed.slots("r", NOW - 2 * DAY, NOW + 1, NOW, GRAINS[2])
        return sum(s.requests for s in found)

    before = await seen()
    late = told(2, [slot(NOW - DAY, requests=7)])
    await store.ingest(late)
    condensed.late(late)
    assert await seen() == before + 7


async def test_what_a_gateway_tells_of_while_it_is_read_is_not_lost(store: Counting) -> None:
    condensed = Condensed(store)
    late = told(2, [slot(NOW - DAY, requests=7)])
    plain = MemoryStore.slots

    async def interrupted(rollout: str, since: int = 0, until: int | None = None):
        found = list(await plain(store, rollout, since, until))
        if since <= NOW - DAY < (until or 0) and await store.ingest(late) is not None:
            condensed.late(late)
        return found

    store.slots = interrupted  # type: ignore[method-assign]
    found = await condensed.slots("r", NOW - 2 * DAY, NOW, NOW, GRAINS[2])
    kept = await plain(store, "r", NOW - 2 * DAY, NOW)
    assert sum(s.requests for s in found) == sum(s.requests for s in kept)


async def test_it_is_said_how_much_of_a_long_range_is_ready(store: Counting) -> None:
    condensed = Condensed(store)
    start, grain = NOW - 2 * DAY, GRAINS[2]
    assert condensed.ready("r", start, NOW, grain) == 0
    await condensed.slots("r", NOW - DAY, NOW, NOW, grain)
    assert 0.4 < condensed.ready("r", start, NOW, grain) < 0.6
    assert await condensed.prepare("r", start, NOW, grain, 20) == 1
    before = store.read
    assert await condensed.prepare("r", start, NOW, grain, 20) == 1
    assert store.read == before
    assert (
        condensed.ready("r", NOW - KEPT[grain] - DAY, NOW, grain) == 1
    )  # not held: nothing to wait for


async def test_short_ranges_come_as_they_are_kept(store: Counting) -> None:
    found = await Condensed(store).slots("r", NOW - HOUR, NOW, NOW, 0)
    assert found == list(await store.slots("r", NOW - HOUR, NOW))


@given(seconds=st.integers(1, 90 * DAY), slot_seconds=st.sampled_from([1, 5, 10, 30, 60]))
def test_every_point_of_a_chart_holds_equally_many_merged_slots(
    seconds: int, slot_seconds: int
) -> None:
    end = datetime.fromtimestamp(NOW, UTC)
    wide = width(Choice(end - timedelta(seconds=seconds), end), slot_seconds)
    assert wide % (grain(wide) or slot_seconds) == 0
    assert seconds / wide <= POINTS
    assert wide < 3 * max(slot_seconds, seconds / POINTS)
