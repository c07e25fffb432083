"""Which commands a person may try now: what a page offers. `molt.core.commands` has the last word."""

from molt.core import approvals, commands
from molt.core.rollout import ACTIVE, WATCHED, Phase
from molt.core.scene import Scene


def offered(scene: Scene) -> list[str]:
    """The commands that the rollout's phase and halt do not rule out.

    What is left out is sure to be refused; what is in may still be, for want of a hold, of
    evidence, or of a second person.
    """
    rollout = scene.rollout
    active, watched = rollout.phase in ACTIVE, rollout.phase in WATCHED
    back, halt = rollout.phase is Phase.ROLLED_BACK, rollout.halt
    gate = active and approvals.gate_of(scene) is not None
    told = {
        "roll_back": watched,
        "approve": gate or (active and approvals.asked(scene) is not None),
        "ask": gate,
        "promote": active and (halt is None or halt.kind == "question"),
        "pause": active and (halt is None or halt.kind != "paused"),
        "resume": (watched and halt is not None) or (back and not commands.undone(scene)),
        "resume_from": back,
        "note": True,
        "adjust": watched,
        "abort": watched or back,
    }
    return [name for name, may in told.items() if may]
