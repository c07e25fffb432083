"""What comes in: batches, outcomes, versions, violations - each once, and to whom it belongs."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tests.core.traffic import Load
from tests.core.world import HOUR, MINUTE, plan, step

from molt.core import commands
from molt.core.assignment import CANDIDATE, CONTROL, bucket_of, statistics_bucket_of
from molt.core.events import CandidateChanged, IncidentOpened
from molt.core.evidence import LIVE, Violation
from molt.core.rollout import Phase

from .conftest import OpenHouse
from .house import HASHER, House


def inside(share: float) -> str:
    return next(s for s in map(str, range(10_000)) if bucket_of("salt", s) < share * 100)


def outside(share: float) -> str:
    return next(s for s in map(str, range(10_000)) if bucket_of("salt", s) >= share * 100)


def counted(house: House, kind: str, arm: Any, epoch: int) -> float:
    return float(house.desk.book.sums(epoch, arm, LIVE, [kind]).sum())


# --- batches


async def test_a_repeated_batch_counts_once(house: House):
    batch = house.batch(slots=[msgspec.structs.replace(house.violating_slot(), violations=0)])
    assert await house.controller.ingest(batch) is True
    assert await house.controller.ingest(batch) is False
    epoch = house.rollout.epoch
    assert house.desk.book.counts([epoch], CANDIDATE, LIVE).requests == 1


async def test_two_gateways_may_use_the_same_numbers(house: House):
    for gateway in ("g1", "g2"):
        batch = house.batch(gateway, slots=[house.violating_slot()])
        batch.sequence = 7
        batch.slots[0].violations = 0
        assert await house.controller.ingest(batch) is True
    assert house.desk.book.counts([house.rollout.epoch], CANDIDATE, LIVE).requests == 2


async def test_evidence_of_an_unknown_rollout_is_kept_and_disturbs_nobody(house: House):
    slot = house.violating_slot()
    slot.key = msgspec.structs.replace(slot.key, rollout="gone")
    assert await house.controller.ingest(house.batch(slots=[slot])) is True
    assert house.rollout.phase is Phase.CANARY


async def test_what_was_gathered_is_read_back_after_a_restart(house: House):
    await house.serve(HOUR, Load(300, errors=0.1), Load(600))
    before = _evidence(house)
    await house.restart()
    assert _evidence(house) == before


def _evidence(house: House) -> list[Any]:
    book, epoch = house.desk.book, house.rollout.epoch - 1
    read: list[Any] = [dict(book.new_subjects), book.newest]
    for arm in (CANDIDATE, CONTROL):
        counts = book.counts([epoch], arm, LIVE)
        read.append(counts._replace(spent=counts.spent._replace(cost=0.0)))
        read.append(book.latency([epoch], arm, LIVE))
        columns = ("requests", "errors", "order_completed")
        read += [book.sums(epoch, arm, LIVE, [column]).tolist() for column in columns]
    return read


# --- violations


async def test_a_violation_is_answered_in_the_call_that_reports_it(house: House):
    await house.violate()
    assert house.rollout.phase is Phase.ROLLED_BACK
    assert house.share == 0
    assert house.facts(IncidentOpened)[0].trigger == "violation"


async def test_a_reported_violation_counts_once_by_its_name(house: House):
    seen = Violation("r1", house.clock.now(), "guest", "drop_tables", "reported")
    assert await house.controller.report_violation(seen, once="report-1") is True
    assert house.rollout.phase is Phase.ROLLED_BACK
    assert await house.controller.report_violation(seen, once="report-1") is False
    assert len(house.facts(IncidentOpened)) == 1


# --- outcomes


async def test_an_outcome_counts_once_by_its_id(house: House):
    one = house.outcome("o1", inside(5), "order_completed")
    first = await house.controller.report_outcomes("r1", [one, one])
    again = await house.controller.report_outcomes("r1", [one])
    assert (first.accepted, first.repeated) == (1, 1)
    assert (again.accepted, again.repeated) == (0, 1)
    assert counted(house, "order_completed", CANDIDATE, house.rollout.epoch) == 1


async def test_outcomes_go_to_the_arm_that_their_subject_is_on(house: House):
    outcomes = [
        house.outcome("o1", inside(5), "order_completed"),
        house.outcome("o2", outside(5), "order_completed"),
    ]
    await house.controller.report_outcomes("r1", outcomes)
    epoch = house.rollout.epoch
    assert counted(house, "order_completed", CANDIDATE, epoch) == 1
    assert counted(house, "order_completed", CONTROL, epoch) == 1


async def test_a_late_outcome_goes_to_the_arm_and_step_of_its_time(house: House):
    in_canary, epoch = house.clock.now(), house.rollout.epoch
    subject = next(s for s in map(str, range(10_000)) if 500 <= bucket_of("salt", s) < 2_000)
    await house.serve(HOUR, Load(600), Load(600))
    assert house.rollout.share == 20
    times = {"late": in_canary, "now": house.clock.now(), "shadow": in_canary - MINUTE}
    await house.controller.report_outcomes(
        "r1", [house.outcome(name, subject, "tip", at=at) for name, at in times.items()]
    )
    assert counted(house, "tip", CONTROL, 1) == 1
    assert counted(house, "tip", CONTROL, epoch) == 1
    assert counted(house, "tip", CANDIDATE, epoch) == 0
    assert counted(house, "tip", CANDIDATE, house.rollout.epoch) == 1


async def test_outcomes_too_old_or_from_the_future_are_refused(house: House):
    now = house.clock.now()
    ages = {"a": timedelta(days=7), "b": timedelta(days=7, seconds=1), "c": -timedelta(minutes=6)}
    accepted = await house.controller.report_outcomes(
        "r1", [house.outcome(i, "s", "complaint", at=now - age) for i, age in ages.items()]
    )
    assert (accepted.accepted, accepted.too_late) == (1, 2)


async def test_outcomes_that_nothing_in_the_plan_counts_are_kept_and_said_so(house: House):
    kinds = ("complaint", "odrer_completed", "compliant")
    found = await house.controller.report_outcomes(
        "r1", [house.outcome(kind, "s", kind) for kind in kinds]
    )
    assert (found.accepted, found.unused) == (3, 2)


async def test_an_outcome_without_the_value_that_a_metric_sums_waits_to_be_sent_with_it(
    open_house: OpenHouse,
):
    seconds = {"of": "staff_response", "per": ["staff_response"], "value": True, "better": "lower"}
    small = plan(("canary", [step(5), step(20)]), metrics={"staff_response": seconds})
    house = await open_house(small)
    await house.begin()
    lacking = house.outcome("o1", "s", "staff_response")
    found = await house.controller.report_outcomes("r1", [lacking])
    assert (found.accepted, found.without_value) == (0, 1)
    whole = house.outcome("o1", "s", "staff_response", value=30.0)
    found = await house.controller.report_outcomes("r1", [whole])
    assert (found.accepted, found.repeated, found.without_value) == (1, 0, 0)


async def test_outcomes_of_subjects_nobody_has_seen_are_counted_and_kept(house: House):
    await house.see("known")
    found = await house.controller.report_outcomes(
        "r1",
        [house.outcome(s, s, "order_completed") for s in ("known", "stranger", "other stranger")],
    )
    assert (found.accepted, found.unknown_subjects) == (3, 2)
    assert house.controller.unknown_subjects == 2


async def test_a_subjects_id_is_never_kept(house: House):
    await house.controller.report_outcomes("r1", [house.outcome("o1", "zoe@bar.example", "x")])
    (kept,) = await house.store.outcomes("r1", house.clock.now() - HOUR)
    assert kept.subject == HASHER("zoe@bar.example")
    assert kept.bucket == bucket_of("salt", "zoe@bar.example")
    assert "zoe" not in msgspec.json.encode(kept).decode()


async def test_values_are_summed_beside_the_count_in_the_subjects_bucket(house: House):
    subject = inside(5)
    for i, seconds in enumerate((30.0, 50.0)):
        await house.controller.report_outcomes(
            "r1", [house.outcome(f"o{i}", subject, "staff_response", value=seconds)]
        )
    sums = house.desk.book.sums(house.rollout.epoch, CANDIDATE, LIVE, ["staff_response.value"])
    assert sums[statistics_bucket_of("other", subject)] == 80
    assert counted(house, "staff_response", CANDIDATE, house.rollout.epoch) == 2


async def test_eleven_complaints_ask_for_a_review_in_the_call_that_reports_them(house: House):
    subject = inside(5)
    await house.controller.report_outcomes(
        "r1", [house.outcome(f"c{i}", subject, "complaint") for i in range(11)]
    )
    assert house.rollout.halt
    assert house.rollout.halt.kind == "review"
    assert house.share == 500


async def test_complaints_are_remembered_over_a_restart(house: House):
    subject = inside(5)
    await house.controller.report_outcomes(
        "r1", [house.outcome(f"c{i}", subject, "complaint") for i in range(6)]
    )
    await house.clock.advance(1800)
    await house.restart()
    await house.controller.report_outcomes(
        "r1", [house.outcome(f"d{i}", subject, "complaint") for i in range(5)]
    )
    assert house.rollout.halt
    assert house.rollout.halt.kind == "review"


async def test_a_critical_error_is_remembered_over_a_restart_for_as_long_as_its_gate_looks(
    open_house: OpenHouse,
):
    gate = {"kind": "no_critical_error", "for": "72h"}
    house = await open_house(plan(("canary", [step(5, gate), step(20)])))
    await house.begin()
    await house.clock.advance(3600)
    await house.controller.report_outcomes("r1", [house.outcome("e", "s", "critical_error")])
    await house.clock.advance(71 * 3600)
    await house.restart()
    await house.serve(timedelta(minutes=50), Load(600), Load(600))
    assert house.rollout.share == 5
    await house.serve(timedelta(minutes=11), Load(600), Load(600))
    assert house.rollout.share == 20


# --- versions of the candidate


async def versions(house: House, *seen: str, apart: float = 1.0) -> list[str]:
    for version in seen:
        await house.controller.ingest(house.batch(versions={"r1": version}))
        await house.clock.advance(apart)
    return [e.version for e in house.facts(CandidateChanged)]


async def test_the_first_version_only_becomes_known(house: House):
    before = house.rollout
    await versions(house, "v1")
    assert house.rollout.candidate_version == "v1"
    assert (house.rollout.epoch, house.rollout.hold_since) == (before.epoch, before.hold_since)


async def test_a_new_version_is_a_change_at_once_with_a_fresh_hold(house: House):
    await house.clock.advance(1800)
    epoch = house.rollout.epoch
    await versions(house, "v1", "v2")
    assert house.rollout.candidate_version == "v2"
    assert house.rollout.epoch == epoch + 1
    assert (house.clock.now() - house.rollout.stays[-1].at).total_seconds() == 1
    assert house.flags.rollouts[0].epoch == epoch + 1


async def test_the_same_version_again_changes_nothing(house: House):
    assert await versions(house, "v1", "v1", "v1") == ["v1"]


async def test_old_instances_that_still_answer_during_a_deployment_are_no_change_back(
    house: House,
):
    assert await versions(house, "v1", "v2", "v1", "v2", "v1", "v2") == ["v1", "v2"]


async def test_a_version_that_alone_is_left_is_a_change_back(house: House):
    await versions(house, "v1", "v2", "v2")
    assert await versions(house, "v1", "v1", apart=40) == ["v1", "v2", "v1"]


async def test_a_version_noted_by_a_person_is_not_noted_again_when_seen(house: House):
    await house.do(commands.note, text="new prompt", version="v2")
    assert await versions(house, "v2") == ["v2"]


async def test_a_version_seen_while_rolled_back_counts_after_the_resume(house: House):
    await versions(house, "v1")
    await house.do(commands.roll_back, reason="smoke")
    assert await versions(house, "v2") == ["v1"]
    await house.rollbacks.work()
    await house.clock.advance(60)
    await house.do(commands.resume, reason="fixed", phase="canary")
    assert await versions(house, "v2") == ["v1", "v2"]


@pytest.mark.parametrize("share", [5, 20])
async def test_the_hold_of_a_changed_candidate_is_the_steps_whole_hold(
    open_house: OpenHouse, share: int
):
    house = await open_house(plan(("canary", [step(share), step(50)])))
    await house.begin()
    await house.serve(5 * MINUTE, Load(600), Load(600), versions={"r1": "v1"})
    await house.serve(50 * MINUTE, Load(600), Load(600), versions={"r1": "v2"})
    await house.serve(59 * MINUTE, Load(600), Load(600), versions={"r1": "v2"})
    assert house.rollout.share == share
    await house.serve(MINUTE, Load(600), Load(600))
    assert house.rollout.share == 50
