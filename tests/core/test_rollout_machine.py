"""Any history: whatever traffic comes, whoever commands, the promises hold."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from functools import reduce
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from molt.core import commands, offers
from molt.core.assignment import CANDIDATE, CONTROL, assign, bucket_of
from molt.core.errors import Refused
from molt.core.events import (
    AnyEvent,
    BoundsChanged,
    Completed,
    IncidentOpened,
    ProcedureStepDone,
    QuestionAsked,
    Resumed,
    RolledBack,
    Ruling,
    StepEntered,
)
from molt.core.evidence import Seen
from molt.core.evolve import evolve
from molt.core.flags import Bounds
from molt.core.rollout import ACTIVE, WATCHED, Phase, Rollout, arm_at
from molt.core.snapshot import derive

from .traffic import Load
from .world import HOUR, World, plan, step, wf11

PLAN = plan(
    ("shadow", [step(0, {"kind": "no_violation"}, planned="2h", max_hold="4h")]),
    (
        "canary",
        [
            step(5, {"kind": "error_rate", "below": "5%"}, max_hold="4h"),
            step(
                20,
                {"kind": "no_degradation", "metrics": ["order_completion"], "margin": "50%"},
                planned="90m",
                max_hold="4h",
            ),
        ],
    ),
    (
        "progressive",
        [
            step(50, {"kind": "latency", "quantile": "95%", "below": "2s"}, {"kind": "approval"}),
            step(100, {"kind": "error_rate", "below": "5%"}, {"kind": "cost_within_budget"}),
        ],
    ),
    metrics={"order_completion": wf11().metrics["order_completion"].model_dump()},
    cost={"budget_per_1000": 10.0, "projected_per_request": 0.002, "spend_cap_per_day": 200.0},
)
NEVER_JUST_THERE = ("error_rate", "latency", "no_violation", "cost_within_budget")
SUBJECTS = [f"guest-{i}" for i in range(60)]
BOUNDS = [
    Bounds(),
    Bounds(),
    Bounds(traffic_percent=10),
    Bounds(shadow_mode=True),
    Bounds(enabled=False),
]
CLIMBING = (StepEntered, Completed)

loads = st.sampled_from(
    [
        Load(500),
        Load(500, errors=0.01),
        Load(500, errors=0.3),
        Load(300, slow=0.5),
        Load(200, cost=0.05),
        Load(400, outcomes={"order_completed": 0.1}),
        Load(10),
        Load(0),
        None,
    ]
)
lengths = st.sampled_from([timedelta(minutes=1), timedelta(minutes=12), HOUR, 3 * HOUR])
reasons = st.sampled_from(["", "because"])


class AnyHistory(RuleBasedStateMachine):
    """One rollout, with evidence, people and time drawn at random."""

    @initialize(seed=st.integers(0, 1_000), climbed=st.integers(0, 5))
    def start(self, seed: int, climbed: int) -> None:
        self.world = World(PLAN, seed=seed).begin()
        self.people: list[AnyEvent] = []
        for _ in range(climbed):
            self.climb()

    def decide(self) -> list[AnyEvent]:
        """Decide as often as something follows; a second look must find nothing more to do."""
        events = self.world.decide()
        more: list[AnyEvent] = []
        for _ in range(4):
            more = self.world.decide()
            if not more:
                return events
            events += more
        raise AssertionError(f"decisions never come to rest: {more}")

    def ask(self, command: Any, *args: Any, **more: Any) -> None:
        offered = offers.offered(self.world.scene)
        with suppress(Refused):
            self.people += self.world.do(command, *args, **more)
            name = "adjust" if more.get("version") else command.__name__
            assert name in offered, f"{name} was carried out, and not offered"

    # --- the world

    @rule(length=lengths, candidate=loads, control=st.sampled_from([Load(500), None]))
    def traffic(self, length: timedelta, candidate: Load | None, control: Load | None) -> None:
        if self.world.rollout.phase not in WATCHED:
            candidate = None
        self.world.serve(length, candidate, control, every=timedelta(minutes=4))
        self.decide()

    @rule()
    def climb(self) -> None:
        """Healthy hours until the next step, with a person's approval where one is due."""
        before = self.world.rollout.epoch
        for _ in range(3):
            serving = self.world.rollout.phase in WATCHED
            control = Load(500) if self.world.rollout.share < 100 else None
            self.world.serve(HOUR, Load(500) if serving else None, control)
            self.decide()
            self.ask(commands.approve, reason="looks good")
            self.decide()
            if self.world.rollout.epoch != before:
                break

    @rule(length=lengths)
    def silence(self, length: timedelta) -> None:
        self.world.wait(length)
        self.decide()

    @precondition(lambda self: self.world.rollout.share or not self.world.rollout.rollbacks)
    @rule()
    def violation(self) -> None:
        self.world.violate()
        watched = self.world.rollout.phase in WATCHED
        events = self.world.decide()
        assert self.world.rollout.share == 0
        if watched:
            assert [type(e) for e in events] == [IncidentOpened, RolledBack]

    @rule(count=st.sampled_from([1, 11]))
    def complaints(self, count: int) -> None:
        self.world.report("complaint", count)
        self.decide()

    @rule(count=st.sampled_from([10, 3_000]))
    def subjects_lost_on_the_way(self, count: int) -> None:
        epoch = self.world.rollout.epoch
        self.world.book.add_seen(Seen("r1", epoch, CONTROL, f"lost {i}") for i in range(count))
        self.decide()

    # --- people

    @rule(reason=reasons)
    def approve(self, reason: str) -> None:
        self.ask(commands.approve, reason=reason)
        self.decide()

    @rule(reason=reasons)
    def promote(self, reason: str) -> None:
        self.ask(commands.promote, reason=reason)
        self.decide()

    @rule()
    def pause(self) -> None:
        self.ask(commands.pause, reason="wait")

    @rule(phase=st.sampled_from([None, None, "shadow", "canary", "progressive"]))
    def resume(self, phase: str | None) -> None:
        self.ask(commands.resume, reason="fixed", phase=phase)
        self.decide()

    @precondition(lambda self: self.world.rollout.share or not self.world.rollout.rollbacks)
    @rule()
    def roll_back(self) -> None:
        self.ask(commands.roll_back, reason="smoke")

    @rule(version=st.sampled_from(["v1", "v2"]))
    def candidate_changes(self, version: str) -> None:
        self.ask(commands.note, text="deployed", version=version)
        self.decide()

    @rule(bounds=st.sampled_from(BOUNDS))
    def the_operator_changes_flags(self, bounds: Bounds) -> None:
        told = msgspec.to_builtins(bounds)
        self.world.apply(BoundsChanged(at=self.world.now, by="operator", bounds=told))
        self.decide()

    @precondition(
        lambda self: any(i.procedure and not i.steps for i in self.world.rollout.incidents)
    )
    @rule()
    def procedure_finishes(self) -> None:
        world = self.world
        for incident in world.rollout.incidents:
            if incident.procedure and not incident.steps:
                for name in PLAN.procedure:
                    done = ProcedureStepDone(
                        at=world.now, incident=incident.id, step=name, proof="seen"
                    )
                    world.apply(done)

    # --- the promises

    @invariant()
    def replay_rebuilds_the_rollout(self) -> None:
        assert reduce(evolve, self.world.log, Rollout()) == self.world.rollout

    @invariant()
    def traffic_never_rises_without_passed_gates(self) -> None:
        for before, event in _with_states(self.world.log):
            if isinstance(event, StepEntered) and event.share > before.share:
                assert self._earned(before, event)
            elif not isinstance(event, StepEntered):
                assert evolve(before, event).share <= before.share

    def _earned(self, before: Rollout, event: StepEntered) -> bool:
        """All gates passed; or a person went on, after a question, past gates that only waited."""
        if before.phase is Phase.ROLLED_BACK:
            return self._by_a_person(event)
        verdicts = {r.verdict for r in event.rulings}
        if verdicts == {"pass"}:
            return True
        approval = [r.verdict for r in event.rulings if r.name == "approval"]
        asked = before.halt is not None and before.halt.kind == "question"
        return (
            self._by_a_person(event)
            and asked
            and verdicts <= {"pass", "wait"}
            and bool(event.reason)
            and approval in ([], ["pass"])
        )

    def _by_a_person(self, event: AnyEvent) -> bool:
        return event.by == "ann" and event in self.people

    @invariant()
    def a_rollout_completes_only_from_full_traffic(self) -> None:
        for before, event in _with_states(self.world.log):
            if isinstance(event, Completed):
                assert before.share == 100
                assert event.rulings

    @invariant()
    def the_hold_is_never_shortened(self) -> None:
        for before, event in _with_states(self.world.log):
            if isinstance(event, CLIMBING) and before.phase in ACTIVE and _rises(before, event):
                hold = PLAN.phase(before.plan_phase).steps[before.step].hold
                assert event.at - before.stays[-1].at >= hold, "since the last epoch began"

    @invariant()
    def nobody_climbs_past_the_operators_flags(self) -> None:
        for before, event in _with_states(self.world.log):
            if isinstance(event, CLIMBING) and before.phase in ACTIVE and _rises(before, event):
                assert before.bounds.ceiling >= before.share
                assert before.bounds.enabled is not False

    @invariant()
    def nothing_restarts_by_itself_after_a_rollback(self) -> None:
        for earlier, later in pairwise(_with_states(self.world.log)):
            if later[0].phase is Phase.ROLLED_BACK and isinstance(later[1], StepEntered):
                assert isinstance(earlier[1], Resumed)
                assert self._by_a_person(earlier[1])
                assert self._by_a_person(later[1])

    @invariant()
    def no_measured_ruling_passes_without_requests(self) -> None:
        for event in self.world.log:
            for ruling in _rulings(event):
                if ruling.verdict == "pass" and ruling.name in NEVER_JUST_THERE:
                    assert ruling.numbers["requests"] > 0
                if ruling.verdict == "pass" and ruling.name.startswith("no_degradation"):
                    assert min(ruling.numbers["candidate_n"], ruling.numbers["control_n"]) > 0

    @invariant()
    def whoever_was_in_stays_in(self) -> None:
        rollout = self.world.rollout
        flags = derive(rollout, PLAN, rollout.bounds)
        inside = {s for s in SUBJECTS if assign(flags, "guest", s).arm == CANDIDATE}
        assert inside == {s for s in SUBJECTS if bucket_of("salt", s) < rollout.live_share * 100}

    @invariant()
    def outcomes_go_to_the_arm_that_gateways_chose(self) -> None:
        rollout, now = self.world.rollout, self.world.now
        flags = derive(rollout, PLAN, rollout.bounds)
        for subject in SUBJECTS[:10]:
            arm, epoch = arm_at(rollout, bucket_of("salt", subject), now)
            assert (arm, epoch) == (assign(flags, "guest", subject).arm, flags.epoch)

    @invariant()
    def every_epoch_is_one_stretch_of_one_share(self) -> None:
        epochs = [stay.epoch for stay in self.world.rollout.stays]
        assert epochs == sorted(set(epochs))

    @invariant()
    def a_question_is_asked_once(self) -> None:
        for before, event in _with_states(self.world.log):
            if isinstance(event, QuestionAsked):
                assert before.halt is None

    @invariant()
    def control_serves_all_after_a_rollback(self) -> None:
        rollout = self.world.rollout
        if rollout.phase in (Phase.ROLLED_BACK, Phase.ABORTED):
            assert rollout.share == 0
            assert not derive(rollout, PLAN, Bounds()).enabled


def _with_states(log: Sequence[AnyEvent]) -> list[tuple[Rollout, AnyEvent]]:
    """Every event with the rollout before it."""
    rollout, pairs = Rollout(), []
    for event in log:
        pairs.append((rollout, event))
        rollout = evolve(rollout, event)
    return pairs


def _rises(before: Rollout, event: AnyEvent) -> bool:
    return not isinstance(event, StepEntered) or event.share > before.share


def _rulings(event: AnyEvent) -> Sequence[Ruling]:
    return getattr(event, "rulings", ())


AnyHistory.TestCase.settings = settings(max_examples=30, stateful_step_count=30, derandomize=True)
TestAnyHistory = AnyHistory.TestCase
