"""What all connections of users share: the edge, limits, timers, mirrors."""

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from molt.wire.codings import offered
from molt.wire.deadlines import Deadlines
from molt.wire.exchange import HOP_BY_HOP, Edge, Exchange, Forward
from molt.wire.lines import HeaderLines
from molt.wire.mirror import Mirrors

if TYPE_CHECKING:
    from molt.wire.server import UserConnection


FORWARDED: Final = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"})
"""Request headers in which proxies say for whom they ask."""

PRIVATE: Final = b"x-molt-"
"""Request headers that begin so are the edge's to set: those of users are dropped unseen."""


class Limits(msgspec.Struct, frozen=True):
    """Bounds of the user's side, in bytes and seconds.

    `head_timeout` bounds a whole request head, `body_timeout` a silence inside a body,
    `write_timeout` the wait for a user who does not take the answer, `linger_timeout` the time in
    which the rest of a refused request is read and dropped, so that the answer is not lost.
    """

    max_head: int = 32 * 1024
    max_body: int | None = None
    decision_body: int = 64 * 1024
    hold_body: int = 1024 * 1024
    mirrors: int = 64
    head_timeout: float = 10.0
    body_timeout: float = 30.0
    idle_timeout: float = 75.0
    write_timeout: float = 60.0
    ask_timeout: float = 5.0
    linger_timeout: float = 2.0


class Front:
    """Shared by all connections of one proxy.

    `rescue` is the plan for when the edge itself fails. `forwarded` says what becomes of inbound
    `x-forwarded-*`: "append" extends the client's list and keeps its proto and host, "replace"
    believes none of it, "off" forwards none and adds none. `watched` names the request headers
    (lower case) that the edge looks at in every request: they are noted while heads are read.
    """

    def __init__(
        self,
        edge: Edge,
        rescue: Forward,
        deadlines: Deadlines,
        limits: Limits,
        forwarded: Literal["append", "replace", "off"] = "append",
        watched: frozenset[bytes] = frozenset(),
    ) -> None:
        self.edge = edge
        self.rescue = rescue
        self.deadlines = deadlines
        self.limits = limits
        self.forwarded = forwarded
        self.mirrors = Mirrors(edge, limits)
        special = HOP_BY_HOP | FORWARDED | {b"host", b"content-length", b"expect"}
        codings = {b"accept-encoding": offered}
        self.lines = HeaderLines(special, PRIVATE, watched, codings)
        self.connections: set[UserConnection] = set()
        self.draining = False

    def in_flight(self) -> "list[Exchange]":
        """All that wait for an upstream or pass an answer on, mirror copies too; see `cancel`."""
        users = [c.active for c in self.connections if c.active is not None]
        return [*users, *self.mirrors.in_flight]

    @property
    def is_busy(self) -> bool:
        """True while anybody is connected or a mirror copy is under way."""
        return bool(self.connections or self.mirrors.in_flight)
