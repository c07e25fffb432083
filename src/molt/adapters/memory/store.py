"""The store in memory, put together."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from molt.adapters.memory.event_log import MemoryEvents
from molt.adapters.memory.evidence import MemoryEvidence
from molt.adapters.memory.pairs import MemoryPairs
from molt.adapters.memory.people import MemorySessions, MemoryTokens
from molt.adapters.sql.values import (
    stale_flags,
    utc_now,
)
from molt.core.evidence import Head
from molt.core.flags import Flags
from molt.ports import Alert


class MemoryStore(MemoryEvents, MemoryEvidence, MemoryPairs):
    """Events, evidence, flags, heads, runs, pairs and settings; `tokens` and `sessions` beside
    them."""

    def __init__(self, now: Callable[[], datetime] = utc_now, *, measurements: bool = True) -> None:
        """Without `measurements`, slots and bucket sums are not kept: for who never loads them."""
        MemoryEvents.__init__(self)
        MemoryEvidence.__init__(self, measurements=measurements)
        MemoryPairs.__init__(self)
        self._now = now
        self._flags: Flags | None = None
        self._heads: dict[str, Head] = {}
        self._settings: dict[str, str] = {}
        self._runs = {}
        self._kept_alerts: dict[str, Alert] = {}
        self.tokens = MemoryTokens(now)
        self.sessions = MemorySessions(now)

    async def load_flags(self) -> Flags | None:
        """The last snapshot published."""
        return self._flags

    async def save_flags(self, flags: Flags) -> None:
        """Keep `flags`, or raise `VersionConflict` unless its version is higher than the kept one."""
        if self._flags is not None and flags.version <= self._flags.version:
            raise stale_flags(self._flags.version, flags)
        self._flags = flags

    async def save_heads(self, heads: Sequence[Head]) -> None:
        """Keep each head that is further than the kept one."""
        for head in heads:
            kept = self._heads.get(head.writer)
            if kept is None or head.seq > kept.seq:
                self._heads[head.writer] = head

    async def heads(self) -> Mapping[str, Head]:
        """The kept heads by writer."""
        return dict(self._heads)

    async def save_alert(self, alert: Alert) -> None:
        """Keep `alert`, replacing the one with its id."""
        self._kept_alerts[alert.id] = alert

    async def alerts(self, limit: int) -> Sequence[Alert]:
        """The latest, newest first."""
        found = sorted(self._kept_alerts.values(), key=lambda a: a.id)
        return sorted(found, key=lambda a: a.last_at, reverse=True)[:limit]

    async def setting(self, key: str) -> str | None:
        """The value of a setting; None when it was never set."""
        return self._settings.get(key)

    async def set_setting(self, key: str, value: str) -> None:
        """Keep a setting, replacing its value."""
        self._settings[key] = value

    async def report_call(self, run: str, tool: str, arguments: str, at: datetime) -> bool:
        """Note that `run` is about to call `tool`; False when the run is closed: it must not act."""
        closed, calls, _ = self._runs.get(run, (False, [], at))
        if not closed:
            self._runs[run] = (False, [*calls, (tool, arguments)], at)
        return not closed

    async def told_of(self, runs: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
        """The tool calls known of those of `runs`: as the egress recorded them, else as reported."""
        found = {run: list(self._runs[run][1]) for run in runs if run in self._runs}
        for run in runs:
            made = [c for c in await self.calls_of(run) if c.kind == "tool"]
            if made:
                found[run] = [(c.name, c.arguments or "{}") for c in made]
        return found

    async def close_run(self, run: str, at: datetime) -> list[str]:
        """Close `run` to further calls; the tools it reported so far, in order."""
        _, calls, _ = self._runs.get(run, (False, [], at))
        self._runs[run] = (True, calls, at)
        return [tool for tool, _ in calls]
