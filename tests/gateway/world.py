"""What the tests of the gateway stand on: flags, exchanges, and an audit log in memory."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from molt.core.evidence import Head
from molt.core.flags import Flags, RolloutFlags
from molt.core.policy import ToolPolicy
from molt.wire.exchange import Exchange
from molt.wire.usage import Usage

ROLLOUT = RolloutFlags(
    rollout="r",
    epoch=3,
    agents=("guest", "research"),
    enabled=True,
    shadow=False,
    share=5_000,
    mirror=0,
    salt="salt",
    statistics_salt="other salt",
    tiers=(100, 5_000, 10_000),
    cuts=(1000.0, 3000.0),
    disabled_agents=("research",),
    tools={"guest": ToolPolicy(allow=("menu_*",), deny=("menu_drop",))},
)


def rollout(**changes: object) -> RolloutFlags:
    """Rollout `r` at 50%, changed."""
    return msgspec.structs.replace(ROLLOUT, **changes)


def flags(version: int = 1, ttl: float = 600.0, limiter_epoch: int = 0, **changes: object) -> Flags:
    """A snapshot with that one rollout."""
    made_at = datetime(2026, 3, 2, tzinfo=UTC)
    return Flags(version, made_at, (rollout(**changes),), limiter_epoch, ttl)


def flat(headers: Mapping[str, str]) -> list[bytes]:
    """Headers in the proxy's form."""
    return [
        part
        for name, value in headers.items()
        for part in (name.encode(), b": ", value.encode(), b"\r\n")
    ]


JSON = {"content-type": "application/json"}


def exchange(
    method: bytes = b"POST",
    target: bytes = b"/functions/v1/agent-chat",
    headers: Mapping[str, str] = JSON,
    body: object = None,
    **more: Any,
) -> Exchange:
    """A request, as the proxy hands it over; `body` is bytes, or what becomes JSON."""
    raw = body if isinstance(body, bytes | None) else msgspec.json.encode(body)
    more = {"client": "203.0.113.9", "started": 100.0} | more
    return Exchange(method, target, flat(headers), b"bar.example", body=raw, **more)


def chat(user: str | None = "u1", session: str | None = None, agent: str = "guest") -> Exchange:
    """One turn in the agent-chat dialect."""
    body: dict[str, Any] = {"message": "hello", "agent_type": agent, "context": {}}
    if user is not None:
        body["context"] = {"user_id": user}
    if session is not None:
        body["session_id"] = session
    return exchange(body=body)


def ended(
    done: Exchange,
    status: int = 200,
    seconds: float = 0.5,
    usage: Usage | None = None,
    **more: Any,
) -> Exchange:
    """`done`, as it is when it is over."""
    done.status = status
    done.outcome = more.pop("outcome", "ok")
    done.finished = done.started + seconds
    done.usage = usage
    for name, value in more.items():
        setattr(done, name, value)
    return done


class MemoryAudit:
    """An audit chain that keeps its records in a list; `broken` makes it refuse to write."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.broken = False
        self._queued: list[dict[str, Any]] = []

    def append(self, record: Mapping[str, object]) -> None:
        self._queued.append(dict(record))

    def flush(self) -> None:
        if self.broken:
            raise OSError("disk full")
        self.records += self._queued
        self._queued.clear()

    def head(self) -> Head:
        return Head("memory", len(self.records), "00")


class FlatPrices:
    """A dollar for each token of a known model; `?` is unknown, and `!` a defect of ours."""

    def cost(self, model: str | None, input_tokens: int, output_tokens: int) -> float | None:
        if model == "!":
            raise ZeroDivisionError
        if model is None or model == "?":
            return None
        return float(input_tokens + output_tokens)


def hashed(name: str) -> str:
    """A keyed hash that is good enough for tests."""
    return hashlib.sha256(f"key {name}".encode()).hexdigest()[:32]
