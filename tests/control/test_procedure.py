"""The rollback procedure: five steps, in order, verified, and carried on by whoever comes next."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest
from tests.core.world import T0, plan, step

from molt.adapters.audit_files import AuditWriter
from molt.adapters.env_file import EnvFile
from molt.control.rollbacks import open_steps
from molt.core import commands
from molt.core.errors import Refused
from molt.core.events import IncidentOpened, ProcedureStepDone, ProcedureStepFailed, RolledBack
from molt.core.rollout import Phase

from .conftest import OpenHouse
from .house import House, until

STEPS = ["disable", "clear_rate_limits", "notify_on_call", "preserve_logs", "document_timeline"]


def done(house: House) -> list[str]:
    return [e.step for e in house.facts(ProcedureStepDone)]


def proof(house: House, name: str) -> str:
    return next(e.proof for e in house.facts(ProcedureStepDone) if e.step == name)


async def rolled_back(house: House) -> House:
    await house.violate()
    assert house.rollout.phase is Phase.ROLLED_BACK
    return house


# --- before the procedure


async def test_traffic_is_on_control_before_its_first_step(house: House):
    assert house.share == 500
    await house.violate()
    assert house.share == 0
    assert done(house) == []
    assert [type(e) for e in house.desk.events()[-2:]] == [IncidentOpened, RolledBack]


async def test_an_incident_says_since_when_its_condition_can_have_been_true(house: House):
    await house.controller.tick()
    last_quiet = house.clock.now()
    await house.clock.advance(0.4)
    await house.violate()
    assert house.facts(IncidentOpened)[0].quiet_until == last_quiet


# --- the five steps


async def test_all_five_steps_are_done_in_order_and_recorded_once(house: House):
    await rolled_back(house)
    assert await house.rollbacks.work() is False
    assert done(house) == STEPS
    assert house.rollout.incidents[0].steps == tuple(STEPS)
    assert await house.rollbacks.work() is False
    assert done(house) == STEPS


async def test_each_step_has_its_effect_and_its_proof(house: House):
    before = house.flags.limiter_epoch
    await rolled_back(house)
    await house.rollbacks.work()
    assert "MOLTBOT_ENABLED=false" in house.flags_file.read_text()
    assert house.flags.limiter_epoch == before + 1
    (notice,) = [n for n in house.phone.notices if n.severity == "critical"]
    assert "rolled back to 0%" in notice.title
    assert notice.page == f"incidents/{notice.key}"
    page = house.folder / "incidents" / "r1-i1" / "timeline.md"
    assert "# Incident r1-i1" in page.read_text()
    assert "read back" in proof(house, "disable")
    assert "applied by 2 of 2 gateways" in proof(house, "disable")
    assert "begun by 2 gateways" in proof(house, "clear_rate_limits")
    assert proof(house, "notify_on_call") == "delivered: rang"
    assert proof(house, "document_timeline") == str(page)


async def test_the_timeline_holds_the_evidence_and_every_step_so_far(house: House):
    await rolled_back(house)
    await house.rollbacks.work()
    page = (house.folder / "incidents" / "r1-i1" / "timeline.md").read_text()
    assert "- Trigger: **violation**, action **roll_back**" in page
    assert "| violations | 1 |" in page
    for name in STEPS[:-1]:
        assert f"| {name}: " in page
    times = [line.split("|")[1] for line in page.splitlines() if line.startswith("| 2026-")]
    assert times == sorted(times)


async def test_the_audit_segments_around_the_incident_are_preserved(house: House):
    writer = AuditWriter(house.audit, "g1", house.clock)
    for _ in range(3):
        writer.append({"at": house.clock.now(), "kind": "request"})
    writer.flush()
    await rolled_back(house)
    await house.rollbacks.work()
    writer.close()
    kept = [p for p in (house.folder / "incidents" / "r1-i1" / "logs").rglob("*") if p.is_file()]
    assert kept
    assert proof(house, "preserve_logs").startswith(f"{len(kept)} segment")


async def test_a_plan_may_leave_steps_out(open_house: OpenHouse):
    house = await open_house(plan(("canary", [step(5)]), procedure=["disable", "notify_on_call"]))
    await house.begin()
    await rolled_back(house)
    await house.rollbacks.work()
    assert done(house) == ["disable", "notify_on_call"]


# --- what goes wrong


@pytest.mark.parametrize("finished", range(len(STEPS)))
async def test_after_a_crash_the_next_process_goes_on_at_the_next_step(house: House, finished: int):
    await rolled_back(house)
    await _work_until(house, finished)
    assert done(house) == STEPS[:finished]
    await house.restart()
    assert house.rollout.phase is Phase.ROLLED_BACK
    assert house.share == 0
    assert [name for _, name in open_steps(house.desk)] == STEPS[finished:]
    await house.rollbacks.work()
    assert done(house) == STEPS


async def test_a_crash_after_a_step_was_done_but_not_recorded_does_it_again(house: House):
    await rolled_back(house)
    house.store.broken.add("append")
    assert await house.rollbacks.work() is True
    assert "MOLTBOT_ENABLED=false" in house.flags_file.read_text()
    assert done(house) == []
    house.store.broken.clear()
    await house.restart()
    await house.rollbacks.work()
    assert done(house) == STEPS
    assert house.flags_file.read_text().count("MOLTBOT_ENABLED") == 1


async def _work_until(house: House, finished: int) -> None:
    """Die when so many steps are on record: nothing can be written from then on."""
    house.store.appends_left = finished
    await house.rollbacks.work()
    house.store.appends_left = None


async def test_a_gateway_that_lags_behind_keeps_its_step_open(house: House):
    house.gateways.applied()
    house.gateways.lagging.add("g2")
    await rolled_back(house)
    working = asyncio.create_task(house.rollbacks.work())
    await until(working.done, house.clock)
    assert working.result() is True
    assert done(house) == ["notify_on_call", "preserve_logs", "document_timeline"]
    failed = house.facts(ProcedureStepFailed)
    assert [f.step for f in failed] == ["disable", "clear_rate_limits"]
    assert all("g2" in f.error for f in failed)
    house.gateways.lagging.clear()
    assert await house.rollbacks.work() is False
    assert sorted(done(house)) == sorted(STEPS)


async def test_a_gateway_that_was_never_heard_of_keeps_its_step_open(house: House):
    house.gateways.lagging.add("g2")
    await rolled_back(house)
    working = asyncio.create_task(house.rollbacks.work())
    await until(working.done, house.clock)
    assert done(house) == ["notify_on_call", "preserve_logs", "document_timeline"]
    assert all("1 of 2" in f.error for f in house.facts(ProcedureStepFailed))
    house.gateways.lagging.clear()
    assert await house.rollbacks.work() is False
    assert sorted(done(house)) == sorted(STEPS)


async def test_a_step_that_keeps_failing_is_recorded_once_and_tried_again(house: House):
    await rolled_back(house)
    (house.folder / "incidents").write_text("a file where the folder should be")
    for _ in range(3):
        assert await house.rollbacks.work() is True
    assert done(house) == STEPS[:3] or done(house) == STEPS[:4]
    assert len(house.facts(ProcedureStepFailed)) == 1
    (house.folder / "incidents").unlink()
    assert await house.rollbacks.work() is False
    assert done(house) == STEPS


async def test_an_unreachable_phone_stops_nothing_and_is_shown(house: House):
    house.phone.dead = True
    await rolled_back(house)
    assert await house.rollbacks.work() is False
    assert proof(house, "notify_on_call").startswith("UNDELIVERED: no answer")
    assert done(house) == STEPS


async def test_a_malformed_flags_file_keeps_the_first_step_open_until_mended(house: House):
    house.flags_file.write_text("MOLTBOT_ENABLED=perhaps\nMOLTBOT_TRAFFIC_PERCENT=many\n")
    await rolled_back(house)
    assert await house.rollbacks.work() is True
    assert "MOLTBOT_TRAFFIC_PERCENT" in house.facts(ProcedureStepFailed)[0].error
    assert house.share == 0, "control serves all the same"
    assert done(house) == STEPS[1:], "on-call hears of it all the same"
    house.flags_file.write_text("")
    await house.rollbacks.work()
    assert sorted(done(house)) == sorted(STEPS)


async def test_the_running_task_wakes_up_by_itself_and_retries(house: House):
    task = asyncio.create_task(house.rollbacks.run())
    (house.folder / "incidents").write_text("in the way")
    await rolled_back(house)
    await until(lambda: house.facts(ProcedureStepFailed), house.clock)
    (house.folder / "incidents").unlink()
    await until(lambda: done(house) == STEPS, house.clock)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


# --- several rollouts


async def test_with_another_rollout_running_only_its_own_agents_are_switched_off(
    open_house: OpenHouse,
):
    house = await open_house(plan(("canary", [step(5)])))
    await house.begin()
    other = plan(("canary", [step(5)]), name="other", agents={"research": {}})
    await house.begin("r2", other)
    await house.violate("r2")
    await house.rollbacks.work()
    assert house.flags_file.read_text() == "MOLTBOT_RESEARCH_ENABLED=false\n"
    assert [r.enabled for r in house.flags.rollouts] == [True, False]
    await house.violate("r1")
    await house.rollbacks.work()
    assert "MOLTBOT_ENABLED=false" in house.flags_file.read_text()


# --- the way back


async def test_a_resume_takes_back_what_the_procedure_switched_off(house: House):
    await rolled_back(house)
    with pytest.raises(Refused, match="not finished"):
        await house.do(commands.resume, reason="fixed", phase="canary")
    await house.rollbacks.work()
    await house.clock.advance(60)
    await house.do(commands.resume, reason="fixed", phase="canary")
    assert EnvFile(house.flags_file).read().enabled is True
    assert house.share == 500
    await house.controller.tick()
    assert house.share == 500
    assert house.rollout.phase is Phase.CANARY


async def test_a_second_rollback_has_its_own_incident_and_procedure(house: House):
    await rolled_back(house)
    await house.rollbacks.work()
    await house.clock.advance(60)
    await house.do(commands.resume, reason="fixed", phase="canary")
    await house.clock.advance(60)
    await rolled_back(house)
    await house.rollbacks.work()
    assert [i.steps for i in house.rollout.incidents] == [tuple(STEPS), tuple(STEPS)]
    for incident in ("r1-i1", "r1-i2"):
        assert (house.folder / "incidents" / incident / "timeline.md").is_file()
    assert house.rollout.rollbacks[1] - house.rollout.rollbacks[0] >= timedelta(minutes=2)
    assert house.rollout.started_at == T0
