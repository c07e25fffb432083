"""What every store promises about pairs of answers, control's actions, and first sightings."""

from datetime import timedelta
from typing import Any

import msgspec

from molt.core.agreement import place_of
from molt.core.evidence import BucketSums
from molt.core.pairs import Action, Call, Difference, Pair, Side

from .evidence_values import AT

SECOND = timedelta(seconds=1)


def pair(number: int, **more: Any) -> Pair:
    fields: dict[str, Any] = {
        "id": f"run{number}",
        "rollout": "r",
        "epoch": 1,
        "agent": "guest",
        "at": AT + number * SECOND,
        "bucket": 7,
        "subject": "hash-of-ann",
        "trace": f"{number:032x}",
        "request": {"message": "a latte"},
        "control": Side(200, text="Yes", calls=(Call("add", {"n": 1}),), latency_ms=250.0),
        "candidate": Side(200, text="No", calls=()),
    }
    return Pair(**fields | more)


def settled(one: Pair, *kinds: str) -> Pair:
    differences = tuple(Difference(kind, "differs") for kind in kinds)
    return msgspec.structs.replace(one, differences=differences, counted="pairs:")


async def due(store, seconds: int = 100) -> list[str]:
    return [p.id for p in await store.due_pairs("r", AT + seconds * SECOND, 10)]


async def test_a_pair_is_kept_once_as_it_first_came_and_is_due_until_it_is_compared(store):
    await store.add_pairs([pair(2), pair(1)])
    await store.add_pairs([pair(1, agent="other"), pair(3)])

    assert await due(store) == ["run1", "run2", "run3"]
    assert await due(store, 2) == ["run1"]
    assert list(await store.pairs("r", ["run3", "none", "run1"])) == [pair(3), pair(1)]

    await store.settle_pairs([settled(pair(1), "status")], [])
    assert await due(store) == ["run2", "run3"]
    assert list(await store.pairs("r", ["run1"])) == [settled(pair(1), "status")]
    assert await store.pairs("other", ["run1"]) == []


async def test_outlines_tell_the_kinds_and_how_far_apart_the_answers_are_newest_first(store):
    await store.add_pairs([pair(1), pair(2)])
    await store.settle_pairs([settled(pair(1), "wording", "status")], [])

    newest, oldest = await store.outlines("r")

    assert (newest.id, newest.kinds, newest.score) == ("run2", None, 0.0)
    assert (oldest.id, oldest.kinds, oldest.score) == ("run1", ("status", "wording"), 63.0)
    assert oldest.at == AT + SECOND


async def test_sums_are_folded_with_the_pairs_and_may_take_back(store):
    sums = BucketSums(place_of("r", 1, "guest"), {"pairs:": {7: 1.0}})
    moved = BucketSums(sums.key, {"pairs:": {7: -1.0}, "pairs:status": {7: 1.0}})
    await store.add_pairs([pair(1)])
    await store.settle_pairs([settled(pair(1))], [sums])
    await store.settle_pairs([settled(pair(1), "status")], [moved])

    (kept,) = await store.sums("r")
    assert kept.columns["pairs:status"] == {7: 1.0}
    assert not kept.columns.get("pairs:")


async def test_an_action_counts_once_and_makes_its_pair_due_again(store):
    await store.add_pairs([pair(1), pair(2), pair(3, subject="hash-of-bob")])
    await store.settle_pairs([settled(pair(n)) for n in (1, 2)], [])
    await store.settle_pairs([settled(pair(3, subject="hash-of-bob"))], [])
    by_trace = Action("a1", AT + 50 * SECOND, "add", {"n": 1}, trace=pair(2).trace)
    by_subject = Action("a2", AT + 3 * SECOND, "pay", subject="hash-of-bob")

    assert await store.add_actions("r", [by_trace]) == 1
    assert await store.add_actions("r", [by_trace]) == 0
    assert await due(store) == ["run2"]
    assert await store.add_actions("r", [by_subject, by_subject]) == 1
    assert await due(store) == ["run2", "run3"]

    kept = await store.pairs("r", ["run1", "run2", "run3"])
    assert list(await store.actions_of(kept)) == [by_subject, by_trace]
    assert await store.actions_of(kept[:1]) == []
    assert await store.actions_of([]) == []


async def test_old_pairs_are_forgotten_and_so_are_those_above_the_number_to_keep(store):
    await store.add_pairs([pair(n) for n in range(6)])
    await store.add_actions("r", [Action("a1", AT, "add", subject="hash-of-ann")])

    await store.forget_pairs("r", AT + SECOND, keep=10)
    assert [row.id for row in await store.outlines("r")] == ["run5", "run4", "run3", "run2", "run1"]
    assert await store.actions_of([pair(0)]) == []

    await store.forget_pairs("r", AT, keep=2)
    assert [row.id for row in await store.outlines("r")] == ["run5", "run4"]
    await store.settle_pairs([settled(pair(1))], [])
    assert len(await store.outlines("r")) == 2


async def test_a_name_is_new_once_in_each_rollout(store):
    assert list(await store.sight("r", ["b", "a", "b"], AT)) == ["b", "a"]
    assert list(await store.sight("r", ["a", "c"], AT)) == ["c"]
    assert list(await store.sight("other", ["a"], AT)) == ["a"]


async def test_what_was_reported_of_runs_is_told_with_its_arguments(store):
    await store.report_call("run1", "add", '{"n":1}', AT)
    await store.report_call("run1", "pay", "{}", AT)

    found = await store.told_of(["run1", "run2"])

    assert {run: [tuple(c) for c in calls] for run, calls in found.items()} == {
        "run1": [("add", '{"n":1}'), ("pay", "{}")]
    }
