"""The session that an answer names, where clients do not choose their session ids."""

from collections.abc import Callable

from molt.gateway.identity import LONGEST
from molt.gateway.json_fields import Fields
from molt.wire.usage import UNKNOWN, Reader, Usage

LARGEST = 64 * 1024


class SessionField:
    """A field of JSON answers that names the session, e.g. `session_id`."""

    def __init__(self, path: str) -> None:
        self._fields = Fields([path])
        self._get = self._fields.getter(path)

    def of(self, body: bytes) -> str | None:
        """The session named in `body`; None when there is none, or it is not JSON."""
        fields = self._fields.read(body)
        if fields is None:
            return None
        try:
            value = self._get(fields)
        except AttributeError:
            return None
        return value if isinstance(value, str) and 0 < len(value) <= LONGEST else None


class SessionReader:
    """Reads usage with `inner`, and calls `learn` with the session when the answer is whole."""

    def __init__(
        self, inner: Reader | None, field: SessionField, learn: Callable[[str], None]
    ) -> None:
        self._inner = inner
        self._field = field
        self._learn = learn
        self._body = bytearray()

    def feed(self, data: bytes) -> None:
        """A piece of the answer's body."""
        if self._inner is not None:
            self._inner.feed(data)
        if len(self._body) <= LARGEST:
            self._body += data

    def finish(self) -> Usage:
        """The usage; the answer is over."""
        if len(self._body) <= LARGEST and (session := self._field.of(bytes(self._body))):
            self._learn(session)
        return UNKNOWN if self._inner is None else self._inner.finish()
