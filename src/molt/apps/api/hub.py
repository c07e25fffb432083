"""Where flags and events go out: connected gateways, and listeners of the live stream."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec

from molt.core.events import Recorded
from molt.core.evidence import Batch
from molt.core.flags import Flags
from molt.ports import Applied, Clock

BEAT_SECONDS = 1.0
SILENT = timedelta(seconds=15)
"""A gateway not heard of for this long no longer counts for reading back."""

QUEUE = 256
"""Messages a slow stream listener may lag behind before the oldest are dropped."""


MOST_CALLS = 50
"""Calls of one batch that listeners are shown."""


class Message(NamedTuple):
    """Something for the live stream: its data, and the same as one server-sent event."""

    kind: str
    data: Any
    wire: bytes


class Hub:
    """Hands every snapshot to every gateway, and every event to every listener."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._flags: Flags | None = None
        self._gateways: dict[str, Applied] = {}
        self._changed = asyncio.Event()
        self._listeners: dict[asyncio.Queue[Message], Collection[str]] = {}

    # --- the FlagSink port

    async def publish(self, flags: Flags) -> None:
        """Wake every flag stream."""
        self._flags = flags
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def applied(self) -> Mapping[str, Applied]:
        """What each gateway that was heard of lately acts on."""
        oldest = self._clock.now() - SILENT
        return {name: a for name, a in self._gateways.items() if a.heard_at >= oldest}

    # --- gateways

    def heard(self, batch: Batch) -> None:
        """Note what a gateway says it acts on."""
        before = self._gateways.get(batch.gateway)
        last = {**(before.last_candidate if before else {}), **batch.last_candidate}
        self._gateways[batch.gateway] = Applied(
            gateway=batch.gateway,
            version=batch.applied,
            limiter_epoch=batch.limiter_epoch,
            heard_at=self._clock.now(),
            last_candidate=last,
            in_flight=batch.in_flight,
        )

    async def flag_lines(self) -> AsyncIterator[bytes]:
        """NDJSON for one gateway: the snapshot now and on every change, a beat every second."""
        sent = 0
        while True:
            changed = self._changed
            if self._flags is not None and self._flags.version > sent:
                sent = self._flags.version
                yield msgspec.json.encode({"flags": self._flags}) + b"\n"
            else:
                yield b'{"beat":%d}\n' % sent
            try:
                await asyncio.wait_for(changed.wait(), BEAT_SECONDS)
            except TimeoutError:
                continue

    # --- the live stream

    def records(self, rollout: str, records: Sequence[Recorded]) -> None:
        """Send appended events to every listener."""
        for record in records:
            event = msgspec.to_builtins(record.event)
            event.pop("playbook", None)
            self.send("event", {"rollout": rollout, "seq": record.seq, **event})

    def show(self, batch: Batch) -> None:
        """Send a gateway's sample of requests, and what runs did through the egress."""
        if batch.requests or batch.offered:
            sample = {"gateway": batch.gateway, "offered": batch.offered, "rows": batch.requests}
            self.send("requests", sample)
        if batch.calls:
            self.send("calls", {"rows": [msgspec.to_builtins(c) for c in batch.calls[:MOST_CALLS]]})

    def send(self, kind: str, data: Any) -> None:
        """Send one server-sent event to every listener; a slow one loses its oldest."""
        queues = [queue for queue, kinds in self._listeners.items() if not kinds or kind in kinds]
        if not queues:
            return
        wire = b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode(data))
        message = Message(kind, data, wire)
        for queue in queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(message)

    def wanted(self, kind: str) -> bool:
        """Whether anybody listens to this kind."""
        return any(not kinds or kind in kinds for kinds in self._listeners.values())

    @contextmanager
    def listening(self, kinds: Collection[str] = ()) -> Iterator[asyncio.Queue[Message]]:
        """A queue of messages of these kinds (default: all), as long as the context lasts."""
        queue: asyncio.Queue[Message] = asyncio.Queue(QUEUE)
        self._listeners[queue] = kinds
        try:
            yield queue
        finally:
            del self._listeners[queue]
