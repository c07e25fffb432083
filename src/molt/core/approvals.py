"""Four eyes: what an approval answers, whom it may come from, and until when it counts.

A request names the step, the plan and the evidence, and a digest of all of it. An approval answers
exactly that. Nobody answers their own request; an installation of one person can say so, and each
approval then carries it.
"""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import msgspec

from molt.core.errors import Refused
from molt.core.events import ApprovalAsked, Approved, Ruling
from molt.core.playbook import ApprovalGate
from molt.core.rollout import Rollout
from molt.core.scene import Scene

DEFAULT_EXPIRES: Final = timedelta(hours=24)


def gate_of(scene: Scene) -> ApprovalGate | None:
    """The approval gate of the present step."""
    return next((g for g in scene.step.gates if isinstance(g, ApprovalGate)), None)


def digest(rollout: Rollout, rulings: Sequence[Ruling], by: str, beyond: bool) -> str:
    """SHA-256 in hex over who asks for what: the rollout's step, its plan, the rulings with numbers."""
    seen = (
        rollout.id,
        rollout.plan_phase,
        rollout.step,
        rollout.epoch,
        rollout.playbook_hash,
        rulings,
        by,
        beyond,
    )
    return hashlib.sha256(msgspec.json.encode(seen, order="deterministic")).hexdigest()


def request(
    scene: Scene, rulings: Sequence[Ruling], *, by: str, reason: str, beyond: bool = False
) -> ApprovalAsked:
    """The event that asks for an approval of what is seen now."""
    gate, rollout = gate_of(scene), scene.rollout
    return ApprovalAsked(
        at=scene.now,
        by=by,
        reason=reason,
        phase=rollout.plan_phase,
        step=rollout.step,
        epoch=rollout.epoch,
        playbook_hash=rollout.playbook_hash,
        digest=digest(rollout, rulings, by, beyond),
        expires_at=scene.now + (gate.expires if gate else DEFAULT_EXPIRES),
        beyond=beyond,
        rulings=tuple(rulings),
    )


def asked(scene: Scene) -> ApprovalAsked | None:
    """The open request of the present step."""
    found = scene.rollout.asked
    return found if found and scene.now < found.expires_at else None


def approved(scene: Scene) -> Approved | None:
    """The approval of the present step that still counts."""
    found = scene.rollout.approved
    expired = found and found.expires_at and scene.now >= found.expires_at
    return None if expired else found


def askers(rollout: Rollout, ask: ApprovalAsked | None) -> list[str]:
    """The people who want it: who asked, and who began the present climb."""
    names = [ask.by if ask else "molt", rollout.climb_by]
    return [name for name in dict.fromkeys(names) if name not in ("", "molt")]


def answer(
    scene: Scene, ask: ApprovalAsked, rulings: Sequence[Ruling], *, by: str, reason: str
) -> Approved:
    """The approval that answers `ask`. Raises `Refused` when it comes from one of those who want it."""
    wanting = askers(scene.rollout, ask)
    other = by.casefold() not in {name.casefold() for name in wanting}
    if scene.four_eyes and not other:
        why = "asked for this" if by.casefold() == ask.by.casefold() else "began this climb"
        raise Refused(
            f"Somebody else must approve: {by} {why}. An installation of one person can set "
            "auth.four_eyes to false; every approval then says so on record"
        )
    return Approved(
        at=scene.now,
        by=by,
        reason=reason,
        phase=ask.phase,
        step=ask.step,
        epoch=ask.epoch,
        playbook_hash=ask.playbook_hash,
        rulings=tuple(rulings),
        digest=ask.digest,
        asked_by=ask.by,
        expires_at=ask.expires_at,
        four_eyes=other,
    )
