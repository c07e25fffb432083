"""Every number of WF-11, held against the file that ships."""

from datetime import timedelta
from typing import Any

import pytest

from molt.core.playbook import PhasePlan, Playbook, Step

from .world import wf11


@pytest.fixture(scope="module")
def plan() -> Playbook:
    return wf11()


@pytest.fixture(scope="module")
def shadow(plan: Playbook) -> PhasePlan:
    return plan.phase("shadow")


@pytest.fixture(scope="module")
def canary(plan: Playbook) -> PhasePlan:
    return plan.phase("canary")


@pytest.fixture(scope="module")
def progressive(plan: Playbook) -> PhasePlan:
    return plan.phase("progressive")


def hours(n: float) -> timedelta:
    return timedelta(hours=n)


def kinds(step: Step) -> list[str]:
    return [gate.kind for gate in step.gates]


def gate(step: Step, kind: str) -> Any:
    (found,) = [g for g in step.gates if g.kind == kind]
    return found


def trigger(plan: Playbook, kind: str) -> Any:
    (found,) = [t for t in plan.triggers if t.kind == kind]
    return found


def test_its_phases_are_shadow_canary_and_progressive_in_this_order(plan: Playbook):
    assert plan.name == "wf-11"
    assert plan.title == "Moltbot Phased Rollout"
    assert [phase.name for phase in plan.phases] == ["shadow", "canary", "progressive"]


def test_it_takes_two_weeks_to_leave_canary_and_two_more_to_finish(plan: Playbook):
    weeks = {phase.name: sum((s.pace for s in phase.steps), hours(0)) for phase in plan.phases}
    assert weeks["shadow"] == timedelta(weeks=1)
    assert weeks["canary"] == timedelta(weeks=1)
    assert weeks["progressive"] <= timedelta(weeks=2)


# --- phase 1


def test_shadow_takes_no_traffic_and_mirrors_every_eligible_request(shadow: PhasePlan):
    assert [step.share for step in shadow.steps] == [0]
    assert shadow.mirror == 100


def test_shadow_ends_after_48_hours_without_a_critical_error(shadow: PhasePlan):
    assert gate(shadow.steps[0], "no_critical_error").for_ == hours(48)
    assert shadow.steps[0].hold == hours(48)


def test_shadow_ends_with_p95_below_two_seconds(shadow: PhasePlan):
    latency = gate(shadow.steps[0], "latency")
    assert (latency.quantile, latency.below) == (0.95, timedelta(seconds=2))


def test_shadow_ends_without_a_violation_and_with_acceptable_cost(
    plan: Playbook, shadow: PhasePlan
):
    assert kinds(shadow.steps[0]) == [
        "no_critical_error",
        "latency",
        "no_violation",
        "cost_within_budget",
    ]
    assert plan.cost.budget_per_1000 is not None


# --- phase 2


def test_canary_climbs_from_one_to_two_to_five_percent(canary: PhasePlan):
    assert [step.share for step in canary.steps] == [1, 2, 5]
    assert [step.buckets for step in canary.steps] == [100, 200, 500]


def test_every_canary_step_compares_four_figures_with_control(canary: PhasePlan):
    wanted = ("order_completion", "cart_abandonment", "staff_response", "satisfaction")
    for step in canary.steps:
        assert gate(step, "no_degradation").metrics == wanted
        assert gate(step, "no_degradation").harm_budget == 0.02
        assert gate(step, "no_degradation").margin is None


def test_canary_ends_below_one_percent_errors_with_engagement_and_tickets_as_before(
    canary: PhasePlan,
):
    last = canary.steps[-1]
    assert kinds(last) == ["no_degradation", "error_rate", "stable", "unchanged"]
    assert gate(last, "error_rate").below == 0.01
    assert gate(last, "stable").metric == "engagement"
    assert gate(last, "stable").within == 0.10
    assert gate(last, "unchanged").metric == "support_tickets"
    assert gate(last, "unchanged").fail_ratio == 1.25


def test_the_metrics_say_which_direction_is_good(plan: Playbook):
    assert {name: metric.better for name, metric in plan.metrics.items()} == {
        "order_completion": "higher",
        "cart_abandonment": "lower",
        "staff_response": "lower",
        "satisfaction": "higher",
        "engagement": "same",
        "support_tickets": "lower",
    }
    assert plan.metrics["order_completion"].binary
    assert plan.metrics["staff_response"].value


# --- phase 3


def test_progressive_climbs_10_25_50_75_100(progressive: PhasePlan):
    assert [step.share for step in progressive.steps] == [10, 25, 50, 75, 100]


def test_each_tier_is_held_for_24_hours_at_the_least(canary: PhasePlan, progressive: PhasePlan):
    assert {step.hold for step in (*canary.steps, *progressive.steps[:-1])} == {hours(24)}


def test_tiers_begin_on_the_planned_days(progressive: PhasePlan):
    begins, day = {}, 1.0
    for step in progressive.steps:
        begins[step.share] = day
        day += step.pace / timedelta(days=1)
    assert begins == {10: 1, 25: 3, 50: 6, 75: 9, 100: 11}


@pytest.mark.parametrize(
    ("share", "wanted"),
    [
        (10, "approval"),
        (25, "error_rate"),
        (50, "latency_stable"),
        (75, "no_rollback"),
    ],
)
def test_each_tier_has_its_own_gate(progressive: PhasePlan, share: float, wanted: str):
    (step,) = [s for s in progressive.steps if s.share == share]
    assert kinds(step) == ["no_degradation", wanted]


def test_the_tiers_gates_have_the_plans_numbers(progressive: PhasePlan):
    _, at_25, at_50, at_75, _ = progressive.steps
    assert gate(at_25, "error_rate").below == 0.02
    assert gate(at_50, "latency_stable").within == 0.10
    assert gate(at_75, "no_rollback").within == hours(48)


def test_full_traffic_is_stable_for_72_hours_below_half_a_percent_errors_within_budget(
    progressive: PhasePlan,
):
    full = progressive.steps[-1]
    assert full.hold == hours(72)
    assert kinds(full) == ["error_rate", "cost_within_budget", "no_critical_error"]
    assert gate(full, "error_rate").below == 0.005
    assert gate(full, "no_critical_error").for_ == hours(72)


def test_a_gate_that_waits_becomes_a_question_after_seven_days(plan: Playbook):
    assert {step.max_hold for _, step in plan.ladder()} == {timedelta(days=7)}


# --- triggers


def test_it_has_five_triggers(plan: Playbook):
    assert [t.kind for t in plan.triggers] == [
        "error_rate",
        "latency",
        "violation",
        "cost",
        "complaints",
    ]


def test_over_5_percent_errors_for_5_minutes_rolls_back(plan: Playbook):
    t = trigger(plan, "error_rate")
    assert (t.above, t.for_, t.action) == (0.05, timedelta(minutes=5), "roll_back")
    assert (t.healthy, t.rule) == (0.02, "sustained")


def test_p95_over_5_seconds_for_10_minutes_halves_the_traffic(plan: Playbook):
    t = trigger(plan, "latency")
    assert (t.quantile, t.above) == (0.95, timedelta(seconds=5))
    assert (t.for_, t.action) == (timedelta(minutes=10), "halve")
    assert t.rate == pytest.approx(0.05)


def test_any_violation_rolls_back(plan: Playbook):
    assert trigger(plan, "violation").action == "roll_back"


def test_cost_over_three_times_the_projection_pauses(plan: Playbook):
    t = trigger(plan, "cost")
    assert (t.above, t.action, t.min_requests) == (3, "pause", 30)


def test_more_than_10_complaints_in_an_hour_ask_for_a_review(plan: Playbook):
    t = trigger(plan, "complaints")
    assert (t.above, t.within, t.action) == (10, hours(1), "review")


# --- procedure, flags, objectives, lists


def test_the_rollback_procedure_has_its_five_steps_in_order(plan: Playbook):
    assert plan.procedure == (
        "disable",
        "clear_rate_limits",
        "notify_on_call",
        "preserve_logs",
        "document_timeline",
    )


def test_four_agents_start_enabled_and_research_does_not(plan: Playbook):
    assert {name: agent.enabled for name, agent in plan.agents.items()} == {
        "guest": True,
        "bar_manager": True,
        "admin": True,
        "ui_orchestrator": True,
        "research": False,
    }


def test_every_agent_has_the_tools_of_the_product_and_no_others(plan: Playbook):
    tools = {name: set(a.tools.allow) for name, a in plan.agents.items() if a.tools}
    assert tools == {
        "guest": {
            "menu_search",
            "get_item_details",
            "add_to_cart",
            "view_cart",
            "remove_from_cart",
            "place_order",
            "check_order_status",
            "call_staff",
            "get_recommendations",
        },
        "bar_manager": {"get_active_orders", "update_order_status", "get_sales_summary"},
        "admin": {"approval_list_pending", "approval_resolve"},
        "ui_orchestrator": {"venues_list", "venues_search", "venues_get", "menu_get"},
        "research": {"web_research"},
    }


def test_its_limits_are_4000_tokens_10_tool_calls_and_30_requests_a_minute(plan: Playbook):
    limits = plan.limits.limits()
    assert limits.max_tokens_per_request == 4000
    assert limits.max_tool_calls_per_request == 10
    assert limits.rate_limit_per_minute == 30


def test_its_objectives_are_the_plans(plan: Playbook):
    slos = plan.slos
    assert slos.availability == 0.995
    assert slos.probe_every == timedelta(seconds=10)
    assert slos.latency_p50 == timedelta(seconds=1)
    assert slos.latency_p95 == timedelta(seconds=3)
    assert slos.error_rate == 0.01
    assert slos.policy_violations == 0


def test_conversations_stay_on_their_arm_until_idle_for_30_minutes(plan: Playbook):
    assert plan.timing.conversation_idle == timedelta(minutes=30)
    assert plan.timing.slot == timedelta(seconds=10)


def test_the_checklist_and_what_comes_after_are_complete(plan: Playbook):
    assert plan.checklist == (
        "analytics_dashboard",
        "monitoring_stream",
        "audit_export",
        "alerts_configured",
        "runbook_current",
        "cost_alerts_set",
    )
    assert [task.split()[0] for task in plan.after] == ["Remove", "Update", "Train", "Hold", "Plan"]


def test_the_plan_survives_its_own_canonical_form(plan: Playbook):
    again = Playbook.model_validate_json(plan.canonical())
    assert again == plan
    assert again.hash() == plan.hash()
    assert Playbook.model_validate(plan.as_data()) == plan
