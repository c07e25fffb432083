"""The operator's flags: process environment and watched file, each a bound.

A malformed file never becomes a silent default: the last good flags stay, and an alarm says why.
"""

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

    def set(self, key: str, value: str) -> None:
        """Write one flag to the file and read it back. Raises OSError or OperatorError."""
        self.file.set(key, value)
        self._from_file = self.file.read()
        self.problem = None
