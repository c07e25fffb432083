"""Finished exchanges -> records of the audit log. Who asked is kept as a keyed hash."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from molt.gateway.generations import Generations
from molt.gateway.observations import Observation
from molt.gateway.routes import Decided
from molt.wire.exchange import Exchange

REMEMBERED_SECONDS = 600.0
REMEMBERED = 50_000


class Hashes:
    """Keyed hashes of subject and session ids; those of active ones are remembered."""

    def __init__(self, hash_id: Callable[[str], str]) -> None:
        self._hash = hash_id
        self._known: Generations[str, str] = Generations(REMEMBERED_SECONDS, REMEMBERED)

    def of(self, name: str, now: float) -> str:
        """The hash of `name`; `now` is monotonic seconds."""
        known = self._known.get(name, now)
        if known is None:
            known = self._hash(name)
            self._known.put(name, known, now)
        return known

    def sweep(self) -> None:
        """Free forgotten memory, a little at a time."""
        self._known.sweep()


_MILLISECONDS: Final = tuple(f".{n:03d}Z" for n in range(1000))
_METHODS: Final = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
}
_MOST_PATHS: Final = 1000


class Stamps:
    """RFC 3339 in UTC with milliseconds; the second's text is made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def of(self, unix: float) -> str:
        """The text of `unix` seconds, rounded down."""
        second = int(unix)
        if second != self._second:
            self._second = second
            self._text = f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"
        return self._text + _MILLISECONDS[int((unix - second) * 1000)]


class AuditRecords:
    """Makes one record per exchange. Queries and bodies stay out: they may hold secrets."""

    def __init__(self, hashes: Hashes) -> None:
        self._hashes = hashes
        self._stamps = Stamps()
        self._paths: dict[bytes, str] = {}

    def of(self, exchange: Exchange, seen: Observation | None, ended: float) -> dict[str, Any]:
        """The record of an exchange that ended at `ended`, unix seconds.

        Fields that say nothing are left out. `seen` is None where no rollout covers it.
        """
        decided: Decided | None = exchange.token
        method, target = exchange.method, exchange.target
        record: dict[str, Any] = {
            "at": self._stamps.of(ended),
            "kind": "request",
            "method": _METHODS.get(method) or method.decode("latin-1"),
            "path": self._paths.get(target) or self._path(target),
            "status": exchange.status,
            "latency_ms": int(1e6 * (exchange.finished - exchange.started)) / 1000,
        }
        if decided is not None:
            self._add_decision(record, decided, exchange.finished)
        usage = exchange.usage
        if usage is not None:
            record["tokens_in"] = usage.input_tokens
            record["tokens_out"] = usage.output_tokens
            if usage.tools:
                record["tools"] = usage.tools
        if seen is not None and seen.cost is not None:
            record["cost"] = seen.cost
        if exchange.fell_back:
            record["fallback"] = exchange.failure
        if exchange.outcome != "ok":
            record["outcome"] = exchange.outcome
        return record

    def _path(self, target: bytes) -> str:
        path = target.partition(b"?")[0].decode("latin-1")
        if len(target) <= 256:
            if len(self._paths) >= _MOST_PATHS:
                self._paths.clear()
            self._paths[target] = path
        return path

    def _add_decision(self, record: dict[str, Any], decided: Decided, now: float) -> None:
        record["arm"] = decided.arm
        record["mode"] = decided.mode
        record["reason"] = decided.reason
        if decided.route is not None:
            record |= decided.route.names
        if decided.run:
            record["run"] = decided.run
        conversation = decided.conversation
        asked = (decided.subject, decided.session)
        if conversation is None or conversation.asked != asked:
            hashes = self._hashed(asked, now)
            if conversation is not None:
                conversation.asked, conversation.hashes = asked, hashes
        else:
            hashes = conversation.hashes
        record |= hashes
        if decided.trace:
            record["trace"] = decided.trace.decode()

    def _hashed(self, asked: tuple[str | None, str | None], now: float) -> dict[str, str]:
        """The part of a record that says who asked; it stays the same for a whole conversation."""
        return {
            name: self._hashes.of(value, now)
            for name, value in zip(("subject", "session"), asked, strict=True)
            if value is not None
        }
