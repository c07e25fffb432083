"""Shadow comparison at work: pairs come in, are compared when they have settled, and are counted.

Reading and comparing happen in a thread, off the loop that decides. What is counted goes through
bucket sums, in the transaction that keeps the comparison, so that restarts count the same.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final

import msgspec
import structlog

from molt.control.controller import Controller
from molt.control.desk import Desk
from molt.control.reading import read_pair, redacted_calls
from molt.core import agreement, compare
from molt.core.assignment import CANDIDATE
from molt.core.compare import Noise, Rules
from molt.core.evidence import SHADOW, BucketSums, SumsKey
from molt.core.pairs import DROPPED, Action, Call, Pair, RawPairs, Tally, Verdict
from molt.core.redaction import Redactor
from molt.ports import PairStore, Portion

log = structlog.get_logger(__name__)

PAIRS_AT_ONCE: Final = 200
FORGET_EVERY: Final = timedelta(minutes=1)

ReportedCalls = Callable[[Sequence[str]], Awaitable[Mapping[str, Sequence[tuple[str, str]]]]]
"""Run ids -> tools and arguments (JSON text) that were reported or recorded of them."""

Seen = Callable[[Desk, Sequence[Pair]], Awaitable[None]]


class Shadowing:
    """All pairs of one installation."""

    def __init__(
        self,
        controller: Controller,
        store: PairStore,
        reported: ReportedCalls,
        *seen: Seen,
    ) -> None:
        """Each of `seen` gets the pairs that were compared for the first time."""
        self.store = store
        self._controller = controller
        self._reported = reported
        self.seen = list(seen)
        self._lock = asyncio.Lock()
        self._redactors: dict[str, Redactor] = {}
        self._forgot = controller.clock.now()

    # --- coming in

    async def take_in(self, raw: RawPairs) -> None:
        """Keep what a gateway sent, redacted. Raises `StoreUnavailable`."""
        desks = {d.id: d for d in self._controller.desks.values() if d.playbook.comparison.enabled}
        mine = [pair for pair in raw.pairs if pair.rollout in desks]
        plans = {name: desk.playbook.comparison.max_body for name, desk in desks.items()}
        redactors = {name: self._redactor(desk) for name, desk in desks.items()}

        def read() -> list[Pair]:
            return [read_pair(p, redactors[p.rollout], plans[p.rollout]) for p in mine]

        if mine:
            await self.store.add_pairs(await asyncio.to_thread(read))
        for rollout, epoch, agent, count in raw.dropped:
            if (desk := desks.get(rollout)) is not None:
                sums = BucketSums(agreement.place_of(rollout, epoch, agent), {})
                sums.add(DROPPED, 0, count)
                await self._keep(desk, [], [sums])

    def _redactor(self, desk: Desk) -> Redactor:
        known = self._redactors.get(desk.id)
        if known is None:
            known = self._redactors[desk.id] = Redactor(desk.playbook.comparison.redact)
        return known

    async def report_actions(self, rollout: str, actions: Sequence[Action]) -> int:
        """Keep what control did, each once; how many were new. Their pairs are compared anew."""
        desk = self._controller.desk(rollout)
        redactor = self._redactor(desk)
        hidden = [msgspec.structs.replace(a, arguments=redactor.data(a.arguments)) for a in actions]
        async with self._lock:
            return await self.store.add_actions(rollout, hidden)

    async def keep_verdict(self, pair: Pair, verdict: Verdict) -> None:
        """Keep what a judge said with the pair, as it is by now."""
        async with self._lock:
            await self._settle_all()  # to keep a pair is to take it as compared
            for now in await self.store.pairs(pair.rollout, [pair.id]):
                await self.store.settle_pairs([msgspec.structs.replace(now, judged=verdict)], [])

    # --- comparing

    async def settle(self) -> None:
        """Compare what is due, once, and forget what is old. Raises `StoreUnavailable`."""
        async with self._lock:
            await self._settle_all()
            now = self._controller.clock.now()
            if now - self._forgot >= FORGET_EVERY:
                self._forgot = now
                for desk in list(self._controller.desks.values()):
                    plan = desk.playbook.comparison
                    await self.store.forget_pairs(desk.id, now - plan.keep, plan.keep_pairs)

    async def _settle_all(self) -> None:
        for desk in list(self._controller.desks.values()):
            more = desk.playbook.comparison.enabled
            while more:
                more = await self._settle(desk)

    async def _settle(self, desk: Desk) -> bool:
        """Compare some pairs; True when there may be more."""
        plan = desk.playbook.comparison
        before = self._controller.clock.now() - plan.settle
        due = await self.store.due_pairs(desk.id, before, PAIRS_AT_ONCE)
        if not due:
            return False
        actions = await self.store.actions_of(due)
        reported = await self._reported([pair.id for pair in due])
        redactor, rules = self._redactor(desk), rules_of(desk)
        noises = {epoch: agreement.noise(desk.book, epoch) for epoch in {p.epoch for p in due}}
        only_reports = plan.actions_from == "reports"

        def work() -> list[Pair]:
            found: list[Pair] = []
            for pair in due:
                own = [a for a in actions if pair.owns(a)]
                full = with_reports(pair, own, reported.get(pair.id, ()), redactor, only_reports)
                found.append(compare.compared(full, rules[pair.agent], noises[pair.epoch]))
            return found

        done = await asyncio.to_thread(work)
        counted, sums = count(desk, done, rules, {pair.id: pair.acted for pair in due})
        await self._keep(desk, counted, sums)
        first = {pair.id for pair in due if not pair.counted}
        for seen in self.seen:
            await seen(desk, [pair for pair in counted if pair.id in first])
        return len(due) == PAIRS_AT_ONCE

    async def _keep(self, desk: Desk, pairs: Sequence[Pair], sums: Sequence[BucketSums]) -> None:
        await self.store.settle_pairs(pairs, sums)
        desk.take(Portion(sums=list(sums)))


def with_reports(
    pair: Pair,
    actions: Sequence[Action],
    reported: Sequence[tuple[str, str]],
    redactor: Redactor,
    only_reports: bool,
) -> Pair:
    """The pair with what was reported beside the answers.

    What control reported counts more than what its answer says. Of the candidate, the longer list
    counts: an answer may leave calls out, and so may an agent that reports.
    """
    control, candidate = pair.control, pair.candidate
    if actions or only_reports:
        done = tuple(Call(a.tool, a.arguments) for a in actions)
        control = msgspec.structs.replace(control, calls=done)
    if reported and len(reported) >= len(candidate.calls or ()):
        calls = [(tool, _arguments(text)) for tool, text in reported]
        candidate = msgspec.structs.replace(candidate, calls=redacted_calls(calls, redactor))
    elif only_reports and candidate.calls is None:
        candidate = msgspec.structs.replace(candidate, calls=())
    return msgspec.structs.replace(pair, control=control, candidate=candidate)


def _arguments(text: str) -> dict[str, object]:
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {"": text}
    return found if isinstance(found, dict) else {"": found}


def rules_of(desk: Desk) -> Mapping[str, Rules]:
    """What counts as a difference, by agent."""
    plan = desk.playbook
    return {name: plan.comparison.rules(agent.tools) for name, agent in plan.agents.items()}


def count(
    desk: Desk,
    pairs: Sequence[Pair],
    rules: Mapping[str, Rules],
    before: Mapping[str, Tally | None],
) -> tuple[list[Pair], list[BucketSums]]:
    """The pairs with the column each is counted in, and the sums that follow.

    A pair that was counted before moves from its old column to the new one; `before` holds the
    actions that it was counted with.
    """
    found: dict[SumsKey, BucketSums] = {}
    known: dict[int, set[str]] = {}
    counted: list[Pair] = []
    for pair in pairs:
        key = agreement.place_of(pair.rollout, pair.epoch, pair.agent)
        sums = found.setdefault(key, BucketSums(key, {}))
        columns = known.setdefault(
            pair.epoch, set(desk.book.columns(pair.epoch, CANDIDATE, SHADOW))
        )
        column = agreement.column_of(pair.kinds, columns)
        columns.add(column)
        if pair.counted:
            sums.add(pair.counted, pair.bucket, -1.0)
            agreement.count_actions(sums, pair.bucket, before[pair.id], -1.0)
        elif pair.twin is not None:
            agreement.count_twins(sums, pair.bucket, *_twin_fields(pair, rules[pair.agent]))
        sums.add(column, pair.bucket)
        agreement.count_actions(sums, pair.bucket, pair.acted)
        counted.append(msgspec.structs.replace(pair, counted=column))
    return counted, [one for one in found.values() if one.columns]


def _twin_fields(pair: Pair, rules: Rules) -> tuple[set[str], set[str]]:
    """The fields in which control differs from itself, and those in which the candidate does."""
    assert pair.twin is not None
    itself = compare.compare(pair.control, pair.twin, rules)
    theirs = compare.compared(pair, rules, Noise()).differences or ()
    return compare.fields(itself), compare.fields(theirs)
