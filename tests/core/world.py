"""What the tests of the core stand on: plans, a rollout with its log, and evidence by hand."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from molt.core.assignment import CANDIDATE, CONTROL, Arm
from molt.core.book import Book
from molt.core.decide import decide, enter
from molt.core.events import AnyEvent, RolloutStarted, Ruling
from molt.core.evidence import LIVE, BucketSums, Outcome, Slot, SlotKey, SumsKey
from molt.core.evolve import evolve
from molt.core.playbook import Playbook
from molt.core.rollout import Rollout
from molt.core.scene import Scene
from molt.core.snapshot import latency_cuts

from .traffic import Gathered, Load, Place, gather, newcomers

T0 = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
"""A Monday morning, on a slot's edge."""

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@cache
def wf11() -> Playbook:
    """The shipped plan."""
    text = (files("molt") / "playbooks" / "wf-11.yaml").read_text(encoding="utf-8")
    return Playbook.model_validate(YAML(typ="safe", pure=True).load(text))


def step(share: float, *gates: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A step held for an hour."""
    return {"share": share, "hold": "1h", "gates": list(gates), **more}


def plan(*phases: tuple[str, Sequence[dict[str, Any]]], **more: Any) -> Playbook:
    """A small plan; WF-11's triggers unless others are given."""
    data: dict[str, Any] = {
        "molt": 1,
        "name": "small",
        "agents": {"guest": {}},
        "phases": [{"name": name, "steps": list(steps)} for name, steps in phases],
        "triggers": [t.model_dump(mode="json", by_alias=True) for t in wf11().triggers],
    }
    return Playbook.model_validate(data | more)


class World:
    """One rollout with its log, its evidence and a clock that is moved by hand."""

    def __init__(self, playbook: Playbook, *, seed: int = 1) -> None:
        self.playbook = playbook
        self.now = T0
        self.log: list[AnyEvent] = []
        self.rollout = Rollout()
        self.book = Book(playbook.timing.slot.total_seconds(), playbook.timed_outcomes())
        self.rng = np.random.default_rng(seed)

    @property
    def scene(self) -> Scene:
        """What a decision gets now."""
        return Scene(self.rollout, self.playbook, self.book, self.now)

    def apply(self, *events: AnyEvent) -> None:
        """Append `events`."""
        for event in events:
            self.rollout = evolve(self.rollout, event)
            self.log.append(event)

    def begin(self) -> "World":
        """Start in the first step."""
        self.apply(
            RolloutStarted(
                at=self.now,
                rollout="r1",
                playbook=self.playbook.canonical(),
                playbook_hash=self.playbook.hash(),
                salt="salt",
                statistics_salt="other",
                agents=tuple(self.playbook.agents),
            )
        )
        self.apply(enter(self.scene, self.playbook.phases[0], 0))
        return self

    def at_step(self, phase: str, index: int = 0) -> "World":
        """Put it into a step, whatever the gates say."""
        self.apply(enter(self.scene, self.playbook.phase(phase), index))
        return self

    def decide(self) -> list[AnyEvent]:
        """Decide once, and append what follows."""
        events = decide(self.scene)
        self.apply(*events)
        return events

    def do(self, command: Callable[..., list[AnyEvent]], *args: Any, **more: Any) -> list[AnyEvent]:
        """Carry out what `ann` asks for."""
        events = command(self.scene, *args, **{"by": "ann", **more})
        self.apply(*events)
        return events

    def serve(
        self,
        length: timedelta,
        candidate: Load | None = None,
        control: Load | None = None,
        *,
        every: timedelta = 4 * MINUTE,
        advance: bool = True,
    ) -> "World":
        """Let traffic come in for `length`, and time pass."""
        mode = self.scene.mode
        arms: dict[Arm, Load | None] = {CANDIDATE: candidate, CONTROL: control}
        for arm, load in arms.items():
            if load is not None:
                place = Place("r1", self.rollout.epoch, arm, mode if arm == CANDIDATE else LIVE)
                cuts = latency_cuts(self.rollout, self.playbook)
                self.take(gather(self.rng, place, load, self.now, length, cuts=cuts, every=every))
        if control is not None and candidate is not None and 0 < self.rollout.live_share < 100:
            n = int(control.requests * (length / HOUR) / 10)
            epoch, share = self.rollout.epoch, self.rollout.live_share
            self.book.add_seen(newcomers(self.rng, "r1", epoch, share, n))
        if advance:
            self.now += length
        return self

    def take(self, gathered: Gathered) -> None:
        """Fold evidence in."""
        for slot in gathered.slots:
            self.book.add_slot(slot)
        for sums in gathered.sums:
            self.book.add_sums(sums)

    def wait(self, length: timedelta) -> "World":
        """Let time pass."""
        self.now += length
        return self

    def violate(self) -> None:
        """One forbidden tool call."""
        self.note(violations=1)

    def note(self, **counts: Any) -> None:
        """A slot of the candidate, now, with these `counts`."""
        start = int(self.now.timestamp()) // 10 * 10
        key = SlotKey("r1", self.rollout.epoch, "guest", CANDIDATE, self.scene.mode, start)
        self.book.add_slot(Slot(key, **counts))

    def report(self, kind: str, count: int, arm: Arm = CANDIDATE) -> None:
        """So many outcomes happened just now."""
        key = SumsKey("r1", self.rollout.epoch, 0, "guest", arm, LIVE)
        buckets = {b: float(n) for b, n in enumerate(np.bincount(range(count))) if n}
        self.book.add_sums(BucketSums(key, {kind: buckets}))
        outcome = Outcome(id="o", subject="s", kind=kind, at=self.now)
        one: tuple[Outcome, Arm, int] = (outcome, arm, self.rollout.epoch)
        self.book.add_outcomes([one] * count)


def verdicts(rulings: Sequence[Ruling]) -> dict[str, str]:
    """Name to verdict."""
    return {ruling.name: ruling.verdict for ruling in rulings}
