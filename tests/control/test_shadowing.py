"""Pairs come in, settle, are counted for the gate, and restarts count the same; anomalies alert."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.control.house import House
from tests.core.world import plan, step

from molt.control import shadow_view
from molt.control.anomalies import AnomalyWatch
from molt.control.shadowing import Shadowing
from molt.core.agreement import rule
from molt.core.assignment import CANDIDATE
from molt.core.commands import rule_difference
from molt.core.errors import Refused
from molt.core.events import AnomalySeen, DifferenceRuled
from molt.core.evidence import SHADOW, Slot, SlotKey
from molt.core.pairs import Action, RawPair, RawPairs, RawSide
from molt.core.playbook import Playbook, ShadowAgreementGate
from molt.core.stats.latency import binned

GATE = {"kind": "shadow_agreement", "above": "80%"}
SETTLED = timedelta(seconds=6)


def shadow_plan(**comparison: Any) -> Playbook:
    return plan(("shadow", [step(0, GATE)]), comparison=comparison)


@pytest.fixture
async def house(tmp_path: Path) -> House:
    made = await House(tmp_path / "house", shadow_plan()).start()
    await made.begin()
    return made


def shadowing(house: House, watch: AnomalyWatch | None = None) -> Shadowing:
    seen = [watch.see_pairs] if watch else []
    return Shadowing(house.controller, house.store, house.store.told_of, *seen)


def side(content: str, *calls: tuple[str, dict[str, Any]], **more: Any) -> RawSide:
    tools = [{"tool": tool, "arguments": arguments} for tool, arguments in calls]
    body = msgspec.json.encode({"content": content, "tool_calls": tools})
    return RawSide(200, "ok", 50.0, content_type="application/json", body=body, **more)


def raw(house: House, number: int, control: RawSide, candidate: RawSide, **more: Any) -> RawPair:
    fields: dict[str, Any] = {
        "id": f"run{number:04d}",
        "rollout": "r1",
        "epoch": house.rollout.epoch,
        "agent": "guest",
        "at": house.clock.now(),
        "subject": f"hash{number}",
        "bucket": number % 256,
        "trace": f"{number:032x}",
        "method": "POST",
        "path": "/chat",
        "request_type": "application/json",
        "request": b'{"message":"a latte"}',
        "control": control,
        "candidate": candidate,
    }
    return RawPair(**fields | more)


async def compare(house: House, at_work: Shadowing, pairs: list[RawPair]) -> None:
    await at_work.take_in(RawPairs("g1", pairs))
    await house.clock.advance(SETTLED.total_seconds())
    await at_work.settle()


def ruling(house: House) -> Any:
    scene = house.desk.scene(house.clock.now())
    gate = ShadowAgreementGate.model_validate(GATE)
    return rule(scene, gate)[0]


async def test_the_gate_waits_without_pairs_passes_on_many_that_agree_and_fails_on_many_that_do_not(
    house,
):
    at_work = shadowing(house)
    assert ruling(house).verdict == "wait"

    same = side("One latte, $4.40", ("add", {"n": 1}))
    await compare(house, at_work, [raw(house, n, same, same) for n in range(10)])
    assert (ruling(house).verdict, ruling(house).numbers["pairs"]) == ("wait", 10)
    await compare(house, at_work, [raw(house, n, same, same) for n in range(10, 60)])
    assert ruling(house).verdict == "pass"

    wrong = side("One latte, $9.90")
    await compare(house, at_work, [raw(house, n, same, wrong) for n in range(60, 200)])
    found = ruling(house)
    assert found.verdict == "fail"
    assert found.numbers["worst"]["prices"] == 140


async def test_a_repeated_batch_counts_once_and_a_restart_rules_the_same(house):
    at_work, same = shadowing(house), side("ok")
    pairs = [raw(house, n, same, side("", ("pay", {}))) for n in range(5)]
    await compare(house, at_work, pairs)
    await compare(house, at_work, pairs)
    before = ruling(house)
    assert before.numbers["pairs"] == 5

    await house.restart()

    assert ruling(house) == before


async def test_accepting_a_kind_changes_what_was_counted_before_and_needs_a_reason(house):
    at_work = shadowing(house)
    ours, theirs = side("ok"), side("ok", ("pay", {}))
    await compare(house, at_work, [raw(house, n, ours, theirs) for n in range(60)])
    assert ruling(house).verdict == "fail"

    with pytest.raises(Refused, match="reason"):
        await house.do(rule_difference, kind="call_extra:pay", reason="", acceptable=True)
    with pytest.raises(Refused, match="No kind of difference"):
        await house.do(rule_difference, kind="colour", reason="?", acceptable=True)
    await house.do(rule_difference, kind="call_extra", reason="it may", acceptable=True)
    assert ruling(house).verdict == "pass"
    await house.do(rule_difference, kind="call_extra:pay", reason="not pay", acceptable=False)
    assert ruling(house).verdict == "fail"
    assert [(e.by, e.reason) for e in house.facts(DifferenceRuled)] == [
        ("ann", "it may"),
        ("ann", "not pay"),
    ]


async def test_an_action_reported_late_moves_its_pair_and_nothing_is_counted_twice(house):
    at_work = shadowing(house)
    await compare(house, at_work, [raw(house, 1, side("ok"), side("ok", ("pay", {"n": "1"})))])
    assert ruling(house).numbers["acceptable"] == 0

    done = Action("a1", house.clock.now(), "pay", {"n": 1}, trace=f"{1:032x}")
    assert await at_work.report_actions("r1", [done]) == 1
    await at_work.settle()

    found = ruling(house)
    assert (found.numbers["pairs"], found.numbers["acceptable"]) == (1, 1)
    summary = await shadow_view.summary(house.desk, house.store)
    assert summary["actions"] == {"control": 1, "candidate": 1, "matched": 1, "equal": 1}


async def test_what_the_agent_reported_of_its_run_is_compared_as_well(house):
    at_work = shadowing(house)
    await house.store.report_call("run0001", "pay", '{"n":1}', house.clock.now())
    await compare(house, at_work, [raw(house, 1, side("ok"), side("ok"))])
    assert ruling(house).numbers["worst"] == {"call_extra:pay": 1}


async def test_a_field_in_which_control_differs_from_itself_is_noise_once_that_is_known(house):
    at_work = shadowing(house)

    def data(**fields: Any) -> RawSide:
        body = msgspec.json.encode(fields)
        return RawSide(200, "ok", 5.0, content_type="application/json", body=body)

    def pair(n: int) -> RawPair:
        ours, theirs = data(now=n, name="a"), data(now=-n - 1, name="a")
        return raw(house, n, ours, theirs, method="GET", twin=data(now=n + 1000, name="a"))

    await compare(house, at_work, [pair(n) for n in range(20)])
    assert ruling(house).numbers["acceptable"] == 0
    await compare(house, at_work, [pair(n) for n in range(20, 40)])

    assert ruling(house).numbers["acceptable"] == 20
    (row,) = (await shadow_view.summary(house.desk, house.store))["noise"]
    assert (row["field"], row["control"], row["drowned"]) == ("$.now", 40, True)
    (kept,) = await house.store.pairs("r1", ["run0030"])
    assert kept.noise == ("$.now",)


async def test_nothing_is_kept_where_comparison_is_off_and_dropped_pairs_are_counted(tmp_path):
    house = await House(tmp_path / "house", plan(("shadow", [step(0)]), comparison={
        "enabled": False})).start()  # fmt: skip
    await house.begin()
    await shadowing(house).take_in(RawPairs("g1", [raw(house, 1, side("a"), side("b"))]))
    assert await house.store.outlines("r1") == []
    assert house.flags.rollouts[0].comparing is None

    other = await House(tmp_path / "other", shadow_plan(sample=25)).start()
    await other.begin()
    comparing = other.flags.rollouts[0].comparing
    assert comparing is not None
    assert comparing.sample == 2500
    await shadowing(other).take_in(RawPairs("g1", [], [("r1", 1, "guest", 7)]))
    assert (await shadow_view.summary(other.desk, other.store))["dropped"] == 7


async def test_damaged_bodies_are_marked_and_block(house):
    at_work = shadowing(house)
    broken = RawSide(200, "ok", 5.0, content_type="application/json", body=b'{"content": ')
    packed = RawSide(
        200, "ok", 5.0, content_type="application/json", encoding="zstd", body=b"\x28\xb5"
    )
    cut = RawSide(200, "ok", 5.0, content_type="application/json", cut=True)
    bodies = [broken, packed, cut]
    await compare(house, at_work, [raw(house, n, side("ok"), b) for n, b in enumerate(bodies)])

    kept = await house.store.pairs("r1", ["run0000", "run0001", "run0002"])
    marks = [p.candidate.mark for p in kept]
    assert marks == ["damaged JSON", "encoded as zstd", "longer than 16384 bytes"]
    assert ruling(house).numbers["worst"] == {"unreadable": 3}


# --- anomalies


def slots(house: House, requests: int, latency_ms: float) -> Slot:
    start = int(house.clock.now().timestamp()) // 10 * 10
    key = SlotKey("r1", house.rollout.epoch, "guest", CANDIDATE, SHADOW, start)
    return Slot(key, requests=requests, latency=binned([latency_ms] * requests))


async def watching(house: House) -> AnomalyWatch:
    watch = AnomalyWatch(house.controller, house.store, house.store)
    await watch.load()
    house.controller.on_batch(watch.see_batch)
    return watch


async def busy(house: House, watch: AnomalyWatch, rounds: int = 30, latency: float = 100.0) -> None:
    for n in range(rounds):
        await house.controller.ingest(house.batch(slots=[slots(house, 10, latency + n % 5)]))
        await house.clock.advance(10)
        await watch.tick()


async def test_what_is_new_is_learnt_quietly_first_then_told_once_and_to_on_call(house):
    watch = await watching(house)
    at_work = shadowing(house, watch)
    await compare(house, at_work, [raw(house, 1, side("a"), side("a", ("look", {"q": "x"})))])
    assert house.facts(AnomalySeen) == []
    await busy(house, watch)

    calls = [("look", {"q": "y"}), ("look", {"q": 1}), ("wipe", {})]
    await compare(house, at_work, [raw(house, 2, side("a"), side("a", *calls))])

    found = house.facts(AnomalySeen)
    assert {(e.anomaly, e.what) for e in found} == {
        ("arguments", "look(q:number)"),
        ("tool", "wipe"),
        ("arguments", "wipe()"),
    }
    assert house.rollout.anomalies == tuple(found)
    await house.clock.advance(1)
    assert {n.severity for n in house.phone.notices if "unlike before" in n.title} == {"warning"}

    await house.restart()
    again = shadowing(house, await watching(house))
    await compare(house, again, [raw(house, 3, side("a"), side("a", *calls))])
    assert house.facts(AnomalySeen) == found


async def test_a_slot_far_outside_the_recent_ones_is_told_with_its_numbers_and_decides_nothing(
    house,
):
    watch = await watching(house)
    await busy(house, watch)
    phase = house.rollout.phase
    await house.controller.ingest(house.batch(slots=[slots(house, 10, 2000.0)]))
    await house.clock.advance(20)
    await watch.tick()

    (event,) = house.facts(AnomalySeen)
    assert event.anomaly == "latency"
    assert event.numbers["median"] == pytest.approx(102, rel=0.02)
    assert event.numbers["value"] == pytest.approx(2000, rel=0.02)
    assert house.rollout.phase == phase


async def test_many_anomalies_at_once_are_few_alerts_and_a_count(house):
    watch = await watching(house)
    at_work = shadowing(house, watch)
    await busy(house, watch)
    many = [(f"tool{n}", {}) for n in range(20)]
    await compare(house, at_work, [raw(house, 1, side("a"), side("a", *many))])
    assert len(house.facts(AnomalySeen)) == 5

    await house.clock.advance(700)
    await compare(house, at_work, [raw(house, 2, side("a"), side("a", ("other", {})))])
    assert house.facts(AnomalySeen)[5].more == 35
