"""A model's answer that comes in pieces, judged as it passes.

Everything is decided here, and nothing sent: the caller reports a violation before it sends the end.
"""

from typing import Literal, NamedTuple

from molt.core.policy import ToolPolicy
from molt.egress.verdicts import Forbidden, verdict
from molt.wire.events import Blocks, TooLarge, data_of
from molt.wire.models import Asked, Dialect, Made, Passing, Unreadable, nothing_weighed


class Stop(NamedTuple):
    """Why the stream ends here; `made` is the call that broke the policy."""

    reason: Literal["forbidden_tool", "unreadable", "token_limit"]
    why: str
    made: Made | None = None


class ModelStream:
    """The answer to `asked`: at most `most` tokens for each choice, under `policy`.

    `cut` is what its reader is told where it is longer. Once there is a `stop`, send `end` and no more.
    """

    def __init__(
        self, dialect: Dialect, asked: Asked, policy: ToolPolicy | None, most: int, cut: str
    ) -> None:
        weighed = nothing_weighed if policy is None else policy.has_rules
        self.passing: Passing = dialect.passing(asked, weighed)
        self.stop: Stop | None = None
        self._policy = policy
        self._most = most * asked.choices
        self._cut = cut
        self._blocks = Blocks()

    def feed(self, piece: bytes) -> bytes:
        """What goes on of all that has come."""
        try:
            events = self._blocks.feed(piece)
        except TooLarge as error:
            self.stop = _too_large(error)
            return b""
        return self._read(events)

    def finish(self) -> bytes:
        """What goes on at the end of the stream."""
        rest = self._blocks.finish()
        if data_of(rest) and not self._takes(rest):  # without data it is nothing to any reader
            return b""
        self.passing.finish()
        return self.passing.release() if self._allowed() else b""

    def end(self) -> bytes:
        """The end that the `stop` gives the stream, in the API's form."""
        assert self.stop
        passing = self.passing
        ends = {
            "forbidden_tool": passing.refuse,
            "unreadable": passing.fail,
            "token_limit": passing.cut,
        }
        return ends[self.stop.reason](self.stop.why)

    def _read(self, events: list[bytes]) -> bytes:
        out: list[bytes] = []
        for block in events:
            if not self._takes(block):
                break
            out.append(self.passing.release())
            if self._over():
                self.stop = Stop("token_limit", self._cut)
                break
        return b"".join(out)

    def _takes(self, block: bytes) -> bool:
        """Whether the event may go on, as soon as nothing has to wait."""
        try:
            self.passing.read(block)
        except TooLarge as error:
            self.stop = _too_large(error)
        except Unreadable as error:
            if self._policy is None:
                self.passing.skip(block)
                return True
            self.stop = Stop("unreadable", f"Molt stopped this answer: an event is {error}")
        return self.stop is None and (not self.passing.calls or self._allowed())

    def _allowed(self) -> bool:
        if self._policy is None:
            return True
        for made in self.passing.calls:
            found = verdict(self._policy, made)
            if found is not None:
                self.stop = (
                    Stop("forbidden_tool", found.why, found.made)
                    if isinstance(found, Forbidden)
                    else Stop("unreadable", found.why)
                )
                return False
        return True

    def _over(self) -> bool:
        """Whether more has come out than may, by a count that a provider which keeps to the limit
        never reaches: a piece is at least one token, a token hardly more than eight bytes."""
        passing = self.passing
        return max(min(passing.pieces, passing.text // 3), passing.text // 8) > self._most


def _too_large(error: TooLarge) -> Stop:
    return Stop("unreadable", f"Molt stopped this answer: {error}")
