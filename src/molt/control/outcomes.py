"""Reported outcomes: each counted once, attributed to the arm of its subject at its time."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from molt.control.desk import LATE, Desk
from molt.core.assignment import bucket_of
from molt.core.evidence import Outcome
from molt.ports import EvidenceStore, Portion

EARLY = timedelta(minutes=5)
"""How far ahead of ours the clock of a reporting system may be."""


class Accepted(NamedTuple):
    """What became of reported outcomes. `too_late` are those older than a week, or of the future;
    `without_value` are those that lack the value which a metric sums, and would make its mean
    wrong; neither is kept. `unused` are kept, but of a kind that nothing in the plan counts."""

    accepted: int
    repeated: int
    unknown_subjects: int
    too_late: int
    without_value: int
    unused: int


async def take_in(
    desk: Desk,
    outcomes: Sequence[Outcome],
    store: EvidenceStore,
    hash_subject: Callable[[str], str],
    now: datetime,
) -> Accepted:
    """Keep what is new and on time, in the store and on the desk. Raises `StoreUnavailable`."""
    known = await store.known_outcomes(desk.id, [o.id for o in outcomes])
    fresh = {o.id: o for o in outcomes if o.id not in known}
    counted, valued = desk.playbook.outcome_kinds(), desk.playbook.valued_outcomes()
    on_time = [o for o in fresh.values() if now - LATE <= o.at <= now + EARLY]
    taken = [o for o in on_time if o.value is not None or o.kind not in valued]
    hashes = {o.subject: hash_subject(o.subject) for o in taken}
    seen = await store.known_subjects(desk.id, list(hashes.values()))
    sums = desk.sums_of(taken)
    hidden = [_hidden(o, hashes[o.subject], desk.rollout.salt) for o in taken]
    await store.add_outcomes(desk.id, hidden, sums)
    timed = [(o.at, o.kind, *desk.arm_of(o)) for o in taken]
    desk.take(Portion(sums=sums, timed=timed))
    return Accepted(
        accepted=len(taken),
        repeated=len(outcomes) - len(fresh),
        unknown_subjects=sum(1 for o in taken if hashes[o.subject] not in seen),
        too_late=len(fresh) - len(on_time),
        without_value=len(on_time) - len(taken),
        unused=sum(1 for o in taken if o.kind not in counted),
    )


def _hidden(outcome: Outcome, subject_hash: str, salt: str) -> Outcome:
    """The outcome as it is kept: a keyed hash for the subject, and its bucket."""
    return msgspec.structs.replace(
        outcome, subject=subject_hash, bucket=bucket_of(salt, outcome.subject)
    )
