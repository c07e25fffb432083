"""Who is calling, and what it may do now: the signed run token, read under the flags in force.

A run may **act** when its token says live and the flags still let its agent act: after a rollback,
a switch to shadow, a disabled agent, or when control has been silent for too long, no live run may,
from the moment at which the flags say so. A shadow run never acts. A run that may not even **ask**
(switched off, withdrawn, unwatched) gets no model either; one that had acted before, or tried to, may
still ask, to **finish** its answer: nobody else can give it to its user any more.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

import msgspec

from molt.core.evidence import LIVE, SHADOW, Mode
from molt.core.flags import Flags, Limits, RolloutFlags
from molt.core.policy import ToolPolicy
from molt.link.tokens import TRACEPARENT, InvalidToken, Run, verify

Standing = Literal["live", "shadow", "withdrawn", "unknown"]
"""`live` may act; `shadow` may ask and read, its writes are dry runs; `withdrawn` had been let in
and may no longer; `unknown` showed no valid token: it reads, and nothing else."""

DEFAULT_LIMITS: Final = Limits()


class Caller(msgspec.Struct, frozen=True):
    """Who is calling, as far as it could be proven. `reason` says why it may not act.

    `policy` is None where the playbook says nothing about this agent's tools. A withdrawn run that
    is `finishing` may read and use models, not act.
    """

    standing: Standing
    reason: str | None = None
    run: Run | None = None
    flags: RolloutFlags | None = None
    trace: str | None = None
    finishing: bool = False

    @property
    def mode(self) -> Mode | None:
        """The mode that its calls count as."""
        if self.run is None:
            return None
        return SHADOW if self.standing == "shadow" else self.run.mode

    @property
    def limits(self) -> Limits:
        """The limits of its run."""
        return self.flags.limits if self.flags else DEFAULT_LIMITS

    @property
    def policy(self) -> ToolPolicy | None:
        """What its agent may call."""
        if self.run is None or self.flags is None:
            return None
        return self.flags.tools.get(self.run.agent)

    def forbids(self, tool: str) -> bool:
        """Whether the policy forbids this agent the tool."""
        policy = self.policy
        return policy is not None and not policy.permits(tool)


class Callers:
    """Reads tokens under the flags in force; follows them as a `flag_stream.Decider`."""

    def __init__(
        self,
        key: bytes,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.flags: Flags | None = None
        self._key = key
        self._wall = wall
        self._monotonic = monotonic
        self._fresh_until = float("-inf")
        self._rollouts: dict[str, RolloutFlags] = {}
        self._revoked: dict[str, float] = {}
        self._acted: dict[str, float] = {}
        self._watched: dict[object, tuple[Run, Callable[[str], None]]] = {}

    # --- flags

    @property
    def version(self) -> int:
        """The version of the flags acted on; 0 for none."""
        return self.flags.version if self.flags else 0

    def apply(self, flags: Flags) -> None:
        """Go by `flags` from now on; whoever may no longer go on is told."""
        self.flags = flags
        self._rollouts = {rollout.rollout: rollout for rollout in flags.rollouts}
        self._tell()

    def heard(self, at: float) -> None:
        """Control was heard at `at`, monotonic seconds."""
        if self.flags is not None:
            self._fresh_until = at + self.flags.ttl_seconds

    # --- runs

    def identify(self, token: bytes | None, traceparent: bytes | None = None) -> Caller:
        """The caller who showed this `x-molt-run`."""
        trace = _trace(traceparent)
        if not token:
            return Caller("unknown", "no run token: send on x-molt-run as it came", trace=trace)
        try:
            run = verify(token, self._key, self._wall())
        except InvalidToken as error:
            return Caller("unknown", str(error), trace=trace)
        return self.standing_of(run, trace)

    def standing_of(self, run: Run, trace: str | None = None) -> Caller:
        """What `run` may do under the flags in force now."""
        flags = self._rollouts.get(run.rollout)
        reason = self._over(run) or self._switched_off(run, flags)
        if reason is not None:
            return Caller("withdrawn", reason, run, flags, trace, self._finishing(run, flags))
        if run.mode == LIVE:
            return Caller(LIVE, None, run, flags, trace)
        return Caller(SHADOW, "shadow", run, flags, trace)

    def revoke(self, run: Run) -> None:
        """Let this run do nothing more, whatever the flags say."""
        self._revoked[run.id] = run.expires
        self._tell()

    def acts(self, run: Run) -> None:
        """Remember that this run acts, or tried to when it was too late: it has told Molt before
        that it would, so control does not answer for it any more."""
        self._acted[run.id] = run.expires

    @contextmanager
    def watching(self, run: Run | None, withdrawn: Callable[[str], None]) -> Iterator[None]:
        """Call `withdrawn(reason)` when `run` may no longer go on, as long as the context lasts."""
        if run is None:
            yield
            return
        key = object()
        self._watched[key] = (run, withdrawn)
        try:
            yield
        finally:
            self._watched.pop(key, None)

    def in_flight(self) -> int:
        """How many live calls are under way."""
        return sum(run.mode == LIVE for run, _ in self._watched.values())

    def sweep(self) -> None:
        """Forget revoked runs whose tokens have expired; stop what has gone unwatched."""
        now = self._wall()
        for remembered in (self._revoked, self._acted):
            for run in [run for run, expires in remembered.items() if expires <= now]:
                del remembered[run]
        self._tell()

    def _over(self, run: Run) -> str | None:
        """Why `run` may do nothing at all now; None when that is for the flags to say."""
        if run.id in self._revoked:
            return "this run was ended by a violation"
        if self.flags is None:
            return "no flags from control yet"
        if self._monotonic() > self._fresh_until:
            return "control has been silent for too long"
        return None

    def _switched_off(self, run: Run, flags: RolloutFlags | None) -> str | None:
        """Why the flags let `run` not go on; None when they do."""
        if flags is None or not flags.enabled:
            return f"rollout {run.rollout} is switched off"
        if run.agent not in flags.agents or run.agent in flags.disabled_agents:
            return f"agent {run.agent} is switched off"
        if run.mode == LIVE and (flags.shadow or flags.share == 0):
            return f"rollout {run.rollout} is no longer live"
        return None

    def _finishing(self, run: Run, flags: RolloutFlags | None) -> bool:
        """Whether a run that the flags withdraw may give the answer that it has acted for."""
        may = flags is not None and not flags.cancel_in_flight
        return may and run.id in self._acted and self._over(run) is None

    def _tell(self) -> None:
        for run, withdrawn in list(self._watched.values()):
            caller = self.standing_of(run)
            if caller.standing == "withdrawn" and not caller.finishing:
                withdrawn(caller.reason or "")


def _trace(traceparent: bytes | None) -> str | None:
    match = TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return match[2].decode() if match else None
