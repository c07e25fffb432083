"""One simulated rollout: the production controller, its stores, and a clock that only we move."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any, Final

from molt.adapters.clocks import VirtualClock
from molt.adapters.memory.store import MemoryStore
from molt.apps.simulate.course import Course, Sample, Verdict
from molt.apps.simulate.delivery import Channel
from molt.apps.simulate.drawing import cut
from molt.apps.simulate.feed import Feed
from molt.apps.simulate.operators import People
from molt.apps.simulate.scenario import Scenario
from molt.apps.simulate.screening import Watch
from molt.apps.simulate.stream import Interval, Regime, Span
from molt.apps.simulate.world import World
from molt.control.controller import Controller, Stores
from molt.control.operator_flags import OperatorFlags
from molt.core import gates
from molt.core.errors import Refused
from molt.core.evidence import Outcome
from molt.core.flags import Bounds, Flags
from molt.core.playbook import Playbook
from molt.core.rollout import ACTIVE, Phase, Rollout
from molt.ports import Applied, Delivery, Journal, Notice

START: Final = datetime(2026, 1, 5, tzinfo=UTC)
"""A Monday."""
ROLLOUT: Final = "simulated"
AGAIN: Final = timedelta(hours=1)
DISTURBED: Final = timedelta(minutes=1)
"""The longest time between looks while evidence comes late or in disorder."""
DATA: Final = Path("../shared/data")
"""Where recorded traces and latencies are looked for unless told otherwise."""

Listener = Callable[[Interval], None]


class _Nobody:
    """Gateways, operator's file and phone of a world that is made up."""

    def __init__(self) -> None:
        self.bounds = Bounds()

    async def publish(self, flags: Flags) -> None:
        """Nobody listens: the world reads the controller's flags itself."""

    def applied(self) -> Mapping[str, Applied]:
        """No gateway was heard of."""
        return {}

    @property
    def place(self) -> str:
        """Nowhere."""
        return "the flags"

    def read(self) -> Bounds:
        """No bounds."""
        return self.bounds

    def set(self, key: str, value: str) -> None:
        """Nothing is kept."""

    async def notify(self, notice: Notice) -> Delivery:
        """Always delivered."""
        return Delivery(True, "simulated")


def run(
    scenario: Scenario,
    playbook: Playbook,
    seed: int,
    *,
    name: str = "scenario",
    data: Path = DATA,
    listener: Listener | None = None,
    sample_every: timedelta | None = None,
    store: MemoryStore | None = None,
    journal: Journal | None = None,
) -> Course:
    """One seed of a scenario, to its decision. The same arguments give the same course.

    `listener` gets every interval of evidence as raw arrays; `sample_every` keeps what the gates
    said that often. Raises `OperatorError` when scenario and playbook do not fit.
    """
    simulation = Simulation(scenario, playbook, seed, name=name, data=data, store=store)
    simulation.listener, simulation.sample_every = listener, sample_every
    simulation.journal = journal
    return asyncio.run(simulation.run())


class Simulation:
    """A rollout at work in a generated world."""

    def __init__(
        self,
        scenario: Scenario,
        playbook: Playbook,
        seed: int,
        *,
        name: str = "scenario",
        data: Path = DATA,
        store: MemoryStore | None = None,
    ) -> None:
        self.scenario, self.playbook, self.seed, self.name = scenario, playbook, seed, name
        self.clock = VirtualClock(START)
        # What the desk holds is all that is looked at; a copy of weeks of slots would be gigabytes.
        self.store = store or MemoryStore(self.clock.now, measurements=False)
        self.world = World(scenario, playbook, seed, data, START.timestamp())
        self.listener: Listener | None = None
        self.sample_every: timedelta | None = None
        self.journal: Journal | None = None
        self.salts = (f"assignment-{seed}", f"statistics-{seed}")
        self.feed = Feed(ROLLOUT, _agent(playbook), self.salts[0], self.world.money)
        self.channel = Channel(scenario, self.world.timeline, seed)
        self.watch = Watch(playbook)
        self.people = People(scenario.operators)
        self.slot = timedelta(seconds=self.world.seconds)
        self.samples: list[Sample] = []
        self.looks = 0
        self._failed_orders = self._spent = 0.0
        self._requests = 0
        self._changed_at = START
        self._window: datetime | None = None

    # --- the run

    async def run(self) -> Course:
        """Play until it is decided, and then as long as the scenario says."""
        nobody = _Nobody()
        self.controller = Controller(
            Stores(self.store, self.store, self.store),
            clock=self.clock,
            operator=OperatorFlags(Bounds(), nobody),
            sink=nobody,
            notifier=nobody,
            hash_subject=str,
            journal=self.journal,
            four_eyes=False,  # the people of a scenario are one
        )
        await self.controller.start()
        await self.controller.begin(
            self.playbook, rollout_id=ROLLOUT, salts=self.salts, by="simulator"
        )
        self._follow()
        end = self._aligned(START + timedelta(days=self.scenario.days))
        decided: datetime | None = None
        while self.clock.now() < end:
            if decided is None and self.rollout.phase not in ACTIVE:
                decided = self.clock.now()
                end = min(end, self._aligned(decided + self.scenario.after))
                continue
            await self._play(min(end, self._next_look()))
            await self._act()
            self._sample()
        await self.controller.close()
        return self._course(decided)

    @property
    def rollout(self) -> Rollout:
        """As it stands now."""
        return self.controller.desks[ROLLOUT].rollout

    def _regime(self) -> Regime:
        """How gateways would split traffic now."""
        flags = self.controller.writer.flags
        assert flags is not None, "the controller has published"
        mine = flags.rollouts[0]
        off = not mine.enabled
        return Regime(
            epoch=self.rollout.epoch,
            share=0 if off or mine.shadow else mine.share,
            mirror=mine.mirror if mine.shadow and not off else 0,
            cuts=mine.cuts,
            cost_cap=mine.cost_cap,
        )

    def _follow(self) -> bool:
        """Let the world follow the flags; True when traffic is split anew."""
        window = self.rollout.window_since
        if window != self._window:
            self._window = window
            self.watch.forget(window)
        regime = self._regime()
        if regime == self.world.regime:
            return False
        self._changed_at = self.clock.now()
        self.world.enter(regime, self._changed_at.timestamp())
        return True

    # --- when to look

    def _next_look(self) -> datetime:
        """The next look at the gates: by the age of what is looked at, and whenever something is
        due. It follows from the plan and the scenario, never from what was drawn."""
        now, looks = self.clock.now(), self.scenario.looks
        disturbed = self.channel.disturbed(now.timestamp())
        longest = DISTURBED if disturbed else looks.longest
        step = max(self.slot, min(longest, (now - self._changed_at) * looks.growth))
        due = [now + step, *self._deadlines(now)]
        if (change := self.world.next_change(now.timestamp())) is not None:
            due.append(datetime.fromtimestamp(change, UTC))
        # Every look sends a batch: a look for each that is late would look at every slot in the end.
        if not disturbed and (late := self.channel.next_due()) is not None:
            due.append(late)
        return self._aligned(min(t for t in due if t > now))

    def _aligned(self, at: datetime) -> datetime:
        """The end of the slot in which `at` falls."""
        return START + ceil((at - START) / self.slot) * self.slot

    def _deadlines(self, now: datetime) -> list[datetime]:
        rollout, found = self.rollout, list[datetime]()
        if rollout.phase in ACTIVE and rollout.hold_since is not None:
            step = self.playbook.phase(rollout.plan_phase).steps[rollout.step]
            lengths = [step.hold, step.pace, step.max_hold, self.playbook.timing.blind_after]
            lengths += [g.for_ for g in step.gates if g.kind == "no_critical_error"]
            found += [rollout.hold_since + length for length in lengths]
            if rollout.window_since is not None:
                found += [
                    rollout.window_since + t.for_
                    for t in self.playbook.triggers
                    if t.kind == "error_rate" or t.kind == "latency"
                ]
            found += [
                at + g.within
                for g in step.gates
                if g.kind == "no_rollback"
                for at in rollout.rollbacks
            ]
        if intent := self.people.next(rollout, now):
            found.append(intent.at)
        return [at for at in found if at > now]

    # --- playing

    async def _play(self, until: datetime) -> None:
        """Let traffic come in until then; stops early when a trigger changes how it is split."""
        first, end = (round(t.timestamp()) // self.world.seconds for t in (self.clock.now(), until))
        span, regime = self.world.span(first, end), self.world.regime
        done, slots, outcomes = 0, dict[str, Any](), list[Outcome]()
        for stop in self._stops(span):
            await self.clock.advance(float((stop - done) * self.world.seconds))
            slots = self._slots(span, done, stop)
            outcomes = self.feed.outcomes(span, regime, done, stop)
            done = stop
            if stop == len(span):
                break
            self.channel.send(self.clock.now(), **slots)
            await self._take_in(outcomes)
            if self._regime() != regime:
                slots, outcomes = {}, []
                break
        played = cut(span, first, first + done)
        interval = self.world.interval(played)
        self.channel.send(self.clock.now(), **self._whole(interval, slots))
        await self._take_in(outcomes)
        self._count(interval)
        self.watch.take(played)
        self._follow()

    def _slots(self, span: Span, first: int, end: int) -> dict[str, Any]:
        """What gateways tell slot by slot."""
        regime = self.world.regime
        violated = [i for i in self.world.violations(span) if first <= i < end]
        violations, bad = self.feed.violations(span, regime, violated)
        return {
            "slots": [*self.feed.slots(span, regime, first, end), *bad],
            "violations": violations,
        }

    def _whole(self, interval: Interval, slots: dict[str, Any]) -> dict[str, Any]:
        """What closes an interval, with its last slots."""
        return {
            **slots,
            "slots": [*slots.get("slots", ()), *self.feed.totals(interval)],
            "sums": self.feed.sums(interval),
            "seen": self.feed.seen(interval),
        }

    def _stops(self, span: Span) -> list[int]:
        """After which of the slots somebody looks; always after the last."""
        if self.scenario.looks.mode == "every_slot":
            return list(range(1, len(span) + 1))
        hits = {i + 1 for i in self.watch.look(span)} | self._violated(span)
        return sorted(hits | {len(span)})

    def _violated(self, span: Span) -> set[int]:
        return {i + 1 for i in self.world.violations(span)}

    async def _take_in(self, outcomes: Sequence[Outcome]) -> None:
        """What has arrived goes to the controller, which decides."""
        self.looks += 1
        stepped = False
        for batch in self.channel.arrived(self.clock.now()):
            stepped |= bool(await self.controller.ingest(batch) and batch.slots)
        if outcomes:
            await self.controller.report_outcomes(ROLLOUT, outcomes)
        elif not stepped:
            await self.controller.tick()

    def _count(self, interval: Interval) -> None:
        if self.rollout.phase in ACTIVE or self._requests == 0:
            self._failed_orders += interval.failed_orders
            self._spent += interval.spent
        self._requests += int(
            interval.span.candidate.requests.sum() + interval.span.control.requests.sum()
        )
        if self.listener is not None:
            self.listener(interval)

    async def _act(self) -> None:
        """What the operators do now."""
        now = self.clock.now()
        intent = self.people.next(self.rollout, now)
        if intent is None or intent.at > now:
            return
        try:
            await self.controller.command(ROLLOUT, intent.command)
        except Refused:
            self.people.refused(intent, now, AGAIN)
        self._follow()

    def _sample(self) -> None:
        """What the gates say, now and then, for reports."""
        now, every = self.clock.now(), self.sample_every
        if every is None or self.rollout.phase not in ACTIVE:
            return
        if self.samples and now - self.samples[-1].at < every:
            return
        rollout = self.rollout
        rulings = tuple(gates.rule_all(self.controller.desks[ROLLOUT].scene(now)))
        self.samples.append(Sample(now, rollout.share, rollout.phase, rollout.step, rulings))

    def _onset(self) -> datetime | None:
        """When the first effect or fault met users; in shadow nobody meets any."""
        first = self.world.timeline.first()
        if first is None:
            return None
        begins = datetime.fromtimestamp(first, UTC)
        live = next((stay.at for stay in self.rollout.stays if stay.share > 0), begins)
        return max(begins, live)

    def _course(self, decided: datetime | None) -> Course:
        rollout, onset = self.rollout, self._onset()
        verdicts: dict[Phase, Verdict] = {
            Phase.COMPLETE: "promoted",
            Phase.ROLLED_BACK: "rolled_back",
        }
        return Course(
            scenario=self.name,
            playbook=self.playbook.name,
            seed=self.seed,
            verdict=verdicts.get(rollout.phase, "inconclusive"),
            started_at=START,
            ended_at=self.clock.now(),
            decided_at=decided,
            onset=onset,
            failed_orders=self._failed_orders,
            spent=self._spent,
            requests=self._requests,
            users=self.scenario.users.count,
            records=self.controller.desks[ROLLOUT].records,
            stays=rollout.stays,
            looks=self.looks,
            samples=self.samples,
        )


def _agent(playbook: Playbook) -> str:
    """The agent type whose traffic is generated: the first that is enabled."""
    return next((n for n, a in playbook.agents.items() if a.enabled), next(iter(playbook.agents)))
