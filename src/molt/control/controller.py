"""The controller: load, decide, append, act. State is a fold over the log; actions are idempotent.

One lock guards each append, so that ticks, commands and ingest take turns; a request is never
delayed by any of it, because gateways only hold the last snapshot.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec
import structlog

from molt.control.desk import Desk
from molt.control.notices import notice_of
from molt.control.operator_flags import OperatorFlags
from molt.control.outcomes import Accepted, take_in
from molt.control.publisher import Publisher
from molt.control.teller import Teller
from molt.core import commands
from molt.core.decide import decide, enter, fire
from molt.core.errors import OperatorError, Refused, StoreUnavailable, VersionConflict
from molt.core.events import (
    AlarmCleared,
    AlarmRaised,
    AnyEvent,
    BoundsChanged,
    IncidentOpened,
    Recorded,
    Resumed,
    RolledBack,
    RolloutStarted,
    Ruling,
)
from molt.core.evidence import Batch, Outcome, Slot, SlotKey, Violation
from molt.core.flags import Flags
from molt.core.playbook import Playbook
from molt.core.prediction import Prediction
from molt.core.rollout import WATCHED, Phase, Rollout
from molt.core.scene import Scene
from molt.core.triggers import TriggerRuling
from molt.ports import (
    Clock,
    EventStore,
    EvidenceStore,
    FlagSink,
    FlagStore,
    Journal,
    Notice,
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


Listener = Callable[[str, Sequence[Recorded]], None]
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
        self.store_problem: str | None = None
        self.unknown_subjects = 0
        self.availability: float | None = None
        self._owed: dict[str, Sequence[AnyEvent]] = {}
        self._unwatched = False
        self._failing_since: float | None = None
        self._stores = stores
        self._publisher = Publisher(stores.flags, sink, clock, ttl_seconds)
        self._notifier = notifier
        self._hash_subject = hash_subject
        self._teller = Teller(journal)
        self._ttl = ttl_seconds
        self._lock = asyncio.Lock()
        self._listeners: list[Listener] = []
        self._batch_listeners: list[Callable[[Batch], None]] = []
        self._background: set[asyncio.Task[None]] = set()

    # --- life

    async def start(self) -> None:
        """Rebuild everything from the stores, publish the snapshot."""
        self.operator.refresh()
        for rollout_id in await self._stores.events.rollouts():
            self.desks[rollout_id] = await Desk.load(
                rollout_id, self._stores.events, self._stores.evidence, self.clock.now()
            )
            self._teller.follow(self.desks[rollout_id], restarted=True)
        await self._publisher.load()
        await self.publish()

    @property
    def flags(self) -> Flags | None:
        """The last snapshot."""
        return self._publisher.flags

    def on_records(self, listener: Listener) -> None:
        """Call `listener(rollout, records)` after every append."""
        self._listeners.append(listener)

    def on_batch(self, listener: Callable[[Batch], None]) -> None:
        """Call `listener` with every batch that is new."""
        self._batch_listeners.append(listener)

    async def close(self) -> None:
        """Stop what runs in the background; the log says where to go on."""
        for desk in self.desks.values():
            self._teller.tell(desk, self.clock.now())
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    # --- the loop

    async def tick(self) -> None:
        """Look at every rollout once. A store that fails stops the climb, nothing else."""
        async with self._lock:
            if self.operator.refresh():
                await self.publish()
            problem = None
            for desk in self.desks.values():
                try:
                    await self._step(desk)
                except StoreUnavailable as error:
                    problem = str(error)
                    log.error("store_unavailable", rollout=desk.id, error=problem)
            await self._judge_store(problem)

    async def _judge_store(self, problem: str | None) -> None:
        """Keep the alarm until a write succeeds.

        Nobody can watch an agent for long without a store: after the flags' time to live it gets
        no traffic.
        """
        if problem is None and (self.store_problem or self._publisher.problem):
            await self._publisher.keep_again()
            problem = self._publisher.problem
        self.store_problem = problem
        if problem is None:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = self.clock.monotonic()
        unwatched = (
            self._failing_since is not None
            and self.clock.monotonic() - self._failing_since > self._ttl
        )
        if unwatched != self._unwatched:
            log.error("store_away_too_long" if unwatched else "store_is_back", problem=problem)
            self._unwatched = unwatched
            await self.publish()

    async def _step(self, desk: Desk) -> None:
        """Decide once and write what follows; a rollback that is still owed comes first."""
        now = self.clock.now()
        desk.book.forget(now)
        owed = self._owed.get(desk.id)
        if owed is not None:
            await self._write(desk, owed)
        if changed := self._bounds_change(desk):
            await self._write(desk, changed)
        decided = decide(desk.scene(now), desk.quiet_until)
        self._teller.looked(desk, now, decided=len(decided))
        events = [*self._flag_alarm(desk), *decided]
        if not any(isinstance(e, IncidentOpened) for e in events):
            desk.quiet_until = now
        if events:
            try:
                await self._write(desk, events)
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

    # --- appending and acting

    async def _write(self, desk: Desk, events: Sequence[AnyEvent]) -> None:
        """Append, or fail safe: a rollback that cannot be written takes traffic back all the same,
        and is written as soon as that is possible. Raises what `_append` raises."""
        try:
            await self._append(desk, events)
        except VersionConflict:
            await self._catch_up(desk)
            raise
        except StoreUnavailable as error:
            self.store_problem = str(error)
            if any(isinstance(e, RolledBack) for e in events):
                await self._owe(desk, events, error)
            raise

    async def _owe(self, desk: Desk, events: Sequence[AnyEvent], error: StoreUnavailable) -> None:
        if desk.id not in self._owed:
            log.error("taken_back_unrecorded", rollout=desk.id, error=str(error))
            self._owed[desk.id] = events
            await self.publish()

    async def _owe_rollback(self, desk: Desk, error: StoreUnavailable) -> None:
        """A violation that cannot even be kept is answered by its trigger's rollback."""
        actions = [t.action for t in desk.playbook.triggers if t.kind == "violation"]
        if "roll_back" in actions and desk.rollout.phase in WATCHED:
            ruling = Ruling("violation", "fail", f"a security violation; not kept: {error}")
            fired = TriggerRuling(ruling, "roll_back", {})
            await self._owe(desk, fire(desk.scene(self.clock.now()), fired, None), error)

    async def _catch_up(self, desk: Desk) -> None:
        """Take in what stands in the log and not here: another's append, or a write of our own
        whose answer was lost."""
        records = await self._stores.events.load(desk.id, desk.rollout.version)
        await self._take_in(desk, records)

    async def _append(
        self, desk: Desk, events: Sequence[AnyEvent], *, publish: bool = True
    ) -> None:
        """Append before acting: all else follows from what is on record."""
        records = await self._stores.events.append(
            desk.id, events, expected_version=desk.rollout.version
        )
        await self._take_in(desk, records, publish=publish)

    async def _take_in(
        self, desk: Desk, records: Sequence[Recorded], *, publish: bool = True
    ) -> None:
        """Flags, listeners and notices of records."""
        desk.apply(records)
        if desk.rollout.phase not in WATCHED:
            self._owed.pop(desk.id, None)
        if publish:
            await self.publish()
        for listener in self._listeners:
            listener(desk.id, records)
        for notice in filter(None, (notice_of(desk, r.event) for r in records)):
            self._spawn(self._deliver(notice))

    async def record(self, desk: Desk, event: AnyEvent) -> None:
        """Append a fact that changes no traffic."""
        async with self._lock:
            await self._append(desk, [event], publish=False)

    async def publish(self) -> Flags:
        """Derive the snapshot; when it differs, hand it to the gateways and keep it."""
        desks = self.desks.values()
        return await self._publisher.publish(
            [(desk.rollout, desk.playbook) for desk in desks],
            self.operator.bounds,
            [d.id for d in desks] if self._unwatched else self._owed.keys(),
        )

    async def clear_limits(self) -> Flags:
        """Make gateways forget all rate-limiter state."""
        await self.publish()
        return await self._publisher.clear_limits()

    async def _deliver(self, notice: Notice) -> None:
        delivery = await self._notifier.notify(notice)
        if not delivery.delivered:
            log.warning("notice_undelivered", title=notice.title, detail=delivery.detail)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

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
            self._refuse_overlap(playbook, rollout_id)
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
            await self.publish()
            for listener in self._listeners:
                listener(rollout_id, records)
            return desk.rollout

    def _refuse_overlap(self, playbook: Playbook, rollout_id: str) -> None:
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
            if desk.id in self._owed:
                await self._write(desk, self._owed[desk.id])
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
            await self._write(desk, events)
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
        """The desk of that rollout; raises `OperatorError`."""
        try:
            return self.desks[rollout_id]
        except KeyError:
            known = ", ".join(self.desks) or "none; start one with: molt start"
            raise OperatorError(f"No rollout {rollout_id!r}; known: {known}") from None

    # --- evidence

    async def ingest(self, batch: Batch) -> bool:
        """Fold a gateway's batch in and decide at once; False when it was known already.

        A violation is answered only after the rollback it causes is written.
        """
        try:
            new = await self._stores.evidence.ingest(batch)
        except StoreUnavailable as error:
            for rollout_id in {v.rollout for v in batch.violations} & self.desks.keys():
                await self._owe_rollback(self.desks[rollout_id], error)
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
            await self._publisher.overtake(batch.applied)
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
        await self._write(desk, [commands.candidate_changed(desk.scene(now), version)])

    async def report_outcomes(self, rollout_id: str, outcomes: Sequence[Outcome]) -> Accepted:
        """Keep outcomes, each once by its id, attributed to the arm of its subject at its time."""
        desk, now = self.desk(rollout_id), self.clock.now()
        async with self._lock:
            accepted = await take_in(desk, outcomes, self._stores.evidence, self._hash_subject, now)
            self.unknown_subjects += accepted.unknown_subjects
            await self._step(desk)
        return accepted
