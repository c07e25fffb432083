"""What a person may do, and what stands in the way: (scene, command) -> events, or `Refused`."""

from collections.abc import Sequence

import msgspec

from molt.core import approvals, gates
from molt.core.compare import KINDS, family
from molt.core.decide import advance, enter, incident_id
from molt.core.errors import Refused
from molt.core.events import (
    Aborted,
    AnyEvent,
    ApprovalAsked,
    CandidateChanged,
    DifferenceRuled,
    IncidentClosed,
    IncidentNoted,
    IncidentOpened,
    Noted,
    Paused,
    Resumed,
    RolledBack,
    Ruling,
)
from molt.core.playbook import PhasePlan, Playbook
from molt.core.quantities import show_duration, show_seconds
from molt.core.rollout import ACTIVE, WATCHED, Phase
from molt.core.scene import Scene


def approve(scene: Scene, by: str, reason: str, digest: str | None = None) -> list[AnyEvent]:
    """Approve leaving the present step; taken only when its hold is over and all else has passed.

    It answers the open request, which names the evidence; with `digest`, only the request that the
    person saw. Nobody approves what they asked for. A request to go on past waiting gates is carried
    out at once.
    """
    _need_phase(scene, ACTIVE, "approve")
    ask = approvals.asked(scene)
    if digest and (ask is None or ask.digest != digest):
        raise Refused(
            "What you saw is not what is asked now: the request has expired, or there is newer "
            "evidence. Look again, then approve"
        )
    if ask and ask.beyond:
        return _go_beyond(scene, ask, by, reason)
    if approvals.gate_of(scene) is None:
        raise Refused(f"{_place(scene)} has no approval gate; nothing to approve")
    rulings = _ready_for_approval(scene)
    asked: list[AnyEvent] = []
    if ask is None:
        ask = approvals.request(scene, rulings, by="molt", reason="all other gates have passed")
        asked = [ask]
    return [*asked, approvals.answer(scene, ask, rulings, by=by, reason=reason)]


def _ready_for_approval(scene: Scene) -> list[Ruling]:
    """The rulings, when the approval is all that is missing. Raises `Refused`."""
    rulings = gates.rule_all(scene)
    _need_hold(scene, "approve")
    missing = [r for r in rulings if r.name != "approval" and r.verdict != "pass"]
    if missing:
        raise Refused(
            "An approval is taken only when all other gates have passed. "
            f"Still open: {_list(missing)}"
        )
    return rulings


def ask_approval(scene: Scene, by: str, reason: str) -> list[AnyEvent]:
    """Ask for an approval in one's own name; then somebody else must give it."""
    _need_phase(scene, ACTIVE, "ask for an approval")
    if approvals.gate_of(scene) is None:
        raise Refused(f"{_place(scene)} has no approval gate; nothing to ask for")
    rulings = _ready_for_approval(scene)
    return [approvals.request(scene, rulings, by=by, reason=reason)]


def _go_beyond(scene: Scene, ask: ApprovalAsked, by: str, reason: str) -> list[AnyEvent]:
    """A second person agrees to go on past gates that wait; a failed one is never passed."""
    rulings = gates.rule_all(scene)
    blocking = [r for r in rulings if r.verdict == "fail" or (r.verdict, r.name) == _BOUNDED]
    if blocking:
        raise Refused(f"Gates of {_place(scene)} have not passed: {_list(blocking)}")
    approval = approvals.answer(scene, ask, rulings, by=by, reason=reason)
    return [approval, advance(scene, rulings, by=ask.by, reason=ask.reason)]


_BOUNDED = ("wait", "bounds")


def promote(scene: Scene, by: str, reason: str) -> list[AnyEvent]:
    """Leave the present step now, ahead of the planned pace but never of the hold.

    Gates must have passed; once Molt has asked what to do about gates that wait, a person with a
    reason may go on past those, never past a failed gate, a missing approval or the operator's
    flags. Going past those takes a second person: it asks for their approval.
    """
    _need_phase(scene, ACTIVE, "promote")
    rollout = scene.rollout
    if rollout.halt and rollout.halt.kind != "question":
        raise Refused(f"The rollout is {rollout.halt.kind}: {rollout.halt.reason}. Resume it first")
    _need_hold(scene, "promote")
    rulings = gates.rule_all(scene)
    asked = rollout.halt is not None
    blocking = [
        r
        for r in rulings
        if r.verdict == "fail"
        or (r.verdict == "wait" and (r.name in ("approval", "bounds") or not asked))
    ]
    if blocking:
        raise Refused(f"Gates of {_place(scene)} have not passed: {_list(blocking)}")
    if any(r.verdict == "wait" for r in rulings) and not reason:
        raise Refused("Going on past gates that still wait needs a reason: --reason TEXT")
    if any(r.verdict == "wait" for r in rulings) and scene.four_eyes:
        return [approvals.request(scene, rulings, by=by, reason=reason, beyond=True)]
    return [advance(scene, rulings, by=by, reason=reason or "promoted by a person")]


def pause(scene: Scene, by: str, reason: str) -> list[AnyEvent]:
    """Stop the climb where it is."""
    _need_phase(scene, ACTIVE, "pause")
    if scene.rollout.halt and scene.rollout.halt.kind == "paused":
        why = scene.rollout.halt.reason or "no reason given"
        raise Refused(f"The rollout is paused already: {why}")
    return [Paused(at=scene.now, by=by, reason=reason)]


def resume(scene: Scene, by: str, reason: str, phase: str | None = None) -> list[AnyEvent]:
    """Let the climb go on, with a fresh hold.

    After a rollback the phase to resume from must be named, and a reason given. After a halving
    the climb resumes from the highest tier at or below the present share.
    """
    rollout = scene.rollout
    if not reason:
        raise Refused("Resuming needs a reason: --reason TEXT")
    resumed = Resumed(at=scene.now, by=by, reason=reason)
    if rollout.phase is Phase.ROLLED_BACK:
        if not phase:
            raise Refused("After a rollback, say from which phase to resume: --phase shadow|canary")
        if open_ := undone(scene):
            raise Refused(f"The rollback procedure of {open_[0]} is not finished yet")
        return [resumed, enter(scene, _phase(scene, phase), 0, by=by, reason=reason)]
    _need_phase(scene, WATCHED, "resume")
    if phase:
        raise Refused(
            f"--phase is for resuming after a rollback; the rollout is in {rollout.phase}"
        )
    if rollout.halt is None:
        raise Refused("Nothing to resume: the rollout is neither paused nor waiting for a person")
    if rollout.phase in ACTIVE and rollout.share != scene.step.share:
        entered = enter(scene, *_tier_below(scene), by=by, reason=reason)
        # The resume begins an epoch of its own; two stays with one epoch would count twice.
        return [resumed, msgspec.structs.replace(entered, epoch=entered.epoch + 1)]
    return [resumed]


def undone(scene: Scene) -> list[str]:
    """The incidents whose rollback procedure is not finished yet."""
    planned = set(scene.playbook.procedure)
    return [i.id for i in scene.rollout.incidents if i.procedure and not planned <= set(i.steps)]


def _tier_below(scene: Scene) -> tuple[PhasePlan, int]:
    """The highest step whose share is at or below the present one."""
    places = [(p, i) for p in scene.playbook.phases for i in range(len(p.steps))]
    fitting = [(p, i) for p, i in places if p.steps[i].share <= scene.rollout.share]
    return fitting[-1] if fitting else places[0]


def roll_back(scene: Scene, by: str, reason: str) -> list[AnyEvent]:
    """Take all traffic back to control now, with the whole procedure."""
    if not reason:
        raise Refused("A rollback needs a reason: --reason TEXT")
    if scene.rollout.phase is Phase.ROLLED_BACK:
        raise Refused("The rollout is rolled back already")
    _need_phase(scene, WATCHED, "roll back")
    incident = incident_id(scene.rollout)
    ruling = Ruling("person", "fail", reason)
    return [
        IncidentOpened(
            at=scene.now,
            by=by,
            reason=reason,
            incident=incident,
            trigger="person",
            action="roll_back",
            ruling=ruling,
            quiet_until=scene.now,
        ),
        RolledBack(at=scene.now, by=by, reason=reason, incident=incident, cause=reason),
    ]


def abort(scene: Scene, by: str, reason: str) -> list[AnyEvent]:
    """End the rollout for good."""
    if not reason:
        raise Refused("Aborting needs a reason: --reason TEXT")
    _need_phase(scene, (*WATCHED, Phase.ROLLED_BACK), "abort")
    return [Aborted(at=scene.now, by=by, reason=reason)]


def note(scene: Scene, by: str, text: str, version: str | None) -> list[AnyEvent]:
    """Record a remark; with a candidate version, an adjustment that needs fresh evidence."""
    if not text:
        raise Refused("A note needs a text")
    if version is None:
        return [Noted(at=scene.now, by=by, note=text)]
    return [candidate_changed(scene, version, by=by, text=text)]


def propose(scene: Scene, by: str, reason: str, plan: Playbook, text: str) -> list[AnyEvent]:
    """Put `text`, which says `plan`, on record as a proposal; the running plan stays as it is."""
    if plan.hash() == scene.rollout.playbook_hash:
        raise Refused("This is the plan that is running; a proposal must change something")
    if not reason:
        raise Refused("A proposal needs a reason")
    said = f"proposed playbook {plan.name} {plan.hash()[:12]}: {reason}"
    return [Noted(at=scene.now, by=by, note=said, playbook=text)]


def candidate_changed(
    scene: Scene, version: str, *, by: str = "molt", text: str = ""
) -> CandidateChanged:
    """The event of a new candidate version: new epoch, fresh hold.

    The first version that is seen changes nothing; it only becomes known.
    """
    _need_phase(scene, WATCHED, "note a candidate version")
    rollout = scene.rollout
    first_seen = rollout.candidate_version is None and by == "molt"
    epoch = rollout.epoch if first_seen else rollout.epoch + 1
    return CandidateChanged(at=scene.now, by=by, epoch=epoch, version=version, note=text)


def rule_difference(
    scene: Scene, kind: str, by: str, reason: str, *, acceptable: bool
) -> list[AnyEvent]:
    """Accept a kind of difference between the agent's answers and control's, or flag it."""
    if not reason:
        raise Refused(
            f"{'Accepting' if acceptable else 'Flagging'} a kind of difference needs a reason: "
            "--reason TEXT"
        )
    if family(kind) not in KINDS:
        raise Refused(f"No kind of difference {kind!r}; known: {', '.join(KINDS)}")
    if scene.rollout.differences.get(kind) is acceptable:
        raise Refused(f"{kind} is {'accepted' if acceptable else 'flagged'} already")
    return [
        DifferenceRuled(at=scene.now, by=by, reason=reason, difference=kind, acceptable=acceptable)
    ]


def note_incident(scene: Scene, incident: str, by: str, text: str) -> list[AnyEvent]:
    """Add to an incident's timeline."""
    _need_incident(scene, incident)
    return [IncidentNoted(at=scene.now, by=by, incident=incident, note=text)]


def close_incident(scene: Scene, incident: str, by: str, cause: str) -> list[AnyEvent]:
    """Close an incident with its cause."""
    _need_incident(scene, incident)
    if not cause:
        raise Refused("Closing an incident needs its cause: --cause TEXT")
    if all(i.id != incident for i in scene.rollout.open_incidents):
        raise Refused(f"Incident {incident} is closed already")
    return [IncidentClosed(at=scene.now, by=by, incident=incident, cause=cause)]


def _need_incident(scene: Scene, incident: str) -> None:
    known = [i.id for i in scene.rollout.incidents]
    if incident not in known:
        raise Refused(f"No incident {incident}; known: {', '.join(known) or 'none'}")


def _need_phase(scene: Scene, phases: Sequence[Phase], what: str) -> None:
    if scene.rollout.phase not in phases:
        raise Refused(f"Cannot {what}: the rollout is {scene.rollout.phase.replace('_', ' ')}")


def _need_hold(scene: Scene, what: str) -> None:
    if scene.held < scene.step.hold:
        left = scene.step.hold - scene.held
        raise Refused(
            f"Cannot {what} yet: {_place(scene)} is held for at least "
            f"{show_duration(scene.step.hold)}, {show_seconds(int(left.total_seconds()))} to go"
        )


def _place(scene: Scene) -> str:
    return f"{scene.rollout.plan_phase} at {scene.rollout.share:g}%"


def _phase(scene: Scene, name: str) -> PhasePlan:
    try:
        return scene.playbook.phase(name)
    except KeyError:
        known = ", ".join(p.name for p in scene.playbook.phases)
        raise Refused(f"No phase {name!r} in {scene.playbook.name}; known: {known}") from None


def _list(rulings: Sequence[Ruling]) -> str:
    return "; ".join(f"{r.name} ({r.verdict}: {r.reason})" for r in rulings)
