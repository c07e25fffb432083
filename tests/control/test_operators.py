"""People and their flags: who was first, what the file says, and rollouts side by side."""

import asyncio
import json
from datetime import timedelta

import msgspec
import pytest
from tests.core.traffic import Load
from tests.core.world import HOUR, plan, step, wf11

from molt.control import view
from molt.control.alerts import AlertDesk
from molt.core import commands, gates
from molt.core.assignment import bucket_of, explain
from molt.core.errors import OperatorError, Refused, VersionConflict
from molt.core.events import AlarmCleared, AlarmRaised, BoundsChanged, IncidentOpened, Paused
from molt.core.flags import Bounds
from molt.core.rollout import Phase

from .conftest import OpenHouse
from .house import House

RESEARCH = plan(("shadow", [step(0)]), name="research", agents={"research": {}})


# --- two at once


async def test_the_second_of_two_operators_gets_a_conflict_that_says_what_changed(house: House):
    seen = house.rollout.version
    await house.do(commands.pause, reason="lunch", expected_version=seen)
    await house.do(commands.resume, reason="back", expected_version=seen + 1)
    with pytest.raises(VersionConflict, match=rf"since version {seen}: Paused, Resumed\."):
        await house.do(commands.roll_back, reason="smoke", expected_version=seen)
    assert house.rollout.phase is Phase.CANARY


async def test_of_two_commands_at_the_same_time_one_wins(house: House):
    seen = house.rollout.version
    results = await asyncio.gather(
        house.do(commands.pause, reason="one", expected_version=seen),
        house.do(commands.pause, reason="two", expected_version=seen),
        return_exceptions=True,
    )
    assert sorted(type(r).__name__ for r in results) == ["Rollout", "VersionConflict"]
    assert len(house.facts(Paused)) == 1


async def test_ticks_and_commands_take_turns(house: House):
    await asyncio.gather(
        *(house.controller.tick() for _ in range(5)),
        *(house.do(commands.note, text=f"note {i}", version=None) for i in range(5)),
    )
    records = await house.store.load("r1")
    assert [r.seq for r in records] == list(range(1, len(records) + 1))


async def test_a_refused_command_leaves_no_trace(house: House):
    before = house.rollout.version
    with pytest.raises(Refused):
        await house.do(commands.promote, reason="now")
    assert house.rollout.version == before


async def test_an_unknown_rollout_is_named_with_those_that_exist(house: House):
    with pytest.raises(OperatorError, match="'r9'; known: r1"):
        await house.do(commands.pause, reason="x", rollout="r9")


async def test_listeners_hear_every_record_once_and_in_order(house: House):
    await house.do(commands.pause, reason="lunch")
    await house.violate()
    heard = [record.seq for rollout, record in house.heard if rollout == "r1"]
    assert heard == list(range(1, house.rollout.version + 1))


# --- the operator's flags


async def test_the_file_bounds_the_share_and_the_log_says_so(house: House):
    house.flags_file.write_text("MOLTBOT_TRAFFIC_PERCENT=2\n")
    await house.controller.tick()
    assert house.share == 200
    assert house.rollout.share == 5, "the rollout itself stays where it is"
    (changed,) = house.facts(BoundsChanged)
    assert changed.reason.startswith("flags of the operator: ")
    assert (changed.bounds["traffic_percent"], changed.by) == (2.0, "operator")
    house.flags_file.write_text("")
    await house.controller.tick()
    assert house.share == 500


async def test_outcomes_follow_the_share_that_the_operator_allowed(house: House):
    subject = next(s for s in map(str, range(10_000)) if 200 <= bucket_of("salt", s) < 500)
    house.flags_file.write_text("MOLTBOT_TRAFFIC_PERCENT=2\n")
    await house.controller.tick()
    await house.controller.report_outcomes("r1", [house.outcome("o1", subject, "tip")])
    epoch = house.rollout.epoch
    assert house.flags.rollouts[0].epoch == epoch
    assert house.desk.book.sums(epoch, "control", "live", ["tip"]).sum() == 1


async def test_a_rollout_begun_under_bounds_knows_them(open_house: OpenHouse):
    house = await open_house(plan(("canary", [step(50)])))
    house.flags_file.write_text("MOLTBOT_TRAFFIC_PERCENT=10\n")
    await house.controller.tick()
    await house.begin()
    assert (house.rollout.share, house.rollout.live_share, house.share) == (50, 10, 1_000)
    before = house.rollout.version
    await house.restart()
    await house.controller.tick()
    assert len(house.facts(BoundsChanged)) == 1
    assert before <= house.rollout.version <= before + 1


async def test_a_resume_after_a_rollback_has_its_whole_share_at_once(house: House):
    await house.violate()
    await house.rollbacks.work()
    await house.controller.tick()
    assert house.rollout.bounds.enabled is False, "the procedure's switch is on record"
    await house.restart()
    await house.clock.advance(60)
    await house.do(commands.resume, reason="fixed", phase="canary")
    assert (house.rollout.live_share, house.share) == (5, 500)
    epoch = house.rollout.epoch
    await house.controller.tick()
    assert house.rollout.epoch == epoch


async def test_the_environment_and_the_file_both_bound(open_house: OpenHouse):
    house = await open_house(plan(("canary", [step(50)])))
    house.environment = Bounds(traffic_percent=30, agents={"guest": True})
    await house.restart()
    await house.begin()
    assert house.share == 3_000
    house.flags_file.write_text("MOLTBOT_TRAFFIC_PERCENT=40\nMOLTBOT_GUEST_ENABLED=false\n")
    await house.controller.tick()
    assert house.share == 3_000
    assert house.flags.rollouts[0].disabled_agents == ("guest",)


async def test_a_malformed_file_keeps_the_last_good_flags_and_raises_one_alarm(house: House):
    house.flags_file.write_text("MOLTBOT_TRAFFIC_PERCENT=2\n")
    await house.controller.tick()
    house.flags_file.write_text("MOLTBOT_TRAFFIC_PERCENT=lots\n")
    for _ in range(3):
        await house.controller.tick()
    assert house.share == 200
    (alarm,) = house.facts(AlarmRaised)
    assert alarm.alarm == "flags_file"
    assert "molt.env:1:25" in alarm.text
    assert "flags_file" in house.rollout.alarms
    house.flags_file.write_text("MOLTBOT_TRAFFIC_PERCENT=3\n")
    await house.controller.tick()
    assert len(house.facts(AlarmCleared)) == 1
    assert house.rollout.alarms == {}
    assert house.share == 300


async def test_a_deleted_file_lifts_no_bounds(house: House):
    house.flags_file.write_text("MOLTBOT_ENABLED=false\n")
    await house.controller.tick()
    house.flags_file.unlink()
    await house.controller.tick()
    assert house.share == 0
    assert "flags_file" in house.rollout.alarms


async def test_the_operators_shadow_mode_takes_users_back_and_keeps_watching(house: House):
    house.flags_file.write_text("SHADOW_MODE=true\n")
    await house.controller.tick()
    found = explain(house.flags, "guest", "anybody")
    assert (found.arm, found.reason, found.mirror) == ("control", "shadow", True)


@pytest.mark.parametrize(
    ("text", "what", "do"),
    [
        ("MOLTBOT_ENABLED=false", "switched it off", "set MOLTBOT_ENABLED=true in {file}"),
        ("MOLTBOT_GUEST_ENABLED=false", "switched guest off", "set MOLTBOT_GUEST_ENABLED=true in"),
        ("SHADOW_MODE=true", "keeps it in shadow", "set MOLTBOT_SHADOW_MODE=false in {file}"),
        ("MOLTBOT_TRAFFIC_PERCENT=3", "allows 3% of", "set MOLTBOT_TRAFFIC_PERCENT=100 in {file}"),
    ],
)
async def test_what_the_operators_flags_hold_back_is_said_with_what_lifts_it(
    house: House, text: str, what: str, do: str
):
    house.flags_file.write_text(f"{text}\n")
    await house.controller.tick()
    held = view.state(house.desk, house.clock.now(), operator=house.operator)["held_back"]
    assert what in held["what"]
    assert do.format(file=house.flags_file) in held["do"]
    bounds = next(
        g for g in gates.rule_all(house.desk.scene(house.clock.now())) if g.name == "bounds"
    )
    assert bounds.verdict == "wait"

    flag, _, value = held["do"].removeprefix("set ").partition(" in ")[0].partition("=")
    house.operator.set(flag, value)
    await house.controller.tick()
    assert view.state(house.desk, house.clock.now(), operator=house.operator)["held_back"] is None


async def test_a_flag_of_the_environment_is_lifted_by_a_new_start(open_house: OpenHouse):
    house = await open_house()
    house.environment = Bounds(enabled=False)
    await house.restart()
    await house.begin()
    held = view.state(house.desk, house.clock.now(), operator=house.operator)["held_back"]
    assert held["do"] == "start Molt again without MOLTBOT_ENABLED in its environment"


async def test_bounds_are_in_force_after_a_restart(house: House):
    house.flags_file.write_text("MOLTBOT_ENABLED=false\n")
    await house.restart()
    assert house.share == 0


# --- side by side


async def test_rollouts_of_different_agents_run_side_by_side(house: House):
    await house.begin("r2", RESEARCH)
    assert [(r.rollout, r.shadow) for r in house.flags.rollouts] == [("r1", False), ("r2", True)]
    await house.violate("r2")
    assert house.controller.desks["r2"].rollout.phase is Phase.ROLLED_BACK
    assert house.rollout.phase is Phase.CANARY
    assert house.share == 500
    await house.restart()
    assert list(house.controller.desks) == ["r1", "r2"]
    assert house.share == 500


async def test_an_agent_is_covered_by_one_rollout_only(house: House):
    both = plan(("shadow", [step(0)]), name="both", agents={"research": {}, "guest": {}})
    with pytest.raises(Refused, match=r"Rollout r1 \(canary\) covers guest already"):
        await house.begin("r2", both)
    assert list(house.controller.desks) == ["r1"]
    assert await house.store.rollouts() == ["r1"]


async def test_a_rolled_back_rollout_still_covers_its_agents_an_aborted_one_does_not(house: House):
    again = plan(("shadow", [step(0)]), name="again")
    await house.do(commands.roll_back, reason="smoke")
    with pytest.raises(Refused, match="molt abort"):
        await house.begin("r2", again)
    await house.do(commands.abort, reason="start over")
    await house.begin("r2", again)
    assert [r.rollout for r in house.flags.rollouts] == ["r2"]


async def test_an_id_is_used_once(house: House):
    with pytest.raises(Refused, match="There is a rollout r1 already"):
        await house.begin("r1", RESEARCH)


async def test_evidence_goes_to_its_own_rollout(house: House):
    await house.begin("r2", RESEARCH)
    await house.serve(HOUR, Load(100), Load(100))
    assert house.desk.book.requests_since("candidate", house.clock.now() - HOUR) > 0
    other = house.controller.desks["r2"]
    assert other.book.requests_since("candidate", house.clock.now() - HOUR) == 0


# --- what people read


async def test_an_undelivered_notice_holds_nothing_up(house: House):
    house.phone.dead = True
    await house.serve(HOUR, Load(600), Load(600))
    await asyncio.sleep(0)
    assert house.rollout.share == 20
    assert "r1: at 20%" not in [notice.title for notice in house.phone.notices]


async def test_a_person_hears_of_halvings_alarms_and_questions(open_house: OpenHouse):
    gate = {"kind": "error_rate", "below": "1%"}
    house = await open_house(plan(("canary", [step(20, gate, max_hold="2h"), step(30)])))
    await house.begin()
    await house.serve(HOUR, Load(600, slow=0.5), Load(600), every=timedelta(seconds=10))
    await house.do(commands.resume, reason="faster now")
    await house.serve(2 * HOUR, Load(20), Load(600))
    await house.serve(HOUR, None, Load(600))
    await asyncio.sleep(0)
    titles = {notice.title for notice in house.phone.notices}
    assert {"r1: traffic halved", "r1: a question", "r1: blind"} <= titles


async def test_alarms_of_two_rollouts_are_two_alerts_that_name_theirs(house: House):
    await house.begin("r2", RESEARCH)
    desk = AlertDesk(house.phone, house.store, house.clock)
    house.flags_file.write_text("MOLTBOT_TRAFFIC_PERCENT=lots\n")
    await house.controller.tick()
    await asyncio.sleep(0)
    for notice in list(house.phone.notices):
        if notice.about == "alarm":
            await desk.notify(notice)
    assert {alert.title for alert in desk.all()} == {"r1: flags_file", "r2: flags_file"}
    assert [alert.count for alert in desk.all()] == [1, 1]
    assert {alert.page for alert in desk.all()} == {"rollouts/r1", "rollouts/r2"}
    assert {alert.rollout for alert in desk.all()} == {"r1", "r2"}


async def test_a_person_hears_of_pauses_questions_and_steps(house: House):
    await house.serve(HOUR, Load(600), Load(600))
    await house.serve(HOUR, Load(600, cost=0.05), Load(600))
    await asyncio.sleep(0)
    titles = [notice.title for notice in house.phone.notices]
    assert "r1: at 20%" in titles
    assert any("cost asks for pause" in title for title in titles)


@pytest.mark.parametrize("phase", ["shadow", "canary", "rolled_back", "complete"])
async def test_the_state_that_people_read_is_plain_data_in_every_phase(
    open_house: OpenHouse, phase: str
):
    house = await open_house(wf11() if phase == "shadow" else plan(("canary", [step(100)])))
    await house.begin()
    if phase == "rolled_back":
        await house.violate()
    if phase == "complete":
        await house.serve(HOUR, Load(600))
    state = json.loads(msgspec.json.encode(view.state(house.desk, house.clock.now())))
    assert state["phase"] == str(house.rollout.phase) == phase
    assert state["traffic_percent"] == house.rollout.share
    assert state["version"] == house.rollout.version
    assert all(row["verdict"] in ("pass", "fail", "wait") for row in state["gates"])
    assert bool(state["incidents"]) == bool(house.facts(IncidentOpened))
