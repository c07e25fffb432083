"""How long a step's gates took to pass, from a log: a real rollout's or a simulated one's."""

import math
from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise

from molt.core.events import AnyEvent, Completed, RulingsChanged, StepEntered

NO_GATES = frozenset({"sight", "bounds"})


def hours_to_pass(events: Iterable[AnyEvent], phase: str, share: float) -> dict[str, float]:
    """Hours until each gate passed for good in the first visit of a step; inf if it did not.

    What freezes gates (`sight`, `bounds`) is no gate: it is there while it waits.
    """
    marks = [e for e in events if isinstance(e, StepEntered | RulingsChanged | Completed)]
    entered: datetime | None = None
    found: dict[str, float] = {}
    for event, after in pairwise([*marks, None]):
        if event is None:
            break
        if isinstance(event, StepEntered):
            if entered is not None:
                break
            if (event.phase, event.share) == (phase, share):
                entered = event.at
        if entered is None or not isinstance(event, RulingsChanged):
            continue
        taken = (event.at - entered).total_seconds() / 3600
        for ruling in event.rulings:
            if ruling.name in NO_GATES:
                continue
            if ruling.verdict != "pass":
                found[ruling.name] = math.inf
            elif not math.isfinite(found.get(ruling.name, math.inf)):
                found[ruling.name] = taken
        if isinstance(after, StepEntered | Completed):
            left = (after.at - entered).total_seconds() / 3600
            found = {name: left if math.isinf(t) else t for name, t in found.items()}
    return found
