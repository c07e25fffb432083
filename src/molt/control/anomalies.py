"""Watches for what is unlike all before it, and writes alerts: few, with their numbers.

Fed with batches and with compared pairs. What was seen before is kept in the store, so that a restart
does not see everything for the first time; recent slots are read back from evidence.
"""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
import structlog

from molt.control.controller import Controller
from molt.control.desk import Desk
from molt.core import anomalies
from molt.core.anomalies import BEFORE_CALLS, FEWEST_REQUESTS, LEARNT, RECENT_CALLS, RECENT_SLOTS
from molt.core.assignment import CANDIDATE
from molt.core.errors import StoreUnavailable
from molt.core.events import AnomalySeen
from molt.core.evidence import LIVE, SHADOW, Batch, Mode, Slot
from molt.core.pairs import Call, Pair
from molt.core.rollout import WATCHED
from molt.core.stats import latency
from molt.ports import EvidenceStore, PairStore

log = structlog.get_logger(__name__)

AGAIN: Final = timedelta(hours=1)
"""The same anomaly is told at most once in this time."""
BURST: Final = 5
BURST_WITHIN: Final = timedelta(minutes=10)
"""At most so many alerts of one rollout in this time; the next tells how many more there were."""
SETTLED_SECONDS: Final = 5.0
"""How long after its end a slot is complete."""

Place = tuple[str, Mode, int]
Names = dict[str, tuple[str, str]]


class Recent:
    """What is known of one rollout: open slots, judged ones, the last calls, the alerts told."""

    def __init__(self) -> None:
        self.open: dict[Place, Slot] = {}
        self.judged: dict[tuple[str, Mode], deque[Slot]] = defaultdict(
            lambda: deque(maxlen=RECENT_SLOTS)
        )
        self.calls: dict[str, deque[str]] = defaultdict(
            lambda: deque(maxlen=RECENT_CALLS + BEFORE_CALLS)
        )
        self.known: set[str] = set()
        self.told: dict[tuple[str, str, str], datetime] = {}
        self.burst: deque[datetime] = deque(maxlen=BURST)
        self.untold = 0


class AnomalyWatch:
    """All rollouts of one installation."""

    def __init__(self, controller: Controller, evidence: EvidenceStore, store: PairStore) -> None:
        self._controller = controller
        self._evidence = evidence
        self._store = store
        self._recent: dict[str, Recent] = defaultdict(Recent)
        self._new_calls: list[tuple[str, str, Call]] = []

    async def load(self) -> None:
        """Read back the recent slots of every rollout: they are what the next are held against."""
        now = self._controller.clock.now()
        for desk in self._controller.desks.values():
            span = desk.book.slot_seconds * RECENT_SLOTS
            for slot in await self._evidence.slots(desk.id, int(now.timestamp()) - span):
                self._add(slot)
            await self._judge_slots(desk, now, quietly=True)

    def see_batch(self, batch: Batch) -> None:
        """Take in a gateway's or egress's batch; cheap, judged later."""
        for slot in batch.slots:
            self._add(slot)
        for call in batch.calls:
            if call.kind == "tool" and call.rollout and call.agent:
                arguments = _arguments(call.arguments)
                self._new_calls.append((call.rollout, call.agent, Call(call.name, arguments)))
        del self._new_calls[:-MOST_WAITING]

    def _add(self, slot: Slot) -> None:
        key = slot.key
        if key.arm == CANDIDATE and slot.requests:
            place = (key.agent, key.mode, key.start)
            known = self._recent[key.rollout].open.setdefault(place, Slot(key))
            known.merge(slot)

    async def see_pairs(self, desk: Desk, pairs: Sequence[Pair]) -> None:
        """Take in compared pairs: the calls and failures of the candidate."""
        names: Names = {}
        for pair in pairs:
            calls = pair.candidate.calls or ()
            names |= anomalies.sightings_of_calls(pair.agent, calls)
            names |= anomalies.sighting_of_failure(pair.agent, pair.candidate)
            self._recent[desk.id].calls[pair.agent].extend(c.tool for c in calls)
        await self._sight(desk, names)
        for agent in {pair.agent for pair in pairs}:
            await self._judge_mix(desk, agent)

    async def tick(self) -> None:
        """Judge what has come since the last time."""
        now = self._controller.clock.now()
        calls, self._new_calls = self._new_calls, []
        for desk in list(self._controller.desks.values()):
            mine = [(agent, call) for rollout, agent, call in calls if rollout == desk.id]
            names: Names = {}
            for agent, call in mine:
                names |= anomalies.sightings_of_calls(agent, [call])
                self._recent[desk.id].calls[agent].append(call.tool)
            await self._sight(desk, names)
            for agent in {agent for agent, _ in mine}:
                await self._judge_mix(desk, agent)
            await self._judge_slots(desk, now)

    # --- judging

    async def _sight(self, desk: Desk, names: Names) -> None:
        """Remember names; those that are new, once the usual is known, are anomalies."""
        recent = self._recent[desk.id]
        unknown = [name for name in names if name not in recent.known]
        if not unknown:
            return
        new = await self._store.sight(desk.id, unknown, self._controller.clock.now())
        recent.known.update(unknown)
        if self._requests(desk) < LEARNT:
            return
        for name in new:
            kind, what = names[name]
            agent = name.split(" ", 2)[1]
            text = _FIRST[kind].format(agent=agent, what=what)
            await self._tell(desk, AnomalySeen(
                at=self._controller.clock.now(), anomaly=kind, what=what, agent=agent, text=text
            ))  # fmt: skip

    def _requests(self, desk: Desk) -> int:
        epochs = range(desk.rollout.epoch + 1)
        return sum(desk.book.counts(epochs, CANDIDATE, mode).requests for mode in (LIVE, SHADOW))

    async def _judge_slots(self, desk: Desk, now: datetime, *, quietly: bool = False) -> None:
        recent, length = self._recent[desk.id], desk.book.slot_seconds
        due = now.timestamp() - length - SETTLED_SECONDS
        for place in sorted(p for p in recent.open if p[2] <= due):
            slot = recent.open.pop(place)
            history = recent.judged[place[0], place[1]]
            if slot.requests < FEWEST_REQUESTS:
                continue
            for name, value in _figures(slot).items():
                before = [v for s in history if (v := _figures(s).get(name)) is not None]
                found = anomalies.outlier(value, before)
                if found and not quietly:
                    await self._tell(desk, _outlying(name, slot, found, now))
            history.append(slot)

    async def _judge_mix(self, desk: Desk, agent: str) -> None:
        calls = list(self._recent[desk.id].calls[agent])
        found = anomalies.shift(calls[-RECENT_CALLS:], calls[:-RECENT_CALLS])
        if found is not None:
            text = (
                f"{agent}: {found.tool} was {100 * found.before:.0f}% of its calls and is "
                f"{100 * found.now:.0f}% of the last {RECENT_CALLS}"
            )
            await self._tell(desk, AnomalySeen(
                at=self._controller.clock.now(), anomaly="tool_mix", what=found.tool, agent=agent,
                text=text, numbers=found._asdict(),
            ))  # fmt: skip

    # --- telling

    async def _tell(self, desk: Desk, event: AnomalySeen) -> None:
        """Write the alert, unless it was told lately or too many were; those are counted."""
        recent, now = self._recent[desk.id], event.at
        key = (event.anomaly, event.agent, event.what)
        if desk.rollout.phase not in WATCHED or now - recent.told.get(key, now - 2 * AGAIN) < AGAIN:
            return
        if len(recent.burst) == BURST and now - recent.burst[0] < BURST_WITHIN:
            recent.untold += 1
            return
        recent.told = {k: at for k, at in recent.told.items() if now - at < AGAIN} | {key: now}
        recent.burst.append(now)
        untold, recent.untold = recent.untold, 0
        try:
            await self._controller.record(desk, msgspec.structs.replace(event, more=untold))
        except StoreUnavailable as error:
            log.warning("anomaly_not_kept", rollout=desk.id, text=event.text, error=str(error))


MOST_WAITING: Final = 10_000
"""Calls that wait to be judged; older ones are let go."""

_FIRST: Final = {
    "tool": "{agent} called {what}, which it never had before",
    "arguments": "{agent} called {what}, a form of arguments that it never had before",
    "error": "{agent} failed in a way that it never had before: {what}",
}
_UNITS: Final = {
    "latency": "{:.0f} ms at the median",
    "tokens": "{:.0f} tokens a request",
    "cost": "${:.5f} a request",
}


def _figures(slot: Slot) -> Mapping[str, float]:
    """What is held against the slots before: by request."""
    found: dict[str, float] = {}
    median = latency.quantile(slot.latency, 0.5)
    if median is not None:
        found["latency"] = median
    if tokens := slot.tokens_in + slot.tokens_out:
        found["tokens"] = tokens / slot.requests
    if (told := slot.spent.told) is not None:  # the egress counts before a request has ended
        found["cost"] = told
    return found


def _outlying(name: str, slot: Slot, found: anomalies.Outlier, now: datetime) -> AnomalySeen:
    unit, key = _UNITS[name], slot.key
    text = (
        f"{key.agent}: {unit.format(found.value)} in one slot, {unit.format(found.median)} in those "
        f"before ({found.deviations:.0f} deviations)"
    )
    numbers = found._asdict() | {"requests": slot.requests, "start": key.start, "mode": key.mode}
    return AnomalySeen(
        at=now, anomaly=name, what=f"{key.mode} slot", agent=key.agent, text=text, numbers=numbers
    )


def _arguments(text: str | None) -> dict[str, object]:
    try:
        found = msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        return {}  # cut to be kept
    return found if isinstance(found, dict) else {}
