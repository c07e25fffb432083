"""Pairs of answers, actions of control, and first sightings."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from molt.adapters.sql import statements as q
from molt.adapters.sql.blobs import chunks
from molt.adapters.sql.bucket_sums import add_sums
from molt.adapters.sql.database import Database, settled
from molt.core.compare import score
from molt.core.evidence import BucketSums
from molt.core.pairs import ACTION_GRACE, REOPENS, Action, Outline, Pair

IDS_AT_ONCE = 500

_pairs = msgspec.json.Decoder(Pair)


class Pairs:
    """What shadow comparison keeps. Its text is redacted before it comes here."""

    _db: Database

    @settled
    async def add_pairs(self, pairs: Sequence[Pair]) -> None:
        """Keep `pairs`, still to be compared; those whose id is known stay as they are."""
        if pairs:
            rows = [
                {
                    "rollout": pair.rollout,
                    "id": pair.id,
                    "at": pair.at,
                    "agent": pair.agent,
                    "subject": pair.subject,
                    "trace": pair.trace,
                    "due": True,
                    "kinds": None,
                    "score": 0.0,
                    "body": _text(pair),
                }
                for pair in pairs
            ]
            async with self._db.write() as connection:
                await connection.execute(self._db.upserts.add_pair, rows)

    @settled
    async def due_pairs(self, rollout: str, before: datetime, at_most: int) -> Sequence[Pair]:
        """Pairs from before that time that are still to be compared, the oldest first."""
        bounds = {"rollout": rollout, "before": before, "at_most": at_most}
        async with self._db.read() as connection:
            return [_pairs.decode(body) for body in await connection.scalars(q.DUE_PAIRS, bounds)]

    @settled
    async def settle_pairs(self, pairs: Sequence[Pair], sums: Sequence[BucketSums]) -> None:
        """Keep `pairs` as they are now, compared, and fold `sums`, in one transaction."""
        rows = [
            {
                "of_rollout": pair.rollout,
                "of_id": pair.id,
                "now_due": pair.differences is None,
                "now_kinds": _kinds(pair),
                "now_score": score(pair.differences or ()),
                "now_body": _text(pair),
            }
            for pair in pairs
        ]
        async with self._db.write() as connection:
            if rows:
                await connection.execute(q.SETTLE_PAIR, rows)
            await add_sums(self._db, connection, sums)

    @settled
    async def outlines(self, rollout: str) -> Sequence[Outline]:
        """All pairs kept of a rollout, in brief, the newest first."""
        async with self._db.read() as connection:
            rows = await connection.execute(q.OUTLINES, {"rollout": rollout})
            return [
                Outline(i, agent, at, None if kinds is None else tuple(_names(kinds)), far)
                for i, agent, at, kinds, far in rows
            ]

    @settled
    async def pairs(self, rollout: str, ids: Sequence[str]) -> Sequence[Pair]:
        """Those of `ids` that are kept, in the order of `ids`."""
        found: dict[str, str] = {}
        async with self._db.read() as connection:
            for some in chunks(ids, IDS_AT_ONCE):
                rows = await connection.execute(q.PAIRS, {"rollout": rollout, "ids": some})
                found.update((i, body) for i, body in rows)
        return [_pairs.decode(found[i]) for i in ids if i in found]

    @settled
    async def add_actions(self, rollout: str, actions: Sequence[Action]) -> int:
        """Keep actions, each once; how many were new. The pairs that they may belong to are due again."""
        first = {action.id: action for action in actions}
        async with self._db.write() as connection:
            for ids in chunks(list(first), IDS_AT_ONCE):
                where = {"rollout": rollout, "ids": ids}
                for known in await connection.scalars(q.KNOWN_ACTIONS, where):
                    del first[known]
            for action in first.values():
                await connection.execute(q.ADD_ACTION, _action_row(rollout, action))
                if action.trace is not None:
                    by_trace = {"of_rollout": rollout, "of_trace": action.trace}
                    await connection.execute(q.REOPEN_BY_TRACE, by_trace)
                elif action.subject is not None:
                    await connection.execute(
                        q.REOPEN_BY_SUBJECT,
                        {
                            "of_rollout": rollout,
                            "of_subject": action.subject,
                            "since": action.at - REOPENS,
                            "until": action.at + ACTION_GRACE,
                        },
                    )
        return len(first)

    @settled
    async def actions_of(self, pairs: Sequence[Pair]) -> Sequence[Action]:
        """The actions that may belong to one of `pairs`, all of one rollout, in order."""
        found: dict[str, Action] = {}
        async with self._db.read() as connection:
            for some in chunks(pairs, IDS_AT_ONCE):
                windows = [pair.action_window for pair in some]
                bounds = {
                    "rollout": some[0].rollout,
                    "traces": [pair.trace for pair in some if pair.trace],
                    "subjects": list({pair.subject for pair in some if pair.subject}),
                    "since": min(since for since, _ in windows),
                    "until": max(until for _, until in windows),
                }
                for r in await connection.execute(q.ACTIONS_OF, bounds):
                    done = msgspec.json.decode(r.arguments)
                    found[r.id] = Action(r.id, r.at, r.tool, done, r.trace, r.subject)
        return sorted(found.values(), key=lambda action: (action.at, action.id))

    @settled
    async def forget_pairs(self, rollout: str, before: datetime, keep: int) -> None:
        """Drop pairs and actions from before that time, and all but the newest `keep` pairs."""
        async with self._db.write() as connection:
            where: dict[str, Any] = {"rollout": rollout, "skipped": keep - 1}
            oldest = (await connection.scalars(q.NTH_PAIR, where)).one_or_none()
            limits = {"rollout": rollout, "before": max(before, oldest or before)}
            await connection.execute(q.FORGET_PAIRS, limits)
            await connection.execute(q.FORGET_ACTIONS, {"rollout": rollout, "before": before})

    @settled
    async def sight(self, rollout: str, names: Sequence[str], at: datetime) -> Sequence[str]:
        """Note that `names` were seen; those that never had been."""
        new = dict.fromkeys(names)
        async with self._db.write() as connection:
            for some in chunks(list(new), IDS_AT_ONCE):
                where = {"rollout": rollout, "names": some}
                for known in await connection.scalars(q.SIGHTED, where):
                    del new[known]
            if new:
                rows = [{"rollout": rollout, "name": name, "at": at} for name in new]
                await connection.execute(q.ADD_SIGHTING, rows)
        return list(new)


def _text(pair: Pair) -> str:
    return msgspec.json.encode(pair).decode()


def _kinds(pair: Pair) -> str | None:
    return None if pair.differences is None else msgspec.json.encode(sorted(pair.kinds)).decode()


def _names(text: str) -> list[str]:
    return msgspec.json.decode(text, type=list[str])


def _action_row(rollout: str, action: Action) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(action),
        "rollout": rollout,
        "arguments": msgspec.json.encode(action.arguments).decode(),
    }
