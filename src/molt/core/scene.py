"""Everything a decision gets, as one value."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from molt.core.assignment import CANDIDATE, CONTROL
from molt.core.book import LOOK_BACK, Book
from molt.core.evidence import LIVE, SHADOW, Mode
from molt.core.playbook import PhasePlan, Playbook, Step
from molt.core.quantities import show_duration
from molt.core.rollout import Phase, Rollout


class Scene(NamedTuple):
    """A rollout, its plan, its evidence, and the time.

    `four_eyes` says that an approval takes another person than those who want it.
    """

    rollout: Rollout
    playbook: Playbook
    book: Book
    now: datetime
    four_eyes: bool = True

    @property
    def phase_plan(self) -> PhasePlan:
        """The plan of the phase that the rollout climbs in."""
        return self.playbook.phase(self.rollout.plan_phase)

    @property
    def step(self) -> Step:
        """The plan of the present step."""
        return self.phase_plan.steps[self.rollout.step]

    @property
    def mode(self) -> Mode:
        """How the candidate is observed in the present step."""
        return SHADOW if self.rollout.phase is Phase.SHADOW else LIVE

    @property
    def held(self) -> timedelta:
        """How long the present hold has lasted."""
        since = self.rollout.hold_since
        return self.now - since if since else timedelta(0)

    @property
    def window_epochs(self) -> range:
        """The epochs that triggers look at."""
        return range(self.rollout.window_epoch, self.rollout.epoch + 1)

    def next_step(self) -> tuple[PhasePlan, int] | None:
        """The step after the present one; None at the top."""
        if self.rollout.step + 1 < len(self.phase_plan.steps):
            return self.phase_plan, self.rollout.step + 1
        names = [phase.name for phase in self.playbook.phases]
        after = names.index(self.phase_plan.name) + 1
        return (self.playbook.phases[after], 0) if after < len(names) else None

    def live_epochs(self) -> Sequence[int]:
        """Epochs in which this candidate and control could be compared: the strata.

        They begin anew with a new candidate and with a resume after a rollback.
        """
        stays, since = self.rollout.stays, self.rollout.evidence_epoch
        return self.book.derived_of(
            ("live epochs", since),
            stays,
            lambda: [s.epoch for s in stays if s.epoch >= since and 0 < s.share < 100],
        )

    def shadow_epochs(self) -> Sequence[int]:
        """Epochs in which the candidate was met in shadow."""
        stays = self.rollout.stays
        return self.book.derived_of(
            "shadow epochs", stays, lambda: [s.epoch for s in stays if s.phase == Phase.SHADOW]
        )

    def compared_epochs(self) -> Sequence[int]:
        """The live epochs, and those in shadow that tell how users differ anyway."""
        return self.book.derived_of(
            ("compared epochs", self.rollout.evidence_epoch),
            self.rollout.stays,
            lambda: [*self.live_epochs(), *self.shadow_epochs()],
        )

    def blind(self) -> str | None:
        """Why nothing can be judged now although traffic is due; None when there is sight.

        Where little is due in `blind_after`, the look back grows until enough would have been. How
        much is due follows from control; where that is silent, too, from the same time a day ago.
        """
        length, enough = self.playbook.timing.blind_after, DUE
        while length <= LOOK_BACK:
            since = self.now - length
            if self.rollout.hold_since is None or self.rollout.hold_since > since:
                return None
            if self.book.requests_since(CANDIDATE, since):
                return None
            control = self.book.requests_since(CONTROL, since)
            span = show_duration(length)
            if not control:
                usual = self._a_day_ago(length)
                if usual is None:
                    return f"no request of either arm was seen for {span}"
                if usual >= enough:
                    return f"no request of either arm for {span}; a day ago there were {usual}"
            share = self._candidate_share()
            expected = control * share / (1 - share) if share < 1 else float(control)
            if expected >= enough:
                return f"no candidate request for {span}, although about {expected:.0f} were due"
            length, enough = 2 * length, DUE_LATER
        return None

    def silent(self) -> str | None:
        """Why the step cannot be left upwards now; None when the candidate was seen of late.

        Asks for less than `blind`: too little may be due for an alarm, yet silence proves nothing.
        """
        length = self.playbook.timing.blind_after
        since = self.now - length
        if self.held < length or not self._candidate_share():
            return None
        if self.book.requests_since(CANDIDATE, since):
            return None
        return f"no candidate request for {show_duration(length)}: the next one is waited for"

    def _a_day_ago(self, length: timedelta) -> int | None:
        """Requests of both arms in the same `length` (two hours at most) a day ago.

        None if that proves nothing: the rollout is younger, or all of the day since was silent.
        """
        yesterday = self.now - DAY
        since = max(yesterday - length, self.now - LOOK_BACK)
        began = self.rollout.started_at or self.now
        if began > since or not any(self.book.requests_since(arm, yesterday) for arm in BOTH):
            return None
        return sum(self.book.requests_since(arm, since, yesterday) for arm in BOTH)

    def _candidate_share(self) -> float:
        """Candidate requests, live or mirrored, as a share of all."""
        if self.mode == SHADOW:
            mirrored = self.phase_plan.mirror / 100
            return mirrored / (1 + mirrored)
        return self.rollout.live_share / 100


DAY = timedelta(days=1)
BOTH = (CANDIDATE, CONTROL)

DUE = 10
"""Requests that must have been due in `blind_after` before silence counts as blindness."""

DUE_LATER = 50
"""The same in longer spans, in which a few users who send several requests each may all be away."""
