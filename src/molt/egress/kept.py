"""Arguments of calls as they may be kept: bounded, without secrets and what names a person."""

from typing import Any, Final

import msgspec

from molt.core.redaction import DEFAULTS, Redactor

MOST_ARGUMENTS: Final = 4000
"""Characters of arguments that are kept of one call."""
_SECRET_KEYS: Final = (
    "password", "passwd", "secret", "token", "api_key", "apikey", "authorization",
)  # fmt: skip
_redactor: Final = Redactor(DEFAULTS)


def kept(arguments: Any) -> str:
    """`arguments` as JSON text that may be kept."""
    try:
        hidden = _redactor.data(_without_secrets(arguments))
        return msgspec.json.encode(hidden).decode()[:MOST_ARGUMENTS]
    except RecursionError:
        return '"[too deep]"'


def kept_text(arguments: str | None) -> str | None:
    """The same of JSON text; what is not JSON is taken as mere text."""
    if arguments is None:
        return None
    try:
        return kept(msgspec.json.decode(arguments))
    except msgspec.DecodeError:
        return kept(arguments)


def _without_secrets(data: Any) -> Any:
    if isinstance(data, dict):
        return {
            key: "[secret]"
            if any(word in str(key).lower() for word in _SECRET_KEYS)
            else _without_secrets(value)
            for key, value in data.items()
        }
    if isinstance(data, list):
        return [_without_secrets(item) for item in data]
    return data
