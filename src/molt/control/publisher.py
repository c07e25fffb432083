"""The flags snapshot: handed to the gateways at once, and kept as soon as the store can."""

from collections.abc import Collection, Iterable

import msgspec
import structlog

from molt.core.errors import StoreUnavailable, VersionConflict
from molt.core.flags import Bounds, Flags
from molt.core.playbook import Playbook
from molt.core.rollout import Rollout
from molt.core.snapshot import snapshot
from molt.ports import Clock, FlagSink, FlagStore

log = structlog.get_logger(__name__)


class Publisher:
    """Holds the last snapshot. `problem` says why it could not be kept; None when it was."""

    def __init__(self, store: FlagStore, sink: FlagSink, clock: Clock, ttl_seconds: float) -> None:
        self.flags: Flags | None = None
        self.problem: str | None = None
        self._store = store
        self._sink = sink
        self._clock = clock
        self.ttl_seconds = ttl_seconds

    async def load(self) -> None:
        """Go on from the kept snapshot."""
        self.flags = await self._store.load_flags()

    async def publish(
        self,
        rollouts: Iterable[tuple[Rollout, Playbook]],
        bounds: Bounds,
        disabled: Collection[str],
    ) -> Flags:
        """Derive the snapshot; when it differs from the last one, it goes out."""
        before = self.flags
        made = snapshot(
            before.version + 1 if before else 1,
            self._clock.now(),
            rollouts,
            bounds,
            limiter_epoch=before.limiter_epoch if before else 0,
            ttl_seconds=self.ttl_seconds,
            disabled=disabled,
        )
        if before and _same(made, before):
            return before
        return await self._send(made)

    async def clear_limits(self) -> Flags:
        """Make gateways forget all rate-limiter state."""
        flags = self._present()
        return await self._send(
            msgspec.structs.replace(
                flags, version=flags.version + 1, limiter_epoch=flags.limiter_epoch + 1
            )
        )

    async def overtake(self, applied: int) -> None:
        """Raise the version above what a gateway acts on, if that is further than ours.

        A snapshot that was sent but could not be kept before a crash leaves gateways ahead; they
        would ignore everything up to their version.
        """
        if self.flags is not None and applied > self.flags.version:
            log.warning("gateway_ahead", applied=applied, version=self.flags.version)
            await self._send(msgspec.structs.replace(self.flags, version=applied + 1))

    async def keep_again(self) -> None:
        """After a failure, write a next version: what was not kept is, and the store is proven."""
        made = msgspec.structs.replace(self._present(), version=self._present().version + 1)
        await self._keep(made)
        if self.problem is None:
            self.flags = made
            await self._sink.publish(made)

    async def _send(self, made: Flags) -> Flags:
        """Gateways first: a store that cannot keep the snapshot must not delay a rollback."""
        self.flags = made
        await self._sink.publish(made)
        await self._keep(made)
        return made

    async def _keep(self, made: Flags) -> None:
        try:
            await self._store.save_flags(made)
            self.problem = None
        except (StoreUnavailable, VersionConflict) as error:
            self.problem = str(error)
            log.error("flags_not_kept", version=made.version, error=str(error))

    def _present(self) -> Flags:
        assert self.flags is not None, "the controller publishes when it starts"
        return self.flags


def _same(a: Flags, b: Flags) -> bool:
    return (
        a.rollouts == b.rollouts
        and a.limiter_epoch == b.limiter_epoch
        and a.ttl_seconds == b.ttl_seconds
    )
