"""The tables. A change here needs a migration beside it; a test holds the two together.

Times are microseconds since 1970 (UTC) in whole numbers, which every database keeps exactly and
orders rightly. Facts are JSON text, so that a person can read them with any SQL shell; evidence is
binary, because it is rewritten every second.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.engine import Dialect

REVISION: Final = "0006"
"""The newest migration, which makes the tables below."""

metadata: Final = MetaData()

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware datetime, exact to the microsecond; it comes back in UTC."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Microseconds since 1970; a datetime without a zone is a defect and raises `TypeError`."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """The instant of so many microseconds since 1970."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Words(TypeDecorator[tuple[str, ...]]):
    """A tuple of words, separated by blanks."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> str:
        """The words as one text."""
        return " ".join(value or ())

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[str, ...]:
        """The words of a text."""
        return tuple((value or "").split())


logs: Final = Table(
    "logs",
    metadata,
    Column("rollout", Text, primary_key=True),
    Column("opened_at", Instant, nullable=False),
    Column("version", Integer, nullable=False),
    Column("hash", Text, nullable=False),
)
"""One row per rollout: how far its log has come. Guards appends, and shows a cut-off tail."""

events: Final = Table(
    "events",
    metadata,
    Column("rollout", Text, ForeignKey("logs.rollout"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
    Column("hash", Text, nullable=False),
)

batches: Final = Table(
    "batches",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("received_at", Instant, nullable=False),
    Index("batches_by_time", "received_at"),
)

slots: Final = Table(
    "slots",
    metadata,
    Column("rollout", Text, primary_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("agent", Text, primary_key=True),
    Column("arm", Text, primary_key=True),
    Column("mode", Text, primary_key=True),
    Column("span", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("slots_by_span", "span", "start"),
)
"""`span` is the seconds that folding has widened a slot to; 0 for one as gateways sent it."""

sums: Final = Table(
    "sums",
    metadata,
    Column("rollout", Text, primary_key=True),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("tier", Integer, primary_key=True, autoincrement=False),
    Column("agent", Text, primary_key=True),
    Column("arm", Text, primary_key=True),
    Column("mode", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
"""`name` is the column of the bucket sums; `body` is 256 little-endian float64."""

seen: Final = Table(
    "seen",
    metadata,
    Column("rollout", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("arm", Text, nullable=False),
    sqlite_with_rowid=False,
)

outcomes: Final = Table(
    "outcomes",
    metadata,
    Column("rollout", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("value", Float),
    Column("agent", Text),
    Column("bucket", Integer),
    Index("outcomes_by_time", "rollout", "at"),
)

flags: Final = Table(
    "flags",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
)
"""One row, with id 1."""

heads: Final = Table(
    "heads",
    metadata,
    Column("writer", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
)

tokens: Final = Table(
    "tokens",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("scopes", Words, nullable=False, server_default=""),
    Column("created_by", Text, nullable=False, server_default=""),
    Column("last_used_at", Instant),
)

sessions: Final = Table(
    "sessions",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("provider", Text, nullable=False),
    Column("token", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("user_agent", Text, nullable=False),
    Index("sessions_by_name", "name"),
)
"""People who are signed in; a row is deleted when its session ends."""

settings: Final = Table(
    "settings",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

pairs: Final = Table(
    "pairs",
    metadata,
    Column("rollout", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("agent", Text, nullable=False),
    Column("subject", Text),
    Column("trace", Text, nullable=False),
    Column("due", Boolean, nullable=False),
    Column("kinds", Text),
    Column("score", Float, nullable=False),
    Column("body", Text, nullable=False),
    Index("pairs_due", "rollout", "due", "at"),
    Index("pairs_by_trace", "rollout", "trace"),
    Index("pairs_by_subject", "rollout", "subject", "at"),
)
"""`kinds` is a JSON list, null until the pair has been compared; `body` is the whole pair."""

actions: Final = Table(
    "actions",
    metadata,
    Column("rollout", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("tool", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("trace", Text),
    Column("subject", Text),
    Index("actions_by_trace", "rollout", "trace"),
    Index("actions_by_subject", "rollout", "subject", "at"),
)

sightings: Final = Table(
    "sightings",
    metadata,
    Column("rollout", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("at", Instant, nullable=False),
)
"""Tools, argument shapes and error classes, with when each was first seen."""

runs: Final = Table(
    "runs",
    metadata,
    Column("run", Text, primary_key=True),
    Column("closed", Boolean, nullable=False),
    Column("calls", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Index("runs_by_time", "at"),
)
"""`calls` is a JSON list of [tool, arguments], in the order in which they were reported."""

calls: Final = Table(
    "calls",
    metadata,
    Column("id", Text, primary_key=True),
    Column("rollout", Text),
    Column("run", Text),
    Column("at", Instant, nullable=False),
    Column("body", Text, nullable=False),
    Index("calls_by_run", "run", "at"),
    Index("calls_by_rollout", "rollout", "at"),
    Index("calls_by_time", "at"),
)
"""What runs did through the egress; `body` is the whole `Call`."""

alerts: Final = Table(
    "alerts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("body", Text, nullable=False),
    Index("alerts_by_time", "at"),
)
"""`body` is the alert as JSON; `at` is when it was last heard of."""
