"""(rollout, plan, evidence, now) -> what follows, as events.

Triggers come first and pre-empt holds, approvals and waits. A rollout climbs only when every gate
of its step has passed and its hold is over; evidence that is missing is `wait`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from molt.core import approvals, gates, triggers
from molt.core.assignment import CONTROL
from molt.core.events import (
    AlarmCleared,
    AlarmRaised,
    AnyEvent,
    Completed,
    Halved,
    IncidentOpened,
    Paused,
    QuestionAsked,
    ReviewAsked,
    RolledBack,
    Ruling,
    RulingsChanged,
    StepEntered,
)
from molt.core.evidence import LIVE, SHADOW
from molt.core.playbook import Action, PhasePlan
from molt.core.rollout import ACTIVE, WATCHED, Phase, Rollout
from molt.core.scene import Scene
from molt.core.stats import latency

SEVERITY: Final = ("roll_back", "halve", "pause", "review")

SMALLEST_SHARE: Final = 0.01
"""Percent; a halving below one bucket goes back to control altogether."""


def decide(scene: Scene, quiet_until: datetime | None = None) -> list[AnyEvent]:
    """What follows from the evidence now; often nothing.

    `quiet_until` is when the triggers were last looked at without one firing.
    """
    if scene.rollout.phase not in WATCHED:
        return []
    fired = worst(triggers.rule_all(scene), scene.rollout)
    if fired:
        return fire(scene, fired, quiet_until)
    return [*_alarms(scene), *_climb(scene)]


def worst(
    rulings: Sequence[triggers.TriggerRuling], rollout: Rollout
) -> triggers.TriggerRuling | None:
    """The fired trigger with the strongest action that is not in force already.

    Its action is what can be done here: with no traffic there is nothing to halve but the climb to
    pause, and half of the smallest share is none.
    """
    possible = [r._replace(action=_possible(r.action, rollout)) for r in rulings]
    fired = [r for r in possible if r.ruling.verdict == "fail" and not _in_force(r, rollout)]
    return min(fired, key=lambda r: SEVERITY.index(r.action), default=None)


def _possible(action: Action, rollout: Rollout) -> Action:
    if action != "halve" or rollout.live_share / 2 >= SMALLEST_SHARE:
        return action
    return "roll_back" if rollout.live_share else "pause"


def _in_force(fired: triggers.TriggerRuling, rollout: Rollout) -> bool:
    """A pause or review that this trigger has caused since a person last resumed."""
    if fired.action not in ("pause", "review") or rollout.halt is None:
        return False
    return any(
        i.trigger == fired.ruling.name
        and i.action == fired.action
        and (rollout.window_since is None or i.opened_at >= rollout.window_since)
        for i in rollout.incidents
    )


def incident_id(rollout: Rollout) -> str:
    """The id of the rollout's next incident."""
    return f"{rollout.id}-i{len(rollout.incidents) + 1}"


def fire(
    scene: Scene, fired: triggers.TriggerRuling, quiet_until: datetime | None
) -> list[AnyEvent]:
    """Open the incident and do what the trigger says."""
    rollout, now = scene.rollout, scene.now
    incident, reason = incident_id(rollout), fired.ruling.reason
    opened = IncidentOpened(
        at=now,
        incident=incident,
        trigger=fired.ruling.name,
        action=fired.action,
        ruling=fired.ruling,
        reason=reason,
        quiet_until=fired.since or quiet_until,
        detail=fired.detail,
    )
    match fired.action:
        case "halve":
            return [
                opened,
                Halved(
                    at=now,
                    incident=incident,
                    share=rollout.live_share / 2,
                    epoch=rollout.epoch + 1,
                    reason=reason,
                ),
            ]
        case "pause":
            return [opened, Paused(at=now, incident=incident, reason=reason)]
        case "review":
            return [opened, ReviewAsked(at=now, incident=incident, reason=reason)]
        case _:
            return [opened, RolledBack(at=now, incident=incident, cause=reason, reason=reason)]


def _alarms(scene: Scene) -> list[AnyEvent]:
    """Alarms that began or ended: blindness and a sample-ratio mismatch."""
    found = {"blind": scene.blind(), "sample_ratio": gates.sample_ratio(scene)}
    events: list[AnyEvent] = []
    for alarm, text in found.items():
        if text and alarm not in scene.rollout.alarms:
            events.append(AlarmRaised(at=scene.now, alarm=alarm, text=text))
        elif not text and alarm in scene.rollout.alarms:
            events.append(AlarmCleared(at=scene.now, alarm=alarm))
    return events


def _climb(scene: Scene) -> list[AnyEvent]:
    """Go on, go back, ask, or wait, by the gates of the present step."""
    rollout = scene.rollout
    if rollout.phase not in ACTIVE:
        return []
    rulings = gates.rule_all(scene)
    back = gates.failed_with(scene, rulings, "roll_back")
    if back:
        return fire(scene, triggers.TriggerRuling(back, "roll_back"), None)
    if rollout.halt and rollout.halt.kind != "question":
        return _changed(scene, rulings)
    if all(r.verdict == "pass" for r in rulings):
        if scene.held < _due(scene):
            return _changed(scene, rulings)
        silence = scene.silent()
        if silence is None:
            return [advance(scene, rulings)]
        rulings = [*rulings, Ruling("sight", "wait", silence)]
    return [
        *_changed(scene, rulings),
        *_question(scene, rulings),
        *_ask_approval(scene, rulings),
    ]


def _ask_approval(scene: Scene, rulings: Sequence[Ruling]) -> list[AnyEvent]:
    """Ask for the approval once it is all that is missing; again when nobody answered in time."""
    if [r.name for r in rulings if r.verdict != "pass"] != ["approval"] or approvals.asked(scene):
        return []
    return [approvals.request(scene, rulings, by="molt", reason="all other gates have passed")]


def _question(scene: Scene, rulings: Sequence[Ruling]) -> list[AnyEvent]:
    """What a person must decide, asked once: a proven failure, or a wait beyond the longest hold."""
    if scene.rollout.halt is not None:
        return []
    failed = [r.name for r in rulings if r.verdict == "fail"]
    if failed:
        return [_ask(scene, rulings, f"a gate has failed: {', '.join(failed)}")]
    if scene.held >= scene.step.max_hold:
        waiting = ", ".join(r.name for r in rulings if r.verdict == "wait")
        return [_ask(scene, rulings, f"gates still wait after the longest hold: {waiting}")]
    return []


def _due(scene: Scene) -> timedelta:
    """When the step may be left: at its planned pace, or at its hold once a person approved."""
    return scene.step.hold if approvals.approved(scene) else scene.step.pace


def _ask(scene: Scene, rulings: Sequence[Ruling], why: str) -> QuestionAsked:
    return QuestionAsked(at=scene.now, rulings=tuple(rulings), reason=why)


def _changed(scene: Scene, rulings: Sequence[Ruling]) -> list[AnyEvent]:
    """One event when any verdict is another than the recorded one."""
    before = {r.name: r.verdict for r in scene.rollout.rulings}
    if before == {r.name: r.verdict for r in rulings}:
        return []
    return [RulingsChanged(at=scene.now, rulings=tuple(rulings))]


def advance(
    scene: Scene, rulings: Sequence[Ruling], by: str = "molt", reason: str = "all gates passed"
) -> StepEntered | Completed:
    """The event that leaves the present step upwards."""
    following = scene.next_step()
    if following is None:
        return Completed(at=scene.now, by=by, reason=reason, rulings=tuple(rulings))
    return enter(scene, *following, by=by, reason=reason, rulings=rulings)


def enter(
    scene: Scene,
    phase: PhasePlan,
    step: int,
    *,
    by: str = "molt",
    reason: str = "",
    rulings: Sequence[Ruling] = (),
) -> StepEntered:
    """The event that enters a step, freezing what the step will be compared with."""
    rollout = scene.rollout
    return StepEntered(
        at=scene.now,
        by=by,
        reason=reason,
        phase=phase.name,
        step=step,
        share=phase.steps[step].share,
        epoch=rollout.epoch + 1,
        control_p50_ms=latency.quantile(scene.book.latency([rollout.epoch], CONTROL, LIVE), 0.5),
        projected_cost=scene.playbook.cost.projected_per_request or _measured_cost(scene),
        rulings=tuple(rulings),
    )


def _measured_cost(scene: Scene) -> float | None:
    """The mean cost of a request in shadow, when the rollout leaves it."""
    if scene.rollout.phase is not Phase.SHADOW:
        return None
    spent = scene.book.counts([scene.rollout.epoch], "candidate", SHADOW).spent
    return spent.each if spent.known_of >= MIN_PRICED and spent.total else None


MIN_PRICED: Final = 30
"""Priced requests needed before their mean counts as a projection."""
