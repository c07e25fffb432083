"""Slots as charts: sums that add up, unknown that is not zero, budgets that burn as they should."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from tests.core.traffic import Load
from tests.core.world import World, plan, step

from molt.adapters.playbooks import load_playbook
from molt.control import analytics
from molt.control.analytics import Choice
from molt.control.call_slots import about_calls, call_slots
from molt.core import gates
from molt.core.evidence import Call, Slot, SlotKey, Tally
from molt.core.rollout import Stay
from molt.core.stats.latency import binned

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = Choice(START, START + timedelta(hours=1))


def slot(offset: int, arm: str = "candidate", agent: str = "guest", **fields: Any) -> Slot:
    key = SlotKey("r", 1, agent, cast("Any", arm), "live", int(START.timestamp()) + offset)
    return Slot(key, **{"requests": 10, "latency": binned([100.0] * 10), **fields})


def by_arm(slot: Slot) -> str:
    return slot.key.arm


def test_points_hold_whole_slots_and_add_up_to_the_totals() -> None:
    slots = [slot(10 * i, errors=Tally(1)) for i in range(360)]
    rows = analytics.series(slots, HOUR, 10, by_arm)
    assert analytics.width(HOUR, 10) == 30
    assert len(rows) == 120
    assert sum(r["requests"] for r in rows) == 3600
    (total,) = analytics.totals(slots, HOUR, by_arm)
    assert (total["requests"], total["errors"], total["error_rate"]) == (3600, 360, 0.1)
    assert abs(total["p50_ms"] - 100) < 1


def test_kept_slots_are_not_changed_by_looking() -> None:
    slots = [slot(0), slot(10)]
    analytics.totals(slots, HOUR, by_arm)
    assert [s.requests for s in slots] == [10, 10]


def test_a_cost_that_nobody_knows_is_not_zero() -> None:
    (row,) = analytics.totals([slot(0)], HOUR, by_arm)
    assert row["cost"] is None
    assert row["cost_per_1000"] is None
    (priced,) = analytics.totals([slot(0, cost=0.5, priced=5)], HOUR, by_arm)
    assert priced["cost_per_1000"] == 100.0


def test_a_choice_narrows_by_time_agent_and_arm() -> None:
    slots = [slot(0), slot(0, arm="control"), slot(0, agent="admin"), slot(3600)]
    assert len(analytics.chosen(slots, HOUR)) == 3
    assert len(analytics.chosen(slots, HOUR._replace(agent="guest", arm="candidate"))) == 1


def test_the_heat_map_counts_every_request_once() -> None:
    slots = [slot(0, latency=binned([5.0, 50.0, 5000.0])), slot(1800)]
    heat = analytics.heat(slots, HOUR, 10)
    assert sum(count for _, _, count in heat["cells"]) == 13


def test_a_budget_burns_at_one_when_it_is_spent_exactly() -> None:
    desk = cast("Any", SimpleNamespace(playbook=load_playbook("wf-11")))
    slots = [slot(0, requests=1000, errors=Tally(10), statuses={"2": 990, "5": 10})]
    budgets = {b["name"]: b for b in analytics.budgets(desk, slots, 3600)}
    assert budgets["errors"]["burn_rate"] == 1.0
    assert budgets["errors"]["left"] == 0.0
    assert round(budgets["not available"]["burn_rate"], 6) == 2.0
    assert budgets["slower than p95's limit"]["burn_rate"] == 0.0
    empty = analytics.budgets(desk, [], 3600)
    assert {b["burn_rate"] for b in empty} == {None}


def test_tools_and_models_are_counted_with_what_became_of_them() -> None:
    calls = [
        Call(id=str(i), at=START, kind="tool", name="menu", disposition=d)
        for i, d in enumerate(("read", "read", "denied"))
    ]
    model = Call(
        id="m", at=START, kind="model", name="gpt", disposition="read", tokens_in=5, cost=0.1
    )
    (tool,) = analytics.use([*calls, model], "tool")
    assert tool["dispositions"] == {"read": 2, "denied": 1}
    assert tool["tokens_in"] is None
    (found,) = analytics.use([*calls, model], "model")
    assert (found["tokens_in"], found["cost"]) == (5, 0.1)


def test_the_cost_of_a_day_scales_the_gates_interval() -> None:
    gate = {"per_1000": 2.0, "low": 1.0, "high": 3.0, "budget": 4.0}
    found = analytics.projected_per_day([slot(0, requests=1000)], gate, 3600)
    assert found is not None
    assert (found["low"], found["estimate"], found["high"]) == (24.0, 48.0, 72.0)
    assert analytics.projected_per_day([], gate, 3600) is None
    assert analytics.projected_per_day([slot(0)], None, 3600) is None


def call(name: str, kind: str = "tool", seconds: float = 0.0, **fields: Any) -> Call:
    at = START + timedelta(seconds=seconds)
    known = {"id": name, "at": at, "rollout": "r", "agent": "guest", "status": 200}
    defaults = {"disposition": "read", "latency_ms": 20.0}
    return Call(kind=cast("Any", kind), name=name, **{**known, **defaults, **fields})


def test_calls_are_charted_by_tool_and_narrowed_by_tool_model_agent_and_step() -> None:
    stays = (
        Stay(START - timedelta(hours=1), 1, 0, "shadow", 0),
        Stay(START + timedelta(seconds=60), 2, 5, "canary", 0),
    )
    calls = [
        call("menu", seconds=1),
        call("menu", seconds=61, status=500),
        call("order", seconds=2, status=0, disposition="denied", agent="admin"),
        call("gpt", "model", seconds=3, tokens_out=7, cost=0.25),
        call("menu", seconds=4000),
    ]

    def found(**asked: Any) -> list[dict[str, Any]]:
        choice = HOUR._replace(**asked)
        assert about_calls(choice)
        slots = call_slots(calls, choice, stays, 10)
        rollout = cast("Any", SimpleNamespace(stays=stays))
        return analytics.totals(slots, choice, analytics.grouping(rollout, choice.by))

    menu, order = found(by="tool")
    assert (menu["group"], menu["requests"], menu["errors"], menu["status_5xx"]) == (
        "menu",
        2,
        1,
        1,
    )
    assert (order["group"], order["violations"], order["no_answer"]) == ("order", 1, 0)
    assert [r["requests"] for r in found(tool="menu", epoch=2)] == [1]
    assert [r["group"] for r in found(tool="menu", by="step")] == [
        "canary 5% (#2)",
        "shadow 0% (#1)",
    ]
    assert [r["group"] for r in found(by="tool", agent="admin")] == ["order"]
    (model,) = found(model="gpt", by="model")
    assert (model["tokens_out"], model["cost"], model["tool_calls"]) == (7, 0.25, 0)
    assert [r["requests"] for r in found(tool="menu", model="gpt")] == [3]
    assert not about_calls(HOUR)


def test_the_cost_is_what_the_gate_says_and_is_told_in_steps_without_that_gate_too() -> None:
    def after_hours(*of_step: dict[str, Any]) -> World:
        phases = [("canary", [step(5, *of_step)])]
        w = World(plan(*phases, cost={"budget_per_1000": 5.0})).begin()
        assert analytics.cost_per_1000(w.scene) is None
        return w.serve(timedelta(hours=3), Load(300, cost=0.002), Load(1000))

    with_gate, without = after_hours({"kind": "cost_within_budget"}), after_hours()
    told = analytics.cost_per_1000(with_gate.scene)
    assert told is not None
    assert told == analytics.cost_per_1000(without.scene)
    (ruling,) = [r for r in gates.rule_all(with_gate.scene) if r.name == "cost_within_budget"]
    assert told.items() <= ruling.numbers.items()
