"""An installation in one process: the real controller on the store in memory, under a virtual clock.

Only what stands outside of Molt is made up: gateways, an on-call phone, and the traffic.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from tests.core.traffic import Load, Place, gather, newcomers
from tests.core.world import HOUR, T0

from molt.adapters.audit_files import AuditArchive, SubjectHasher
from molt.adapters.clocks import VirtualClock
from molt.adapters.env_file import EnvFile
from molt.adapters.memory.store import MemoryStore
from molt.control.controller import Controller, Stores
from molt.control.desk import Desk
from molt.control.operator_flags import OperatorFlags
from molt.control.procedure import Procedure
from molt.control.rollbacks import Rollbacks
from molt.core.assignment import CANDIDATE, CONTROL, Arm
from molt.core.errors import StoreUnavailable
from molt.core.events import AnyEvent, Event, Recorded
from molt.core.evidence import LIVE, SHADOW, Batch, Outcome, Seen, Slot, SlotKey
from molt.core.flags import Bounds, Flags
from molt.core.playbook import Playbook
from molt.core.rollout import Rollout
from molt.core.snapshot import latency_cuts
from molt.ports import Applied, Delivery, Notice

E = TypeVar("E", bound=Event)

HASHER = SubjectHasher(b"k" * 32)


class Gateways:
    """Takes every snapshot at once, unless told to lag behind."""

    def __init__(self, clock: VirtualClock, names: Sequence[str] = ("g1", "g2")) -> None:
        self.published: list[Flags] = []
        self.lagging: set[str] = set()
        self._clock = clock
        self._held: dict[str, Flags] = {}
        self.names = names

    async def publish(self, flags: Flags) -> None:
        self.published.append(flags)

    def applied(self) -> Mapping[str, Applied]:
        newest = self.published[-1]
        for name in self.names:
            if name not in self.lagging:
                self._held[name] = newest
        return {
            name: Applied(name, held.version, held.limiter_epoch, self._clock.now())
            for name, held in self._held.items()
        }


class Phone:
    """The on-call person's."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.dead = False

    async def notify(self, notice: Notice) -> Delivery:
        if self.dead:
            return Delivery(False, "no answer", attempts=4)
        self.notices.append(notice)
        return Delivery(True, "rang")


class Disk(MemoryStore):
    """The store, on a disk that can fail: `broken` names what does (`append`, `ingest`, `flags`)."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(now)
        self.broken: set[str] = set()
        self.appends_left: int | None = None
        self.loses_answer = False

    def _check(self, what: str) -> None:
        if what in self.broken:
            raise StoreUnavailable("the disk is full; free some space")

    async def append(
        self, rollout: str, events: Sequence[AnyEvent], *, expected_version: int
    ) -> Sequence[Recorded]:
        self._check("append")
        if self.appends_left is not None:
            if self.appends_left == 0:
                raise StoreUnavailable("the process is about to die")
            self.appends_left -= 1
        records = await super().append(rollout, events, expected_version=expected_version)
        if self.loses_answer:
            self.loses_answer = False
            raise StoreUnavailable("the connection broke after the write")
        return records

    async def ingest(self, batch: Batch) -> Sequence[Seen] | None:
        self._check("ingest")
        return await super().ingest(batch)

    async def save_flags(self, flags: Flags) -> None:
        self._check("flags")
        await super().save_flags(flags)


class House:
    """One installation. `restart` is what a crash and a new process leave: the store, the files."""

    def __init__(self, folder: Path, playbook: Playbook, *, store: Any = None) -> None:
        self.folder = folder
        self.playbook = playbook
        self.clock = VirtualClock(T0)
        self.store = store or Disk(self.clock.now)
        self.environment = Bounds()
        self.flags_file = folder / "molt.env"
        self.audit = folder / "audit"
        self.audit.mkdir(parents=True)
        self.phone = Phone()
        self.gateways = Gateways(self.clock)
        self.rng = np.random.default_rng(3)
        self.heard: list[tuple[str, Recorded]] = []
        self._sequence = count(1)

    async def start(self) -> "House":
        """A new process on what is kept."""
        self.operator = OperatorFlags(self.environment, EnvFile(self.flags_file))
        self.controller = Controller(
            Stores(self.store, self.store, self.store),
            clock=self.clock,
            operator=self.operator,
            sink=self.gateways,
            notifier=self.phone,
            hash_subject=HASHER,
            ttl_seconds=600,
        )
        self.controller.writer.on_records(
            lambda r, records: self.heard.extend((r, x) for x in records)
        )
        await self.controller.start()
        procedure = Procedure(
            clock=self.clock,
            operator=self.operator,
            sink=self.gateways,
            notifier=self.phone,
            archive=AuditArchive(self.audit),
            incidents=self.folder / "incidents",
            publish=self.controller.writer.publish,
            clear_limits=self.controller.writer.clear_limits,
            gateways=len(self.gateways.names),
        )
        self.rollbacks = Rollbacks(self.controller, procedure)
        return self

    restart = start

    async def begin(self, rollout_id: str = "r1", playbook: Playbook | None = None) -> Rollout:
        """Start a rollout."""
        return await self.controller.begin(
            playbook or self.playbook, rollout_id=rollout_id, salts=("salt", "other"), by="eve"
        )

    # --- reading

    @property
    def desk(self) -> Desk:
        """The first rollout's desk."""
        return next(iter(self.controller.desks.values()))

    @property
    def rollout(self) -> Rollout:
        """The first rollout."""
        return self.desk.rollout

    @property
    def flags(self) -> Flags:
        """What gateways got last."""
        return self.gateways.published[-1]

    @property
    def share(self) -> int:
        """Buckets on the candidate, as gateways got it last; 0 while they are not to use it."""
        rollout = self.flags.rollouts[0]
        return rollout.share if rollout.enabled else 0

    def facts(self, kind: type[E]) -> list[E]:
        """All facts of one kind in the first rollout's log."""
        return [e for e in self.desk.events() if isinstance(e, kind)]

    # --- doing

    async def do(self, command: Callable[..., list[AnyEvent]], **more: Any) -> Rollout:
        """What `ann` asks for."""
        expected = more.pop("expected_version", None)
        rollout_id = more.pop("rollout", self.desk.id)
        return await self.controller.command(
            rollout_id,
            lambda scene: command(scene, **{"by": "ann", **more}),
            expected_version=expected,
        )

    def batch(self, gateway: str = "g1", **more: Any) -> Batch:
        """The next batch of a gateway."""
        now = self.clock.now()
        version = self.controller.writer.flags.version if self.controller.writer.flags else 0
        return Batch(gateway, next(self._sequence), now, version, **more)

    async def serve(
        self,
        length: timedelta,
        candidate: Load | None = None,
        control: Load | None = None,
        *,
        every: timedelta = timedelta(minutes=4),
        versions: dict[str, str] | None = None,
    ) -> None:
        """Let traffic come in for `length`, send it in one batch at its end, and tick."""
        rollout, rid = self.rollout, self.desk.id
        batch = self.batch(versions=versions or {})
        shadow = rollout.phase == "shadow"
        arms: dict[Arm, Load | None] = {CANDIDATE: candidate, CONTROL: control}
        for arm, load in arms.items():
            if load is not None:
                mode = SHADOW if shadow and arm == CANDIDATE else LIVE
                place = Place(rid, rollout.epoch, arm, mode)
                cuts = latency_cuts(rollout, self.desk.playbook)
                found = gather(
                    self.rng, place, load, self.clock.now(), length, cuts=cuts, every=every
                )
                batch.slots += found.slots
                batch.sums += found.sums
        if candidate and control and 0 < rollout.live_share < 100:
            n = int(control.requests * (length / HOUR) / 10)
            batch.seen = newcomers(self.rng, rid, rollout.epoch, rollout.live_share, n)
        await self.clock.advance(length.total_seconds())
        await self.controller.ingest(batch)
        await self.controller.tick()

    def violating_slot(self, rollout_id: str | None = None) -> Slot:
        """One forbidden tool call, now."""
        desk = self.controller.desks[rollout_id] if rollout_id else self.desk
        agent = desk.rollout.agents[0]
        start = int(self.clock.now().timestamp()) // 10 * 10
        key = SlotKey(desk.id, desk.rollout.epoch, agent, CANDIDATE, LIVE, start)
        return Slot(key, requests=1, violations=1)

    async def violate(self, rollout_id: str | None = None) -> None:
        """A gateway reports one forbidden tool call."""
        await self.controller.ingest(self.batch(slots=[self.violating_slot(rollout_id)]))

    def outcome(self, ident: str, subject: str, kind: str, **more: Any) -> Outcome:
        """An outcome that happened now."""
        return Outcome(ident, subject, kind, more.pop("at", self.clock.now()), **more)

    async def see(self, subject: str, arm: Arm = CANDIDATE) -> None:
        """A gateway reports a subject it had not seen before."""
        seen = Seen(self.desk.id, self.rollout.epoch, arm, HASHER(subject))
        await self.controller.ingest(self.batch(seen=[seen]))


def plain(value: Any) -> Any:
    """As JSON has it, to compare what two processes know."""
    return msgspec.to_builtins(value)


async def until(condition: Callable[[], Any], clock: VirtualClock) -> None:
    """Let virtual time pass until `condition` holds; fails when it never does.

    File work runs in threads, which virtual time does not wait for: hence a real deadline.
    """
    async with asyncio.timeout(20):
        while not condition():
            await clock.advance(0.1)
            await asyncio.sleep(0.001)
