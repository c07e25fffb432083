"""The operator's flags: process environment and watched file, each a bound.

A malformed file never becomes a silent default: the last good flags stay, and an alarm says why.
"""

from collections.abc import Collection

import structlog

from molt.core.errors import OperatorError
from molt.core.flags import Bounds
from molt.ports import BoundsSource

log = structlog.get_logger(__name__)


class OperatorFlags:
    """What the operator allows now, from both sources."""

    def __init__(self, environment: Bounds, file: BoundsSource) -> None:
        self._environment = environment
        self.file = file
        self._from_file = Bounds()
        self.problem: str | None = None

    @property
    def bounds(self) -> Bounds:
        """The tighter of both sources, in every field."""
        return self._environment.within(self._from_file)

    def refresh(self) -> bool:
        """Read the file again; True when the bounds changed."""
        before = self._from_file
        try:
            self._from_file = self.file.read()
            self.problem = None
        except (OperatorError, OSError) as error:
            if self.problem != str(error):
                log.error("flags_file_malformed", error=str(error), kept="the last good flags")
            self.problem = str(error)
        return self._from_file != before

    def held_back(self, share: float, agents: Collection[str]) -> dict[str, str] | None:
        """What keeps a step of `share` percent of these agents back, and what to do; None while
        nothing does.
        """
        held = self.bounds.holding_back(share, agents)
        if not held:
            return None
        flags = [f"{h.flag}={h.lifted}" for h in self._from_file.holding_back(share, agents)]
        to_do = [f"set {' and '.join(flags)} in {self.file.place}, which is read at once"] * bool(
            flags
        )
        names = [h.flag for h in self._environment.holding_back(share, agents)]
        if names:
            to_do.append(f"start Molt again without {' and '.join(names)} in its environment")
        what = "; ".join(f"{h.text} ({h.flag})" for h in held)
        return {"what": what, "do": "; and ".join(to_do)}

    def set(self, key: str, value: str) -> None:
        """Write one flag to the file and read it back. Raises OSError or OperatorError."""
        self.file.set(key, value)
        self._from_file = self.file.read()
        self.problem = None
