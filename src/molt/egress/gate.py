"""The one gate that every tool call passes, whichever way it came: policy, budget, record.

A violation is reported, and the rollback written, before the caller hears of the denial.
"""

import time
from contextlib import AbstractContextManager
from typing import Final, NamedTuple

from molt.core.evidence import Call, Disposition
from molt.core.tool_calls import Decision, ToolCall, decide_call
from molt.egress.journal import Journal
from molt.egress.kept import kept
from molt.egress.ledger import LOST, Ledger
from molt.egress.runs import Caller, Callers
from molt.egress.violations import Violations

_DISPOSITIONS: Final[dict[str, Disposition]] = {
    "execute": "executed",
    "read": "read",
    "dry_run": "would_execute",
    "recorded": "read",
    "deny": "denied",
}


class Passage(NamedTuple):
    """A decided call on its way; `close` it with what became of it."""

    call: ToolCall
    caller: Caller
    decision: Decision
    via: str
    arguments: str
    began: float

    @property
    def to_record(self) -> bool:
        """Whether shadow runs may be answered with what this call reads."""
        policy = self.caller.policy
        wanted = policy is not None and policy.reads == "recorded"
        return wanted and self.decision.act == "read" and self.caller.standing == "live"


class Gate:
    """Decides calls and keeps the books."""

    def __init__(
        self, callers: Callers, ledger: Ledger, journal: Journal, violations: Violations
    ) -> None:
        self.callers = callers
        self._ledger = ledger
        self._journal = journal
        self._violations = violations

    async def admit(self, caller: Caller, call: ToolCall, via: str) -> Passage:
        """Decide on `call` to the server or route table `via`.

        What is admitted has been booked; what is denied is on record already.
        """
        flags = self.callers.flags
        decision = decide_call(
            call,
            standing=caller.standing,
            reason=caller.reason,
            policy=caller.policy,
            all_policies=(p for r in flags.rollouts for p in r.tools.values()) if flags else (),
        )
        if decision.act != "deny" and not self._book(caller):
            decision = self._over(caller)
        if decision.act == "execute" and self._journal.failed:
            text = "the audit log cannot be written, and what acts must be on record"
            decision = Decision("deny", "audit_failed", text)
        if caller.run is not None and (decision.act == "execute" or decision.why == "withdrawn"):
            self.callers.acts(caller.run)
        passage = Passage(call, caller, decision, via, kept(call.arguments), time.monotonic())
        if decision.violation and caller.run is not None:
            await self._violations.report(
                caller.run, call.tool, arguments=passage.arguments, detail=decision.reason
            )
        if decision.act == "deny":
            self.close(passage, 0)
        return passage

    def close(self, passage: Passage, status: int) -> None:
        """Put the call on record. `status` is the upstream's, 0 where it was not asked."""
        caller, decision = passage.caller, passage.decision
        run = caller.run
        self._journal.note(
            Call(
                id=self._journal.new_id(),
                at=self._journal.now(),
                kind="tool",
                name=passage.call.tool,
                disposition=_DISPOSITIONS[decision.act],
                rollout=run.rollout if run else None,
                run=run.id if run else None,
                agent=run.agent if run else None,
                mode=caller.mode,
                subject=run.subject if run else None,
                via=passage.via,
                arguments=passage.arguments,
                reason=decision.reason or None,
                status=status,
                latency_ms=round(1000 * (time.monotonic() - passage.began), 3),
                trace=caller.trace,
            )
        )

    def under_way(self, passage: Passage) -> AbstractContextManager[None]:
        """Count the call as one in flight. Once it has reached its tool it cannot be taken back: it
        ends by itself, and its answer says what was done."""
        return self.callers.watching(passage.caller.run, lambda reason: None)

    def _over(self, caller: Caller) -> Decision:
        if caller.run is not None and self._ledger.lost(caller.run.expires):
            return Decision("deny", "withdrawn", LOST)
        most = caller.limits.max_tool_calls_per_request
        text = f"this run may make {most} tool calls, and has made them"
        return Decision("deny", "over_limit", text)

    def _book(self, caller: Caller) -> bool:
        """Take one call from the run's budget; callers without a run have none to take from."""
        if caller.run is None:
            return True
        held = self._ledger.reserve_call(caller.run.id, caller.run.expires, caller.limits)
        if held is None:
            return False
        held.settle(1)
        return True
