"""Exit codes, and the one place where an error becomes one."""

from typing import Final

from molt.core.errors import MoltError, OperatorError, Refused, UpstreamError, VersionConflict

OK: Final = 0
NOT_HELD: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3
CONFLICT: Final = 4

MEANINGS: Final[dict[int, str]] = {
    OK: "done",
    NOT_HELD: "what was asked for did not hold: a check failed, `audit verify` found a bad record, "
    "a gate or the plan refused the command, or you answered no",
    USAGE: "usage or configuration error",
    UNREACHABLE: "Molt cannot be reached, cannot answer now, or refuses the token",
    CONFLICT: "somebody else changed the rollout first: look again, then repeat",
}
"""The whole table; help and documentation print it from here."""


class NotHeld(OperatorError):
    """The thing asked for is not so; the message says what was found instead."""


class Unreachable(UpstreamError):
    """Molt does not answer, or not as Molt does."""


class TokenRefused(OperatorError):
    """The token is missing, unknown, expired, or its role may not do this."""


_CODES: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (VersionConflict, CONFLICT),
    (TokenRefused, UNREACHABLE),
    (UpstreamError, UNREACHABLE),
    (NotHeld, NOT_HELD),
    (Refused, NOT_HELD),
    (OperatorError, USAGE),
    (OSError, USAGE),
    (MoltError, NOT_HELD),
)


def exit_code(error: BaseException) -> int:
    """The exit code of `error`: that of the first class above that it is an instance of."""
    return next(code for kind, code in _CODES if isinstance(error, kind))
