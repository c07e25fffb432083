"""The controller: load, decide, append, act. State is a fold over the log; actions are idempotent.

One lock guards each append, so that ticks, commands and ingest take turns; a request is never
delayed by any of it, because gateways only hold the last snapshot.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NamedTuple

import msgspec
import structlog

from molt.control.desk import Desk
from molt.control.operator_flags import OperatorFlags
from molt.control.outcomes import Accepted, take_in
from molt.control.publisher import Publisher
from molt.control.teller import Teller
from molt.control.writer import Writer
from molt.core import commands
from molt.core.decide import decide, enter
from molt.core.errors import NotFound, Refused, StoreUnavailable, VersionConflict
from molt.core.events import (
    AlarmCleared,
    AlarmRaised,
    AnyEvent,
    BoundsChanged,
    IncidentOpened,
    Resumed,
    RolloutStarted,
)
from molt.core.evidence import Batch, Outcome, Slot, SlotKey, Violation
from molt.core.playbook import Playbook
from molt.core.prediction import Prediction
from molt.core.rollout import Phase, Rollout
from molt.core.scene import Scene
from molt.ports import (
    Clock,
    EventStore,
    EvidenceStore,
    FlagSink,
    FlagStore,
    Journal,
    Notifier,
    Portion,
)

log = structlog.get_logger(__name__)

OLD_VERSION_SETTLES = timedelta(seconds=30)
"""A version known from before counts as a change back only when the newer one has gone silent."""


class Stores(NamedTuple):
    """Where everything is kept."""

    events: EventStore
    evidence: EvidenceStore
    flags: FlagStore


Command = Callable[[Scene], list[AnyEvent]]


class Controller:
    """All rollouts of one installation."""

    def __init__(
        self,
        stores: Stores,
        *,
        clock: Clock,
        operator: OperatorFlags,
        sink: FlagSink,
        notifier: Notifier,
        hash_subject: Callable[[str], str],
        ttl_seconds: float = 600.0,
        four_eyes: bool = True,
        journal: Journal | None = None,
    ) -> None:
        self.clock = clock
        self.operator = operator
        self.four_eyes = four_eyes
        self.desks: dict[str, Desk] = {}
        self.unknown_subjects = 0
        self.availability: float | None = None
        self._stores = stores
        publisher = Publisher(stores.flags, sink, clock, ttl_seconds)
        self.writer = Writer(stores.events, publisher, notifier, clock, operator, self.desks)
        self._hash_subject = hash_subject
        self._teller = Teller(journal)
        self._lock = asyncio.Lock()
        self._batch_listeners: list[Callable[[Batch], None]] = []

    # --- life

    async def start(self) -> None:
        """Rebuild everything from the stores, publish the snapshot."""
        self.operator.refresh()
        for rollout_id in await self._stores.events.rollouts():
            self.desks[rollout_id] = await Desk.load(
                rollout_id, self._stores.events, self._stores.evidence, self.clock.now()
            )
            self._teller.follow(self.desks[rollout_id], restarted=True)
        await self.writer.start()

    @property
    def store_problem(self) -> str | None:
        """Why the store takes no writes; None when it does."""
        return self.writer.problem

    def on_batch(self, listener: Callable[[Batch], None]) -> None:
        """Call `listener` with every batch that is new."""
        self._batch_listeners.append(listener)

    async def close(self) -> None:
        """Stop what runs in the background; the log says where to go on."""
        for desk in self.desks.values():
            self._teller.tell(desk, self.clock.now())
        await self.writer.close()

    # --- the loop

    async def tick(self) -> None:
        """Look at every rollout once. A store that fails stops the climb, nothing else."""
        async with self._lock:
            if self.operator.refresh():
                await self.writer.publish()
            problem = None
            for desk in self.desks.values():
                try:
                    await self._step(desk)
                except StoreUnavailable as error:
                    problem = str(error)
                    log.error("store_unavailable", rollout=desk.id, error=problem)
            await self.writer.judge_store(problem)

    async def _step(self, desk: Desk) -> None:
        """Decide once and write what follows; a rollback that is still owed comes first."""
        now = self.clock.now()
        desk.book.forget(now)
        await self.writer.settle(desk)
        if changed := self._bounds_change(desk):
            await self.writer.write(desk, changed)
        decided = decide(desk.scene(now), desk.quiet_until)
        self._teller.looked(desk, now, decided=len(decided))
        events = [*self._flag_alarm(desk), *decided]
        if not any(isinstance(e, IncidentOpened) for e in events):
            desk.quiet_until = now
        if events:
            try:
                await self.writer.write(desk, events)
            except VersionConflict as error:
                log.warning("decided_too_late", rollout=desk.id, error=str(error))

    def _bounds_change(self, desk: Desk) -> list[AnyEvent]:
        """What the operator allows now, when the log says otherwise."""
        if self.operator.bounds == desk.rollout.bounds or desk.rollout.phase is Phase.ABORTED:
            return []
        bounds = msgspec.to_builtins(self.operator.bounds)
        said = ", ".join(
            f"{name} {value}" for name, value in bounds.items() if value not in (None, {})
        )
        why = f"flags of the operator: {said or 'none'}"
        return [BoundsChanged(at=self.clock.now(), by="operator", reason=why, bounds=bounds)]

    def _flag_alarm(self, desk: Desk) -> list[AnyEvent]:
        problem, alarms = self.operator.problem, desk.rollout.alarms
        now = self.clock.now()
        if problem and alarms.get("flags_file") != problem:
            return [AlarmRaised(at=now, alarm="flags_file", text=problem)]
        if not problem and "flags_file" in alarms:
            return [AlarmCleared(at=now, alarm="flags_file")]
        return []

    async def record(self, desk: Desk, event: AnyEvent) -> None:
        """Append a fact that changes no traffic."""
        async with self._lock:
            await self.writer.append(desk, [event], publish=False)

    # --- commands

    async def begin(
        self,
        playbook: Playbook,
        *,
        rollout_id: str,
        salts: tuple[str, str],
        by: str,
        reason: str = "",
        waived: Sequence[str] = (),
        prediction: Prediction | None = None,
    ) -> Rollout:
        """Start a rollout of `playbook` in its first step. Raises `Refused`."""
        async with self._lock:
            self.refuse_overlap(playbook, rollout_id)
            now = self.clock.now()
            started = RolloutStarted(
                at=now,
                by=by,
                reason=reason,
                rollout=rollout_id,
                playbook=playbook.canonical(),
                playbook_hash=playbook.hash(),
                salt=salts[0],
                statistics_salt=salts[1],
                agents=tuple(playbook.agents),
                waived=tuple(waived),
                prediction=prediction,
            )
            new = Desk(Rollout(playbook=playbook.canonical()), [])
            first = enter(new.scene(now), playbook.phases[0], 0, by=by, reason="started")
            records = await self._stores.events.append(
                rollout_id, [started, first, *self._bounds_change(new)], expected_version=0
            )
            desk = Desk(Rollout(playbook=playbook.canonical()), [])
            desk.apply(records)
            self.desks[rollout_id] = desk
            self._teller.follow(desk)
            await self.writer.begun(desk, records)
            return desk.rollout

    def refuse_overlap(self, playbook: Playbook, rollout_id: str) -> None:
        """Raises `Refused` when a rollout of this id, or of one of the plan's agents, is there."""
        if rollout_id in self.desks:
            raise Refused(f"There is a rollout {rollout_id} already; choose another --id")
        for desk in self.desks.values():
            shared = set(playbook.agents) & set(desk.rollout.agents)
            if shared and desk.rollout.phase is not Phase.ABORTED:
                raise Refused(
                    f"Rollout {desk.id} ({desk.rollout.phase}) covers {', '.join(sorted(shared))} "
                    "already. Rollouts run side by side only when their agents differ; "
                    f"end it first: molt abort --rollout {desk.id}"
                )

    async def command(
        self, rollout_id: str, command: Command, *, expected_version: int | None = None
    ) -> Rollout:
        """Carry out what a person asked for. Raises `Refused`, or `VersionConflict` when the
        rollout has changed since the version that the person saw."""
        desk = self.desk(rollout_id)
        async with self._lock:
            await self.writer.settle(desk)
            if expected_version is not None and expected_version != desk.rollout.version:
                since = [type(r.event).__name__ for r in desk.records if r.seq > expected_version]
                raise VersionConflict(
                    f"The rollout has changed since version {expected_version}: "
                    f"{', '.join(since)}. Look again, then repeat the command"
                )
            scene = desk.scene(self.clock.now())._replace(four_eyes=self.four_eyes)
            events = command(scene)
            if any(isinstance(e, Resumed) for e in events):
                events = [*self._enable_again(desk), *events]
            await self.writer.write(desk, events)
            return desk.rollout

    def _enable_again(self, desk: Desk) -> list[AnyEvent]:
        """A person's resume takes back what the procedure switched off."""
        if desk.rollout.phase is not Phase.ROLLED_BACK:
            return []
        bounds = self.operator.file.read()
        if bounds.enabled is False:
            self.operator.set("MOLTBOT_ENABLED", "true")
        for agent in desk.rollout.agents:
            if bounds.agents.get(agent) is False and desk.playbook.agents[agent].enabled:
                self.operator.set(f"MOLTBOT_{agent.upper()}_ENABLED", "true")
        return self._bounds_change(desk)

    def desk(self, rollout_id: str) -> Desk:
        """The desk of that rollout; raises `NotFound`."""
        try:
            return self.desks[rollout_id]
        except KeyError:
            known = ", ".join(self.desks) or "none; start one with: molt start"
            raise NotFound(f"No rollout {rollout_id!r}; known: {known}") from None

    # --- evidence

    async def ingest(self, batch: Batch) -> bool:
        """Fold a gateway's batch in and decide at once; False when it was known already.

        A violation is answered only after the rollback it causes is written.
        """
        try:
            new = await self._stores.evidence.ingest(batch)
        except StoreUnavailable as error:
            for rollout_id in {v.rollout for v in batch.violations} & self.desks.keys():
                await self.writer.owe_rollback(self.desks[rollout_id], error)
            raise
        if new is None:
            return False
        for listener in self._batch_listeners:
            listener(batch)
        for desk in self.desks.values():
            desk.take(
                Portion(
                    slots=[s for s in batch.slots if s.key.rollout == desk.id],
                    sums=[s for s in batch.sums if s.key.rollout == desk.id],
                    seen=[s for s in new if s.rollout == desk.id],
                    violations=[v for v in batch.violations if v.rollout == desk.id],
                )
            )
        touched = {slot.key.rollout for slot in batch.slots} | set(batch.versions)
        async with self._lock:
            await self.writer.publisher.overtake(batch.applied)
            for rollout_id in touched & self.desks.keys():
                desk = self.desks[rollout_id]
                await self._see_version(desk, batch)
                await self._step(desk)
        return True

    async def report_violation(self, violation: Violation, once: str) -> bool:
        """Take in one violation that did not come from a gateway; `once` names it for good.

        Returns when the rollback that it causes is written; False when it was known already.
        """
        desk = self.desk(violation.rollout)
        length = desk.book.slot_seconds
        key = SlotKey(
            rollout=desk.id,
            epoch=desk.rollout.epoch,
            agent=violation.agent,
            arm=violation.arm,
            mode=violation.mode,
            start=int(violation.at.timestamp()) // length * length,
        )
        return await self.ingest(
            Batch(
                gateway=once,
                sequence=1,
                sent_at=violation.at,
                applied=0,
                slots=[Slot(key, violations=1)],
                violations=[violation],
            )
        )

    async def _see_version(self, desk: Desk, batch: Batch) -> None:
        """A version never seen before is a change at once; an older one when it alone is left."""
        version = batch.versions.get(desk.id)
        if version is None:
            return
        now, seen = self.clock.now(), desk.last_version_seen
        current = desk.rollout.candidate_version
        known = version in seen or version == current
        seen[version] = now
        if version == current or desk.rollout.phase in (Phase.ROLLED_BACK, Phase.ABORTED):
            return
        if known and current in seen and now - seen[current] < OLD_VERSION_SETTLES:
            return
        await self.writer.write(desk, [commands.candidate_changed(desk.scene(now), version)])

    async def report_outcomes(self, rollout_id: str, outcomes: Sequence[Outcome]) -> Accepted:
        """Keep outcomes, each once by its id, attributed to the arm of its subject at its time."""
        desk, now = self.desk(rollout_id), self.clock.now()
        async with self._lock:
            accepted = await take_in(desk, outcomes, self._stores.evidence, self._hash_subject, now)
            self.unknown_subjects += accepted.unknown_subjects
            await self._step(desk)
        return accepted
