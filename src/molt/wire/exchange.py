"""What the proxy and its edge say to each other: requests, plans, failures, records.

The proxy (`server.py`, `relay.py`, `upstream.py`) moves bytes; the `Edge` decides. Headers travel
as one flat list, four items to a header: lower-case name, `b": "`, value, `b"\\r\\n"`, in the order
in which they came, so that a head is one `b"".join`.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import msgspec

from molt.wire.usage import Reader, Usage

if TYPE_CHECKING:
    from molt.wire.upstream import Upstream

Outcome = Literal[
    "",  # still going on
    "ok",  # an upstream's answer reached the user whole, whatever its status
    "refused",  # the edge answered itself
    "bad_request",  # not HTTP that can be forwarded safely, or over a size limit
    "client_timeout",  # the request did not arrive in time, or the answer was not taken
    "client_aborted",  # the user went away first
    "upstream_unreachable",
    "upstream_timeout",
    "upstream_reset",
    "upstream_garbage",
    "upstream_truncated",  # the answer began and never ended; the user's connection was cut
    "cancelled",  # the edge took it back
    "mirror_dropped",  # a mirror copy that was not sent: too many in flight, or too large to hold
]
FailureKind = Literal["unreachable", "timeout", "reset", "garbage", "status", "cancelled"]

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
"""Headers of one connection, never forwarded; so are those that `Connection` names."""


def find(headers: list[bytes], name: bytes) -> bytes | None:
    """The first value of header `name` (lower case) in a flat list, or None."""
    try:
        at = headers.index(name)
        while at & 3:  # a value that equals the name
            at = headers.index(name, at + 1)
    except ValueError:
        return None
    return headers[at + 2]


def without(headers: list[bytes], unwanted: Callable[[bytes], bool]) -> list[bytes]:
    """A flat list without the headers whose name is `unwanted`."""
    kept: list[bytes] = []
    for at in range(0, len(headers), 4):
        if not unwanted(headers[at]):
            kept += headers[at : at + 4]
    return kept


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Whole header lines for a plan. Raises ValueError where a line break would smuggle one in."""
    lines: list[bytes] = []
    for name, value in headers:
        if any(c in name + value for c in (b"\r", b"\n", b"\0")):
            raise ValueError(f"line break or NUL in header {name!r}")
        lines += (name, b": ", value, b"\r\n")
    return b"".join(lines)


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An answer made here. `headers` are whole lines, see `header_lines`."""

    status: int
    body: bytes = b""
    headers: bytes = b"content-type: application/json\r\n"


class Forward(msgspec.Struct, frozen=True):
    """Where a request goes.

    `headers`, `fallback_headers`, `mirror_headers` are whole lines added to the request of each
    upstream, `answer_headers` to the user's answer: make them with `header_lines`. `strip` names
    request headers (lower case) that are not forwarded; inbound `x-molt-*` never are. `timeout` is
    seconds from sending the whole request to the first byte of the answer's head; 0 means the
    upstream's own. With a `fallback`, the edge is asked before it is used. A `mirror` gets a copy
    of the complete request; `mirror_token` becomes the `token` of the copy's exchange. Beside it,
    the mirror of `also` gets one.
    """

    upstream: "Upstream"
    headers: bytes = b""
    fallback: "Upstream | None" = None
    fallback_headers: bytes = b""
    mirror: "Upstream | None" = None
    mirror_headers: bytes = b""
    mirror_token: Any = None
    also: "Forward | None" = None
    answer_headers: bytes = b""
    strip: frozenset[bytes] = frozenset()
    timeout: float = 0.0


Plan = Answer | Forward


class Exchange:
    """One request and what became of it; `record` gets it when it is over.

    `started`, `first_byte`, `failed_at`, `finished` are monotonic seconds, 0.0 when it never came
    to that. `bytes_in` counts the request's body, `bytes_out` all that was written to the user (for
    a mirror copy: the answer's body). `status` is the user's, 0 when no answer began; `upstream`
    names who made it. When the first upstream failed and the fallback was asked for,
    `failure`, `failure_status` and `failed_at` tell about the first, the rest about the second.
    """

    __slots__ = (
        "body", "bytes_in", "bytes_out", "client", "failed_at", "failure", "failure_status",
        "fell_back", "finished", "first_byte", "forwarded_for", "headers", "host", "method",
        "mirror", "outcome", "started", "status", "target", "token", "upstream", "usage", "watched",
    )  # fmt: skip
    upstream: str
    outcome: Outcome
    failure: FailureKind | Literal[""]
    usage: Usage | None

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: list[bytes],
        host: bytes,
        client: str,
        started: float,
        *,
        body: bytes | None = None,
        watched: Mapping[bytes, bytes | None] = MappingProxyType({}),
    ) -> None:
        self.method = method
        self.target = target
        """Raw path and query, as they came."""
        self.headers = headers
        """Flat list without host, framing, hop-by-hop, `x-forwarded-*`, `x-molt-*`; see `find`."""
        self.host = host
        self.client = client
        """Address of the peer."""
        self.started = started
        self.body = body
        """The whole body, if it was here and small enough when `decide` was called."""
        self.watched = watched
        """First values of the headers that the edge asked to be noted, None for those not there."""
        self.forwarded_for: bytes | None = None
        """`x-forwarded-for` as it came; believe it only from a proxy that is trusted."""
        self.token: Any = None
        """The edge's own; the proxy only carries it."""
        self.upstream = self.outcome = self.failure = ""
        self.status = self.failure_status = self.bytes_in = self.bytes_out = 0
        self.first_byte = self.finished = self.failed_at = 0.0
        self.fell_back = self.mirror = False
        self.usage = None

    def header(self, name: bytes) -> bytes | None:
        """The first value of request header `name` (lower case), or None."""
        if name in self.watched:
            return self.watched[name]
        if name == b"host":
            return self.host
        if name == b"x-forwarded-for":
            return self.forwarded_for
        return find(self.headers, name)

    def cancel(self) -> None:
        """Take the request back from its upstream, if it is still there.

        With a fallback the edge is asked, as for any failure; an answer that has begun is cut.
        """


class Failure(msgspec.Struct, frozen=True):
    """Why the first upstream gave no good answer.

    `delivered` is False only when no byte of the request can have reached it. `headers` and
    `status` are those of its answer when `kind` is "status" (any 5xx).
    """

    kind: FailureKind
    delivered: bool
    status: int = 0
    headers: list[bytes] = []


class Edge(Protocol):
    """Who decides. Called from the event loop's callbacks: nothing here may block."""

    def wants_body(self, exchange: Exchange) -> bool:
        """Whether `decide` needs the body of this request; asked when it is not all here yet."""
        ...

    def decide(self, exchange: Exchange) -> Plan:
        """Where the request goes. If it raises, the proxy's rescue plan is used."""
        ...

    def answered(self, exchange: Exchange, status: int, headers: list[bytes]) -> Reader | None:
        """An upstream's answer begins; what is returned reads its body and gives `usage`.

        `headers` may be changed in place: they go to the user as they are left.
        """
        ...

    def may_fall_back(
        self, exchange: Exchange, failure: Failure, resume: Callable[[bool], None]
    ) -> None:
        """Call `resume`, now or later: True asks the fallback, False gives the user the failure."""
        ...

    def record(self, exchange: Exchange) -> None:
        """The exchange is over. Called exactly once for each, refused and aborted ones too."""
        ...
