"""What the egress says no with."""

from typing import Final

from molt.egress.http import JSON, Headers

DENIED: Final[Headers] = (JSON, (b"x-should-retry", b"false"))
"""The official clients of OpenAI and Anthropic do not repeat a request that was answered so."""


class Denied(Exception):
    """The call is not made. `kind` is for programs, the message for people, `reason` for records."""

    def __init__(self, status: int, kind: str, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.reason = reason or kind
