"""The store in memory, for the simulator and for tests. It passes what the store on SQL passes."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from msgspec.structs import replace

from molt.adapters.sql.blobs import Sums, add_amounts, amounts_of, checked, no_sums
from molt.adapters.sql.records import (
    BrokenRecord,
    Log,
    Row,
    chained,
    conflict,
    first_broken,
)
from molt.adapters.sql.values import (
    BATCHES_KEPT,
    CALLS_KEPT,
    FORGET_EVERY,
    RUNS_KEPT,
    SILENT_GATEWAYS_KEPT,
    ApiToken,
    Session,
    folding,
    refuse_taken,
    stale_flags,
    utc_now,
    widened,
)
from molt.core.compare import score
from molt.core.errors import VersionConflict
from molt.core.events import AnyEvent, Recorded
from molt.core.evidence import Batch, BucketSums, Call, Head, Outcome, Seen, Slot, SlotKey, SumsKey
from molt.core.flags import Flags
from molt.core.pairs import ACTION_GRACE, REOPENS, Action, Outline, Pair
from molt.ports import Alert


class MemoryTokens:
    """API tokens. A name belongs to one live token at a time, since approvals go by names."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._tokens: list[ApiToken] = []

    async def add(self, token: ApiToken) -> None:
        """Keep `token`; raises `Refused` when its name or its hash is taken."""
        refuse_taken(token, self._tokens, self._now())
        self._tokens.append(token)

    async def find_by_hash(self, sha256: str) -> ApiToken | None:
        """The live token with this hash."""
        now = self._now()
        return next((t for t in self._tokens if t.sha256 == sha256 and t.live(now)), None)

    async def use(self, sha256: str, at: datetime) -> None:
        """Note when the token was last used."""
        used = (t for t in enumerate(self._tokens) if t[1].sha256 == sha256)
        for i, token in used:
            self._tokens[i] = replace(token, last_used_at=at)

    async def list(self) -> Sequence[ApiToken]:
        """All tokens, oldest first, with those that are over."""
        return sorted(self._tokens, key=lambda t: (t.created_at, t.name))

    async def revoke(self, name: str) -> bool:
        """End the token of that name now; False when there is no live one."""
        now = self._now()
        for i, token in enumerate(self._tokens):
            if token.name == name and token.live(now):
                self._tokens[i] = replace(token, revoked_at=now)
                return True
        return False


class MemorySessions:
    """People who are signed in to the console."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._sessions: dict[str, Session] = {}

    async def add(self, session: Session) -> None:
        """Keep `session`, and forget those that are over."""
        self._sessions = {s.sha256: s for s in await self.list()} | {session.sha256: session}

    async def find_by_hash(self, sha256: str) -> Session | None:
        """The session with this hash that has not expired."""
        session = self._sessions.get(sha256)
        return session if session and self._now() < session.expires_at else None

    async def see(self, sha256: str, at: datetime) -> None:
        """Note when the session was last used."""
        if session := self._sessions.get(sha256):
            self._sessions[sha256] = replace(session, seen_at=at)

    async def list(self) -> Sequence[Session]:
        """All sessions that have not expired, oldest first."""
        live = [s for s in self._sessions.values() if self._now() < s.expires_at]
        return sorted(live, key=lambda s: (s.created_at, s.name))

    async def end(self, sha256: str) -> bool:
        """End one session now; False when there is none."""
        return self._sessions.pop(sha256, None) is not None

    async def end_all(self, name: str) -> int:
        """End every session of this person now; how many there were."""
        theirs = [s.sha256 for s in self._sessions.values() if s.name == name]
        for sha256 in theirs:
            del self._sessions[sha256]
        return len(theirs)


class _Events:
    """One append-only, hash-chained log per rollout."""

    def __init__(self) -> None:
        self._records: dict[str, list[Recorded]] = {}
        self._rows: dict[str, list[Row]] = {}

    async def rollouts(self) -> Sequence[str]:
        """The ids of all rollouts, oldest first."""
        return sorted(self._records, key=lambda r: (self._records[r][0].event.at, r))

    async def load(self, rollout: str, after: int = 0) -> Sequence[Recorded]:
        """The records of one log with `seq > after`, in order; empty when there is none."""
        return self._records.get(rollout, [])[after:]

    async def append(
        self, rollout: str, events: Sequence[AnyEvent], *, expected_version: int
    ) -> Sequence[Recorded]:
        """Add all `events` behind record `expected_version`, or raise `VersionConflict`."""
        log, rows = self._log(rollout), self._rows.get(rollout, [])
        if log.version != expected_version:
            raise conflict(rollout, log.version, expected_version, rows[expected_version:])
        new = chained(log, events)
        records = [Recorded(row.seq, e, row.hash) for row, e in zip(new, events, strict=True)]
        if records:
            self._rows.setdefault(rollout, []).extend(new)
            self._records.setdefault(rollout, []).extend(records)
        return records

    async def verify_events(self) -> BrokenRecord | None:
        """The first record that was changed behind Molt's back; None when every log is whole."""
        broken = (first_broken(r, rows, self._log(r)) for r, rows in self._rows.items())
        return next((found for found in broken if found), None)

    def _log(self, rollout: str) -> Log:
        rows = self._rows.get(rollout)
        return Log(rows[-1].seq, rows[-1].hash) if rows else Log()


class _Evidence:
    """Slots, bucket sums, outcomes and seen subjects; merging is addition."""

    _now: Callable[[], datetime]
    _runs: dict[str, tuple[bool, list[tuple[str, str]], datetime]]

    def __init__(self, *, measurements: bool = True) -> None:
        self._keeps_measurements = measurements
        self._batches: dict[str, dict[int, datetime]] = {}
        self._slots: dict[SlotKey, Slot] = {}
        self._spans: dict[SlotKey, int] = {}
        self._sums: dict[SumsKey, dict[str, Sums]] = {}
        self._outcomes: dict[tuple[str, str], Outcome] = {}
        self._seen: dict[tuple[str, str], Seen] = {}
        self._calls: dict[str, Call] = {}

    async def ingest(self, batch: Batch) -> Sequence[Seen] | None:
        """Fold `batch` in; None when this (gateway, sequence) was known."""
        numbers = self._batches.setdefault(batch.gateway, {})
        oldest = max(numbers, default=batch.sequence) - BATCHES_KEPT
        if batch.sequence in numbers or batch.sequence <= oldest:
            return None
        for one in batch.sums:
            for amounts in one.columns.values():
                if isinstance(amounts, dict):
                    checked(amounts)
        numbers[batch.sequence] = self._now()
        if batch.sequence % FORGET_EVERY == 0:
            for number in [n for n in numbers if n <= oldest]:
                del numbers[number]
        for slot in batch.slots:
            self._add_slot(slot)
        for sums in batch.sums:
            self._add_sums(sums)
        for call in batch.calls:
            self._calls.setdefault(call.id, call)
        new: dict[tuple[str, str], Seen] = {}
        for one in batch.seen:
            place = (one.rollout, one.subject)
            if place not in self._seen:
                new[place] = self._seen[place] = one
        return list(new.values())

    def _add_slot(self, slot: Slot, span: int = 0) -> None:
        if not self._keeps_measurements:
            return
        known = self._slots.get(slot.key)
        if known is None:
            self._slots[slot.key] = _copy(slot)
        else:
            known.merge(slot)
        if span:
            self._spans[slot.key] = span

    def _add_sums(self, sums: BucketSums) -> None:
        if not self._keeps_measurements:
            return
        columns = self._sums.setdefault(sums.key, {})
        for name, amounts in sums.columns.items():
            add_amounts(columns.setdefault(name, no_sums()), amounts)

    async def add_outcomes(
        self, rollout: str, outcomes: Sequence[Outcome], sums: Sequence[BucketSums]
    ) -> None:
        """Keep `outcomes` and fold the `sums` made from them; see the store on SQL for repeats."""
        rows = {(rollout, o.id): o for o in outcomes}
        known = rows.keys() & self._outcomes.keys()
        if rows and len(known) == len(rows):
            return
        if known:
            raise VersionConflict(f"{len(known)} of {len(rows)} outcomes were kept in the meantime")
        self._outcomes.update(rows)
        for one in sums:
            self._add_sums(one)

    async def known_outcomes(self, rollout: str, ids: Sequence[str]) -> set[str]:
        """Which of `ids` have been kept already."""
        return {i for i in ids if (rollout, i) in self._outcomes}

    async def known_subjects(self, rollout: str, subjects: Sequence[str]) -> set[str]:
        """Which of these subject hashes have been seen."""
        return {s for s in subjects if (rollout, s) in self._seen}

    async def slots(self, rollout: str, since: int = 0, until: int | None = None) -> Sequence[Slot]:
        """Slots of one rollout with `since <= start < until` (unix seconds), in order of start."""
        last = math.inf if until is None else until
        keys = [k for k in self._slots if k.rollout == rollout and since <= k.start < last]
        keys.sort(key=lambda k: (k.start, k.epoch, k.agent, k.arm, k.mode))
        return [_copy(self._slots[key]) for key in keys]

    async def sums(self, rollout: str) -> Sequence[BucketSums]:
        """All bucket sums of one rollout; buckets whose sum is zero are left out."""
        return [
            BucketSums(key, {name: amounts_of(sums) for name, sums in sorted(columns.items())})
            for key, columns in sorted(self._sums.items())
            if key.rollout == rollout and columns
        ]

    async def new_subjects(self, rollout: str) -> Mapping[int, tuple[int, int]]:
        """Per epoch, how many subjects were first seen on (candidate, control)."""
        counts: dict[int, tuple[int, int]] = {}
        for one in self._seen.values():
            if one.rollout == rollout:
                candidate, control = counts.get(one.epoch, (0, 0))
                here = one.arm == "candidate"
                counts[one.epoch] = (candidate + here, control + (not here))
        return counts

    async def outcomes(
        self, rollout: str, since: datetime, kinds: Sequence[str] | None = None
    ) -> Sequence[Outcome]:
        """Outcomes of one rollout that happened at `since` or later, in order of time."""
        found = (o for (r, _), o in self._outcomes.items() if r == rollout and o.at >= since)
        wanted = (o for o in found if kinds is None or o.kind in kinds)
        return sorted(wanted, key=lambda o: (o.at, o.id))

    async def calls_of(self, run: str) -> Sequence[Call]:
        """What `run` did, in order of time."""
        return self._sorted_calls(lambda c: c.run == run)

    async def calls(
        self, rollout: str, since: datetime, until: datetime, at_most: int = 1000
    ) -> Sequence[Call]:
        """The calls of one rollout with `since <= at < until`, in order of time, the last `at_most`."""
        found = self._sorted_calls(lambda c: c.rollout == rollout and since <= c.at < until)
        return found[-at_most:]

    def _sorted_calls(self, wanted: Callable[[Call], bool]) -> list[Call]:
        return sorted(filter(wanted, self._calls.values()), key=lambda c: (c.at, c.id))

    async def fold(self, now: datetime) -> None:
        """Merge slots older than a day to minutes, older than two weeks to hours; forget runs and
        silent gateways."""
        for span, before in folding(now):
            narrow = [k for k in self._slots if k.start < before and self._spans.get(k, 0) < span]
            for slot in [self._slots.pop(key) for key in narrow]:
                self._spans.pop(slot.key, None)
                self._add_slot(widened(slot, span), span)
        for gateway, numbers in list(self._batches.items()):
            if max(numbers.values()) < now - SILENT_GATEWAYS_KEPT:
                del self._batches[gateway]
        for run, (_, _, at) in list(self._runs.items()):
            if at < now - RUNS_KEPT:
                del self._runs[run]
        self._calls = {i: c for i, c in self._calls.items() if c.at >= now - CALLS_KEPT}


class _Pairs:
    """Pairs of answers, actions of control, and first sightings."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, str], Pair] = {}
        self._due: set[tuple[str, str]] = set()
        self._actions: dict[tuple[str, str], Action] = {}
        self._sighted: set[tuple[str, str]] = set()

    def _add_sums(self, sums: BucketSums) -> None:
        raise NotImplementedError

    async def add_pairs(self, pairs: Sequence[Pair]) -> None:
        """Keep `pairs`, still to be compared; those whose id is known stay as they are."""
        for pair in pairs:
            place = (pair.rollout, pair.id)
            if place not in self._pairs:
                self._pairs[place] = pair
                self._due.add(place)

    async def due_pairs(self, rollout: str, before: datetime, at_most: int) -> Sequence[Pair]:
        """Pairs from before that time that are still to be compared, the oldest first."""
        due = [self._pairs[p] for p in self._due if p[0] == rollout]
        found = sorted((p for p in due if p.at < before), key=lambda p: (p.at, p.id))
        return found[:at_most]

    async def settle_pairs(self, pairs: Sequence[Pair], sums: Sequence[BucketSums]) -> None:
        """Keep `pairs` as they are now, compared, and fold `sums`."""
        for pair in pairs:
            place = (pair.rollout, pair.id)
            if place in self._pairs:
                self._pairs[place] = pair
                (self._due.add if pair.differences is None else self._due.discard)(place)
        for one in sums:
            self._add_sums(one)

    async def outlines(self, rollout: str) -> Sequence[Outline]:
        """All pairs kept of a rollout, in brief, the newest first."""
        mine = [p for (r, _), p in self._pairs.items() if r == rollout]
        mine.sort(key=lambda p: (p.at, p.id), reverse=True)
        return [
            Outline(
                p.id,
                p.agent,
                p.at,
                None if p.differences is None else tuple(sorted(p.kinds)),
                score(p.differences or ()),
            )
            for p in mine
        ]

    async def pairs(self, rollout: str, ids: Sequence[str]) -> Sequence[Pair]:
        """Those of `ids` that are kept, in the order of `ids`."""
        return [self._pairs[rollout, i] for i in ids if (rollout, i) in self._pairs]

    async def add_actions(self, rollout: str, actions: Sequence[Action]) -> int:
        """Keep actions, each once; how many were new. The pairs that they may belong to are due again."""
        new = {a.id: a for a in actions if (rollout, a.id) not in self._actions}
        for action in new.values():
            self._actions[rollout, action.id] = action
            self._due |= {
                place
                for place, p in self._pairs.items()
                if place[0] == rollout and _may_belong(action, p)
            }
        return len(new)

    async def actions_of(self, pairs: Sequence[Pair]) -> Sequence[Action]:
        """The actions that may belong to one of `pairs`, all of one rollout, in order."""
        mine = [a for (r, _), a in self._actions.items() if pairs and r == pairs[0].rollout]
        found = (a for a in mine if any(pair.owns(a) for pair in pairs))
        return sorted(found, key=lambda a: (a.at, a.id))

    async def forget_pairs(self, rollout: str, before: datetime, keep: int) -> None:
        """Drop pairs and actions from before that time, and all but the newest `keep` pairs."""
        newest = await self.outlines(rollout)
        oldest = max(before, newest[keep - 1].at) if len(newest) >= keep else before
        for one in newest:
            if one.at < oldest:
                del self._pairs[rollout, one.id]
                self._due.discard((rollout, one.id))
        for place, action in list(self._actions.items()):
            if place[0] == rollout and action.at < before:
                del self._actions[place]

    async def sight(self, rollout: str, names: Sequence[str], at: datetime) -> Sequence[str]:
        """Note that `names` were seen; those that never had been."""
        new = [n for n in dict.fromkeys(names) if (rollout, n) not in self._sighted]
        self._sighted |= {(rollout, n) for n in new}
        return new


def _may_belong(action: Action, pair: Pair) -> bool:
    if action.trace is not None:
        return action.trace == pair.trace
    near = action.at - REOPENS <= pair.at <= action.at + ACTION_GRACE
    return action.subject is not None and action.subject == pair.subject and near


class MemoryStore(_Events, _Evidence, _Pairs):
    """Events, evidence, flags, heads, runs, pairs and settings; `tokens` and `sessions` beside
    them."""

    def __init__(self, now: Callable[[], datetime] = utc_now, *, measurements: bool = True) -> None:
        """Without `measurements`, slots and bucket sums are not kept: for who never loads them."""
        _Events.__init__(self)
        _Evidence.__init__(self, measurements=measurements)
        _Pairs.__init__(self)
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


def _copy(slot: Slot) -> Slot:
    """Its own counters; tallies never change."""
    return replace(
        slot, over=dict(slot.over), statuses=dict(slot.statuses), latency=dict(slot.latency)
    )
