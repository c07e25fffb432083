"""Append, then act: facts go to the log, and flags, listeners and notices follow from what it has.

A rollback that cannot be written takes traffic back all the same; it is owed until it is on record.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import structlog

from molt.control.desk import Desk
from molt.control.notices import notice_of
from molt.control.operator_flags import OperatorFlags
from molt.control.publisher import Publisher
from molt.core.decide import fire
from molt.core.errors import StoreUnavailable, VersionConflict
from molt.core.events import AnyEvent, Recorded, RolledBack, Ruling
from molt.core.flags import Flags
from molt.core.rollout import WATCHED
from molt.core.triggers import TriggerRuling
from molt.ports import Clock, EventStore, Notice, Notifier

log = structlog.get_logger(__name__)

Listener = Callable[[str, Sequence[Recorded]], None]


class Writer:
    """The only one that appends to the logs of `desks`. `problem` says why the store takes no writes.

    Its caller sees to it that one writes at a time.
    """

    def __init__(
        self,
        events: EventStore,
        publisher: Publisher,
        notifier: Notifier,
        clock: Clock,
        operator: OperatorFlags,
        desks: Mapping[str, Desk],
    ) -> None:
        self.problem: str | None = None
        self.publisher = publisher
        self._events = events
        self._notifier = notifier
        self._clock = clock
        self._operator = operator
        self._desks = desks
        self._owed: dict[str, Sequence[AnyEvent]] = {}
        self._unwatched = False
        self._failing_since: float | None = None
        self._listeners: list[Listener] = []
        self._background: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Go on from the kept snapshot, and publish."""
        await self.publisher.load()
        await self.publish()

    async def close(self) -> None:
        """Stop delivering."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    @property
    def flags(self) -> Flags | None:
        """The last snapshot."""
        return self.publisher.flags

    def on_records(self, listener: Listener) -> None:
        """Call `listener(rollout, records)` after every append."""
        self._listeners.append(listener)

    # --- the log

    async def settle(self, desk: Desk) -> None:
        """Write the rollback that is still owed, if there is one."""
        if desk.id in self._owed:
            await self.write(desk, self._owed[desk.id])

    async def begun(self, desk: Desk, records: Sequence[Recorded]) -> None:
        """A rollout has begun with `records`."""
        await self.publish()
        for listener in self._listeners:
            listener(desk.id, records)

    async def write(self, desk: Desk, events: Sequence[AnyEvent]) -> None:
        """Append, or fail safe: a rollback that cannot be written takes traffic back all the same,
        and is written as soon as that is possible. Raises what `append` raises."""
        try:
            await self.append(desk, events)
        except VersionConflict:
            await self._catch_up(desk)
            raise
        except StoreUnavailable as error:
            self.problem = str(error)
            if any(isinstance(e, RolledBack) for e in events):
                await self._owe(desk, events, error)
            raise

    async def _owe(self, desk: Desk, events: Sequence[AnyEvent], error: StoreUnavailable) -> None:
        if desk.id not in self._owed:
            log.error("taken_back_unrecorded", rollout=desk.id, error=str(error))
            self._owed[desk.id] = events
            await self.publish()

    async def owe_rollback(self, desk: Desk, error: StoreUnavailable) -> None:
        """A violation that cannot even be kept is answered by its trigger's rollback."""
        actions = [t.action for t in desk.playbook.triggers if t.kind == "violation"]
        if "roll_back" in actions and desk.rollout.phase in WATCHED:
            ruling = Ruling("violation", "fail", f"a security violation; not kept: {error}")
            fired = TriggerRuling(ruling, "roll_back", {})
            await self._owe(desk, fire(desk.scene(self._clock.now()), fired, None), error)

    async def _catch_up(self, desk: Desk) -> None:
        """Take in what stands in the log and not here: another's append, or a write of our own
        whose answer was lost."""
        records = await self._events.load(desk.id, desk.rollout.version)
        await self._take_in(desk, records)

    async def append(self, desk: Desk, events: Sequence[AnyEvent], *, publish: bool = True) -> None:
        """Append before acting: all else follows from what is on record."""
        records = await self._events.append(desk.id, events, expected_version=desk.rollout.version)
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

    async def judge_store(self, problem: str | None) -> None:
        """Keep the alarm until a write succeeds.

        Nobody can watch an agent for long without a store: after the flags' time to live it gets
        no traffic.
        """
        if problem is None and (self.problem or self.publisher.problem):
            await self.publisher.keep_again()
            problem = self.publisher.problem
        self.problem = problem
        if problem is None:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = self._clock.monotonic()
        unwatched = (
            self._failing_since is not None
            and self._clock.monotonic() - self._failing_since > self.publisher.ttl_seconds
        )
        if unwatched != self._unwatched:
            log.error("store_away_too_long" if unwatched else "store_is_back", problem=problem)
            self._unwatched = unwatched
            await self.publish()

    # --- what follows

    async def publish(self) -> Flags:
        """Derive the snapshot; when it differs, hand it to the gateways and keep it."""
        desks = self._desks.values()
        return await self.publisher.publish(
            [(desk.rollout, desk.playbook) for desk in desks],
            self._operator.bounds,
            [d.id for d in desks] if self._unwatched else self._owed.keys(),
        )

    async def clear_limits(self) -> Flags:
        """Make gateways forget all rate-limiter state."""
        await self.publish()
        return await self.publisher.clear_limits()

    async def _deliver(self, notice: Notice) -> None:
        delivery = await self._notifier.notify(notice)
        if not delivery.delivered:
            log.warning("notice_undelivered", title=notice.title, detail=delivery.detail)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
