"""Tells the journal what a decision has seen: before each that decides, and once a minute."""

from datetime import datetime, timedelta
from typing import Final

import structlog

from molt.control.desk import Desk
from molt.ports import Frame, Journal, Portion

log = structlog.get_logger(__name__)

EVERY: Final = timedelta(minutes=1)


class Teller:
    """Between desks and the journal. A journal that fails delays nothing and leaves a gap."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self._told: dict[str, datetime] = {}
        self._gaps: set[str] = set()

    def follow(self, desk: Desk, *, restarted: bool = False) -> None:
        """Keep what this desk takes in from now on."""
        if self._journal is not None:
            desk.untold = []
            if restarted:
                self._gaps.add(desk.id)

    def looked(self, desk: Desk, at: datetime, *, decided: int) -> None:
        """It was decided at `at` on all that has been taken in, and nothing was written yet."""
        told = self._told.get(desk.id)
        if decided or told is None or at - told >= EVERY:
            self.tell(desk, at, looked=True, decided=decided)

    def tell(self, desk: Desk, at: datetime, *, looked: bool = False, decided: int = 0) -> None:
        """Write a frame of what is untold."""
        if self._journal is None or desk.untold is None or not (desk.untold or looked):
            return
        whole = Portion()
        for portion in desk.untold:
            whole.add(portion)
        frame = Frame(at, desk.rollout.version, whole, looked, decided, desk.id in self._gaps)
        desk.untold = []
        self._told[desk.id] = at
        self._gaps.discard(desk.id)
        try:
            self._journal.write(desk.id, frame)
        except OSError as error:
            self._gaps.add(desk.id)
            log.error("journal_not_kept", rollout=desk.id, error=str(error))
