"""Every call goes on record: into the audit log, and to control for those who look at runs."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from molt.core.assignment import CANDIDATE
from molt.core.evidence import LIVE, Call, Slot, SlotKey
from molt.core.flags import RolloutFlags
from molt.link.batches import Draft
from molt.ports import AuditSink

log = structlog.get_logger(__name__)


class Journal:
    """Keeps calls. While the audit log cannot be written, `failed` says so: deny what acts."""

    def __init__(self, audit: AuditSink, draft: Draft, now: Callable[[], datetime] | None = None):
        self.failed = False
        self._audit = audit
        self._draft = draft
        self._now = now or (lambda: datetime.now(UTC))
        self._prefix = secrets.token_hex(6)
        self._count = 0

    def now(self) -> datetime:
        """The present instant, for records."""
        return self._now()

    def new_id(self) -> str:
        """An id for a call, unique for good."""
        self._count += 1
        return f"{self._prefix}{self._count:08x}"

    def note(self, call: Call, flags: RolloutFlags | None = None) -> None:
        """Keep one finished call. What it cost counts in its rollout, whose `flags` are in force."""
        self._audit.append(_record(call))
        self._draft.add_call(call)
        if call.cost and flags is not None:
            self._draft.add_slot(_metered(call, call.cost, flags, self._now()))

    def flush(self) -> None:
        """Write the audit log."""
        try:
            self._audit.flush()
        except OSError as error:
            if not self.failed:
                log.error("audit_failed", error=str(error))
            self.failed = True
        else:
            self.failed = False


def _metered(call: Call, usd: float, flags: RolloutFlags, now: datetime) -> Slot:
    unit = max(1, round(flags.slot_seconds))
    start = int(now.timestamp() // unit) * unit
    mode = call.mode or LIVE
    key = SlotKey(flags.rollout, flags.epoch, call.agent or "", CANDIDATE, mode, start)
    return Slot(key, metered=usd)


def _record(call: Call) -> dict[str, Any]:
    """The audit record of a call; fields that say nothing are left out."""
    said = {k: v for k, v in msgspec.structs.asdict(call).items() if v is not None}
    at: datetime = said.pop("at")
    name, kind = said.pop("name"), said.pop("kind")
    record = {
        "at": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z",
        "kind": f"{kind}_call",
        "arm": "candidate",
        **said,
    }
    if kind == "tool":
        record["tools"] = [name]
    else:
        record.setdefault("model", name)
    return record
