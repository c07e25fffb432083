"""Pairs of answers and actions in memory."""

from collections.abc import Sequence
from datetime import datetime

from molt.core.compare import score
from molt.core.evidence import BucketSums
from molt.core.pairs import ACTION_GRACE, REOPENS, Action, Outline, Pair


class MemoryPairs:
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
