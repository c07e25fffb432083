"""Run ids, signed run tokens, and trace headers.

A run is one request as the agent works on it. Its token says which run, rollout, agent, arm, mode
and subject, until when, and proves that a gateway said so; the agent hands it on with all it does.

    v1.RUN.ROLLOUT.AGENT.ARM.MODE.SUBJECT.EXPIRES.MAC

Names are percent-encoded (dots too); SUBJECT is the keyed hash, empty for none; EXPIRES is unix
seconds; MAC is keyed blake2b, 128 bits, hex.
"""

import hmac
import re
import secrets
from hashlib import blake2b
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from molt.core.assignment import Arm
from molt.core.errors import OperatorError
from molt.core.evidence import Mode

LIFETIME_SECONDS: Final = 3600
_MAC_BYTES: Final = 16
_IDS_AT_ONCE: Final = 128
_FIELDS: Final = 8

TRACEPARENT: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?"
)
"""https://www.w3.org/TR/trace-context/#traceparent-header; a later version may add fields."""


class InvalidToken(OperatorError):
    """A run token that no gateway of this installation made, or that has expired."""


class Run(NamedTuple):
    """What a run token says. `expires` is unix seconds, `subject` a keyed hash."""

    id: str
    rollout: str
    agent: str
    arm: Arm
    mode: Mode
    expires: int
    subject: str | None = None

    @property
    def began(self) -> int:
        """When its token was made, whole unix seconds, rounded down."""
        return self.expires - LIFETIME_SECONDS


class Runs:
    """Makes run ids and tokens; the ids never repeat, not even after a restart."""

    def __init__(self, key: bytes, lifetime_seconds: int = LIFETIME_SECONDS) -> None:
        self._keyed = blake2b(key=key, digest_size=_MAC_BYTES)
        self._lifetime = lifetime_seconds
        self._prefix = secrets.token_hex(6)
        self._count = 0

    def new_id(self) -> str:
        """A run id: what names this process, and a number."""
        self._count += 1
        return f"{self._prefix}{self._count:08x}"

    def token(self, run: str, claim: str, now: float, subject: str = "") -> bytes:
        """A signed token for `run`. `claim` is made by `claim()`, `now` is unix seconds; `subject`
        is the hash in hex, empty when there is none."""
        text = f"v1.{run}.{claim}.{subject}.{int(now) + self._lifetime}".encode()
        mac = self._keyed.copy()
        mac.update(text)
        return text + b"." + mac.hexdigest().encode()


def claim(rollout: str, agent: str, arm: Arm, mode: Mode) -> str:
    """The part of a token that is the same for many runs; made once."""
    return f"{_escaped(rollout)}.{_escaped(agent)}.{arm}.{mode}"


def verify(token: str | bytes, key: bytes, now: float) -> Run:
    """What `token` says, if it was signed with `key` and has not expired; else `InvalidToken`."""
    raw = token.encode("utf-8", "replace") if isinstance(token, str) else token
    text, _, mac = raw.rpartition(b".")
    expected = blake2b(text, key=key, digest_size=_MAC_BYTES).hexdigest().encode()
    if not hmac.compare_digest(mac, expected):
        raise InvalidToken("Not a run token of this installation: send x-molt-run as it came")
    # The signature holds, so the form is the one made above, or that of another version of Molt.
    fields = text.decode("ascii").split(".")
    if len(fields) != _FIELDS:
        raise InvalidToken("A run token of another version of Molt; the next request gets its own")
    _, run, rollout, agent, arm, mode, subject, expires = fields
    if now >= int(expires):
        raise InvalidToken(f"The token of run {run} has expired; a run ends with its request")
    until = int(expires)
    return Run(run, unquote(rollout), unquote(agent), arm, mode, until, subject or None)  # type: ignore[arg-type]


def _escaped(name: str) -> str:
    return quote(name, safe="").replace(".", "%2E")


class Traces:
    """Goes on with traces, or begins them. Random ids are made many at a time."""

    def __init__(self) -> None:
        self._ids: list[bytes] = []

    def parent(self, inbound: bytes | None) -> tuple[bytes, bytes]:
        """The header line to send on, and its trace id: the inbound trace goes on in a new span.

        Anything else than a valid header begins a new, sampled trace.
        """
        if not self._ids:
            digits = secrets.token_hex(24 * _IDS_AT_ONCE).encode()
            self._ids = [digits[at : at + 48] for at in range(0, len(digits), 48)]
        ids = self._ids.pop()
        if inbound is not None:
            match = TRACEPARENT.fullmatch(inbound)
            if match is not None and (match[4] is None or match[1] != b"00"):
                return b"traceparent: 00-%b-%b-%b\r\n" % (match[2], ids[32:], match[3]), match[2]
        trace = ids[:32]
        return b"traceparent: 00-" + trace + b"-" + ids[32:] + b"-01\r\n", trace
