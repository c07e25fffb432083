"""Decisions made again from what was recorded: the same plan must decide the same."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from molt.control.desk import Desk
from molt.core import gates, triggers
from molt.core.decide import decide
from molt.core.events import AlarmCleared, AlarmRaised, AnyEvent, IncidentOpened, Recorded, Ruling
from molt.core.playbook import Playbook
from molt.core.rollout import ACTIVE, WATCHED, Rollout
from molt.core.scene import Scene
from molt.ports import Frame


class Difference(NamedTuple):
    """Where a decision made again is not the recorded one."""

    at: datetime
    recorded: tuple[AnyEvent, ...]
    again: tuple[AnyEvent, ...]


class Replayed(NamedTuple):
    """How many decisions were made again, at how many looks in all, and which differ.

    `gaps` counts stretches whose evidence was not recorded: Molt was restarted there.
    """

    decisions: int
    looks: int
    differences: list[Difference]
    gaps: int


def replay(records: Sequence[Recorded], frames: Iterable[Frame]) -> Replayed:
    """Decide again at every recorded look, each time on what was known then.

    What people did, and what was seen of the candidate's version and the operator's flags, is taken
    from the log as it was.
    """
    decisions, looks, differences, gaps = 0, 0, list[Difference](), 0
    for desk, frame in played(records, frames):
        gaps += frame.restarted
        if not frame.looked:
            continue
        looks += 1
        expected = tuple(_decided(records[len(desk.records) :], frame))
        again = tuple(_look(desk, frame.at, expected))
        decisions += bool(expected)
        if msgspec.json.encode(again) != msgspec.json.encode(expected):
            differences.append(Difference(frame.at, expected, again))
    return Replayed(decisions, looks, differences, gaps)


def played(records: Sequence[Recorded], frames: Iterable[Frame]) -> Iterator[tuple[Desk, Frame]]:
    """The rollout's desk as it stood at each frame: the log so far and the evidence taken in.

    It is one desk, which goes on; `desk.records` is how far the log had come.
    """
    for desk, frame in followed(records, frames):
        desk.take(frame.portion)
        yield desk, frame


def followed(records: Sequence[Recorded], frames: Iterable[Frame]) -> Iterator[tuple[Desk, Frame]]:
    """The same without the evidence: whoever looks seldom takes it in when he looks."""
    desk = Desk(Rollout(playbook=str(getattr(records[0].event, "playbook", ""))), [])
    for frame in frames:
        while (place := len(desk.records)) < len(records) and records[place].seq <= frame.version:
            desk.apply([records[place]])
        yield desk, frame


def _decided(records: Sequence[Recorded], frame: Frame) -> list[AnyEvent]:
    """The next events, which one look has decided; an alarm about the flags file is no decision."""
    flags = (AlarmRaised, AlarmCleared)
    events = [
        r.event
        for r in records[: frame.decided + 1]
        if not (isinstance(r.event, flags) and r.event.alarm == "flags_file")
    ]
    return events[: frame.decided]


def _look(desk: Desk, at: datetime, expected: Sequence[AnyEvent]) -> list[AnyEvent]:
    """Decide; since when it had been quiet is not evidence, and stands as it was recorded."""
    desk.book.forget(at)
    quiet = next((e.quiet_until for e in expected if isinstance(e, IncidentOpened)), None)
    return decide(desk.scene(at), quiet)


class WouldHave(NamedTuple):
    """What another plan would have said during one recorded stay.

    `passed_at` is when all its gates had passed and its hold was over; `stopped_at` when it would
    have taken traffic back or held the climb, by `rule`.
    """

    phase: str
    share: float
    entered_at: datetime
    left_at: datetime | None
    passed_at: datetime | None
    stopped_at: datetime | None
    action: str
    rule: Ruling | None


def what_if(
    records: Sequence[Recorded], frames: Iterable[Frame], other: Playbook
) -> list[WouldHave]:
    """What `other` would have decided on the same evidence, stay by stay.

    Traffic was split as it was: after the first time `other` would have taken it back, the rest is
    what would not have happened.
    """
    found: list[WouldHave] = []
    for desk, frame in played(records, frames):
        desk.book.forget(frame.at)
        if desk.rollout.phase not in WATCHED or not desk.rollout.stays:
            continue
        stay = desk.rollout.stays[-1]
        if not found or found[-1].entered_at != stay.at:
            if found:
                found[-1] = found[-1]._replace(left_at=stay.at)
            found.append(WouldHave(stay.phase, stay.share, stay.at, None, None, None, "", None))
        found[-1] = _judge(found[-1], _scene(desk, other, frame.at))
    return found


def _scene(desk: Desk, other: Playbook, at: datetime) -> Scene:
    """The recorded rollout in the other plan's step of the same share, else the one below."""
    places = [(p, i) for p in other.phases for i in range(len(p.steps))]
    fitting = [(p, i) for p, i in places if p.steps[i].share <= desk.rollout.share] or places[:1]
    phase, step = fitting[-1]
    rollout = msgspec.structs.replace(desk.rollout, plan_phase=phase.name, step=step)
    return Scene(rollout, other, desk.book, at)


def _judge(stay: WouldHave, scene: Scene) -> WouldHave:
    if stay.stopped_at is None:
        fired = [r for r in triggers.rule_all(scene) if r.ruling.verdict == "fail"]
        if fired:
            first = fired[0]
            stay = stay._replace(stopped_at=scene.now, action=first.action, rule=first.ruling)
    if scene.rollout.phase not in ACTIVE or stay.passed_at is not None:
        return stay
    rulings = gates.rule_all(scene)
    back = gates.failed_with(scene, rulings, "roll_back")
    if back and stay.stopped_at is None:
        return stay._replace(stopped_at=scene.now, action="roll_back", rule=back)
    open_ones = [r for r in rulings if r.verdict != "pass" and r.name != "approval"]
    if not open_ones and scene.held >= scene.step.pace:
        return stay._replace(passed_at=scene.now)
    return stay
