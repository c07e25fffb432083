"""Which form of answer a request will get, so that usage can be read from it."""

from typing import Final

from molt.wire.usage import Dialect

_BY_PATH: Final[tuple[tuple[bytes, Dialect], ...]] = (
    (b"/chat/completions", "openai"),
    (b"/v1/responses", "openai"),
    (b"/v1/messages", "anthropic"),
)


def dialect_of(target: bytes, default: Dialect) -> Dialect:
    """The dialect of an API whose path is well known, else `default`."""
    for part, dialect in _BY_PATH:
        if part in target:
            return dialect
    return default
