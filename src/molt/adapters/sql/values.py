"""Values of the stores that no port names, shared by the store on SQL and the one in memory."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from molt.core.errors import Refused, VersionConflict
from molt.core.evidence import Slot
from molt.core.flags import Flags

MINUTE: Final = 60
HOUR: Final = 3600

RUNS_KEPT: Final = timedelta(hours=1)
"""How long a run is remembered after its last report; run tokens must not live longer."""

CALLS_KEPT: Final = timedelta(days=7)
"""How long single calls of runs can be read; the audit log keeps them for good."""

BATCHES_KEPT: Final = 1000
"""How many sequence numbers below the newest are remembered of a gateway. An older number counts
as known: a gateway must not queue more unsent batches than this."""

FORGET_EVERY: Final = 100
"""Old sequence numbers are dropped with every so many batches of a gateway."""

SILENT_GATEWAYS_KEPT: Final = timedelta(days=7)
"""How long the numbers of a gateway are remembered after its last batch."""


class ApiToken(msgspec.Struct, frozen=True):
    """What is kept of an API token: never the token, only its SHA-256 in hex.

    `scopes` narrow what its role may do; none means all of it. `created_by` is `user@host` where it
    was made on the machine itself, and empty for the first. `last_used_at` is right to the minute; None before its first use.
    """

    name: str
    role: str
    sha256: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    scopes: tuple[str, ...] = ()
    created_by: str = ""
    last_used_at: datetime | None = None

    def live(self, now: datetime) -> bool:
        """Whether it lets anybody in."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class Session(msgspec.Struct, frozen=True):
    """A person who has signed in to the console: the cookie's secret only as its SHA-256 in hex.

    `provider` is empty for one who signed in with an API token; then `token` is that token's hash,
    and the session ends with it.
    """

    sha256: str
    name: str
    role: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    provider: str = ""
    token: str = ""
    client: str = ""
    user_agent: str = ""


def utc_now() -> datetime:
    """The present instant."""
    return datetime.now(UTC)


def folding(now: datetime) -> tuple[tuple[int, int], ...]:
    """(span, cutoff) pairs: slots narrower than `span` that start before `cutoff` are widened.

    Only whole minutes and hours are widened, so that a widened slot is complete but for stragglers.
    """
    return (
        (HOUR, _whole(now - timedelta(weeks=2), HOUR)),
        (MINUTE, _whole(now - timedelta(days=1), MINUTE)),
    )


def _whole(at: datetime, span: int) -> int:
    return int(at.timestamp()) // span * span


def widened(slot: Slot, span: int) -> Slot:
    """The slot as part of the `span` seconds that its start lies in."""
    key = msgspec.structs.replace(slot.key, start=slot.key.start // span * span)
    return msgspec.structs.replace(slot, key=key)


def refuse_taken(token: ApiToken, kept: Sequence[ApiToken], now: datetime) -> None:
    """Raise `Refused` when a live token has this name, or any has this hash."""
    if token.name.casefold() == "molt":
        raise Refused("In the log, `molt` is Molt itself; take another name")
    if any(one.sha256 == token.sha256 for one in kept):
        raise Refused("This token is known already; make a new one")
    if any(one.name == token.name and one.live(now) for one in kept):
        raise Refused(f"There is a token for {token.name} already; revoke it, or take another name")


def stale_flags(kept: int, flags: Flags) -> VersionConflict:
    """The error for a snapshot that is not newer than the kept one."""
    return VersionConflict(
        f"Flags version {flags.version} is not higher than the kept {kept}: another controller "
        "published. Load the flags again"
    )
