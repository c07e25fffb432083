"""The A/B report: figures, rulings and sentences."""

from datetime import timedelta

import msgspec
import pytest

from molt.core import gates, gates_comparing
from molt.core.evidence import LIVE
from molt.core.findings import MetricReport, Report
from molt.core.phrases import percent, sentence
from molt.core.report import report

from .gate_world import GATES, HEALTHY, METRICS, day, ruled, world
from .traffic import Load, Place, gather
from .world import World, plan, step

LOW = HEALTHY._replace(outcomes={"order_completed": 0.20})
COMPARED = [GATES["no_degradation"], GATES["stable"], GATES["unchanged"]]


def of(w: World, name: str) -> MetricReport:
    return next(row for row in report(w.scene).metrics if row.name == name)


def test_every_metric_of_the_plan_has_a_row_and_the_ruling_of_its_gate():
    w = day(world(*COMPARED))
    found = report(w.scene)
    assert [row.name for row in found.metrics] == list(METRICS)
    rulings = {name.partition(":")[2]: r for name, r in ruled(w).items() if ":" in name}
    assert {row.name: (row.verdict, row.reason) for row in found.metrics} == {
        name: (ruling.verdict, ruling.reason) for name, ruling in rulings.items()
    }


def test_a_worse_agent_is_called_worse_in_the_first_sentence():
    found = report(day(world(*COMPARED), LOW).scene)
    assert "the agent is worse in Order completion rate" in found.headline
    row = found.metrics[0]
    assert row.verdict == "fail"
    assert row.effect is not None
    assert row.effect.relative == pytest.approx(-0.11, abs=0.02)
    assert row.effect.relative_high is not None
    assert row.effect.relative_high < 0
    assert "Proven worse: the agent lowers it." in row.sentence


def test_a_step_without_gates_on_figures_claims_nothing_to_be_proven():
    found = report(day(world()).scene)
    assert any(row.effect for row in found.metrics)
    assert found.headline.endswith("so none is proven fine or worse.")


def test_what_is_open_says_how_long_it_still_takes():
    row = of(day(world(*COMPARED, share=10), Load(400)), "cart_abandonment")
    assert row.verdict == "wait"
    assert row.more_hours is not None
    assert row.more_hours > 0
    assert "yet; at this pace about" in row.sentence


def test_without_traffic_it_says_that_too_little_was_seen():
    found = report(world(*COMPARED).scene)
    assert found.headline == "No user has met both arms for long enough to compare them yet."
    assert {row.effect for row in found.metrics} == {None}
    assert all("too little has been seen" in row.sentence for row in found.metrics)


def test_a_gate_that_passed_on_little_is_told_by_its_own_words():
    row = of(day(world(*COMPARED)), "order_completion")
    few = msgspec.structs.replace(row, effect=None, verdict="pass", reason="0.75 against 0.74")
    assert sentence(few).startswith("0.75 against 0.74. Too little has been seen of both arms for")


def test_counted_events_are_compared_by_the_ratio_of_their_rates():
    row = of(day(world(*COMPARED)), "support_tickets")
    assert row.kind == "count"
    assert row.effect is not None
    low, high = row.effect.relative_low, row.effect.relative_high
    assert low is not None
    assert high is not None
    assert -1 < low < (row.effect.relative or 0) < high < 1


def test_a_metric_that_no_gate_names_is_shown_and_not_judged():
    row = of(day(world(GATES["stable"])), "satisfaction")
    assert (row.verdict, row.margin) == ("none", None)
    assert "No gate of the plan looks at it." in row.sentence


def test_each_agent_type_has_its_own_effect():
    w = day(world(*COMPARED))
    for arm in ("candidate", "control"):
        place = Place("r1", w.rollout.epoch, arm, LIVE)  # type: ignore[arg-type]
        gathered = gather(w.rng, place, Load(2000), w.now, timedelta(hours=1))
        for sums in gathered.sums:
            key = sums.key
            sums.key = type(key)(key.rollout, key.epoch, 0, "admin", key.arm, key.mode)
        w.take(gathered)
    row = of(w, "order_completion")
    assert set(row.agents) == {"admin", "guest"}
    assert row.effect is not None
    assert sum(e.candidate_n for e in row.agents.values()) == row.effect.candidate_n


def test_a_broken_split_comes_before_everything_else():
    w = day(world(*COMPARED, share=20))
    w.book.new_subjects[w.rollout.epoch][0] += 2000
    found = report(w.scene)
    assert found.sample_ratio.mismatch
    assert found.headline.startswith("Nothing here can be trusted")


def test_a_relative_change_of_nothing_has_no_sign():
    assert [percent(x) for x in (0.0421, -0.0003, -0.11)] == ["+4.2%", "0.0%", "-11.0%"]


# --- novelty


def climbed(early: Load, late: Load, **more: object) -> World:
    """At 20% after a day at 10%; newcomers behave as `early`, those of the first step as `late`."""
    gate = GATES["no_degradation"] | {"margin": "5%"} | more
    steps = [step(10, gate), step(20, gate), step(100)]
    w = World(plan(("canary", steps), metrics=METRICS)).begin()
    w.serve(timedelta(days=1), early._replace(requests=1000), HEALTHY)
    w.at_step("canary", 1)
    for tier, load in ((0, late), (1, early)):
        place = Place("r1", w.rollout.epoch, "candidate", LIVE, tier)
        w.take(gather(w.rng, place, load, w.now, timedelta(days=3)))
    place = Place("r1", w.rollout.epoch, "control", LIVE, 2)
    w.take(gather(w.rng, place, Load(8000), w.now, timedelta(days=3)))
    w.now += timedelta(days=3)
    return w


EAGER = Load(9000, outcomes={"order_completed": 0.32})
WEARY = Load(1000, outcomes={"order_completed": 0.22})


def only_completion(w: World) -> gates.Ruling:
    return next(r for r in gates.rule_all(w.scene) if r.name == "no_degradation:order_completion")


def test_harm_to_settled_users_beyond_the_margin_blocks_a_pass():
    w = climbed(EAGER, WEARY)
    ruling = only_completion(w)
    assert ruling.verdict == "wait"
    assert "among users who have had it for 24h: beyond the margin" in ruling.reason
    row = of(w, "order_completion")
    assert row.novelty.blocks
    assert "beyond the margin: the rollout waits" in row.sentence


def test_settled_users_who_fare_alike_block_nothing():
    w = climbed(Load(9000), Load(1000))
    assert only_completion(w).verdict == "pass"
    row = of(w, "order_completion")
    assert row.novelty.effect is not None
    assert not row.novelty.blocks
    assert "Among users who have had the agent for at least 24 hours" in row.sentence


def test_nobody_is_settled_in_the_first_step():
    assert of(day(world(*COMPARED)), "order_completion").novelty.effect is None


def test_a_metric_caps_the_margin_that_gates_allow():
    gate = {"kind": "no_degradation", "metrics": ["order_completion"]}
    metrics = METRICS | {"order_completion": METRICS["order_completion"] | {"margin": "3%"}}
    w = World(plan(("canary", [step(5, gate), step(10)]), metrics=metrics)).begin()
    (parsed,) = w.scene.step.gates
    metric = w.playbook.metrics["order_completion"]
    assert gates_comparing.step_margin(w.scene, parsed, metric) == 0.03  # type: ignore[arg-type]


def test_the_report_is_the_same_however_its_evidence_came_together():
    def gathered(order: int) -> Report:
        w = world(*COMPARED)
        parts = []
        for arm in ("candidate", "control"):
            place = Place("r1", w.rollout.epoch, arm, LIVE)  # type: ignore[arg-type]
            parts += [gather(w.rng, place, Load(300), w.now, timedelta(hours=1)) for _ in range(3)]
        for part in parts[::order]:
            w.take(part)
        w.now += timedelta(hours=3)
        return report(w.scene)

    one, other = gathered(1), gathered(-1)
    for a, b in zip(one.metrics, other.metrics, strict=True):
        assert a.verdict == b.verdict
        assert a.sentence == b.sentence
