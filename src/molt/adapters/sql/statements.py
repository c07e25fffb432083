"""Every statement the store runs, by name, in the order of the tables. None knows its dialect."""

from typing import Final, Protocol

from sqlalchemy import (
    Insert,
    Table,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    select,
    tuple_,
    update,
)

from molt.adapters.sql import schema as s


class Upsert(Protocol):
    """The dialect's way to insert what may be there already (see `sqlite.Sqlite.upsert`)."""

    def __call__(
        self, table: Table, *, replace: tuple[str, ...] = (), when_higher: str | None = None
    ) -> Insert:
        """The statement."""
        ...


SLOT_KEY: Final = tuple_(
    s.slots.c.rollout, s.slots.c.start, s.slots.c.epoch, s.slots.c.agent, s.slots.c.arm,
    s.slots.c.mode,
)  # fmt: skip
SUMS_KEY: Final = tuple_(
    s.sums.c.rollout, s.sums.c.epoch, s.sums.c.tier, s.sums.c.agent, s.sums.c.arm, s.sums.c.mode,
)  # fmt: skip

# --- logs and events

ROLLOUTS: Final = select(s.logs.c.rollout).order_by(s.logs.c.opened_at, s.logs.c.rollout)
LOGS: Final = select(s.logs.c.rollout, s.logs.c.version, s.logs.c.hash).order_by(
    s.logs.c.opened_at, s.logs.c.rollout
)
LOG: Final = select(s.logs.c.version, s.logs.c.hash).where(s.logs.c.rollout == bindparam("rollout"))
ADVANCE_LOG: Final = (
    update(s.logs)
    .where(s.logs.c.rollout == bindparam("of"), s.logs.c.version == bindparam("expected"))
    .values(version=bindparam("new_version"), hash=bindparam("new_hash"))
)
EVENTS: Final = (
    select(s.events.c.seq, s.events.c.body, s.events.c.hash)
    .where(s.events.c.rollout == bindparam("rollout"), s.events.c.seq > bindparam("after"))
    .order_by(s.events.c.seq)
)
ORPHANED_EVENTS: Final = (
    select(s.events.c.rollout, func.min(s.events.c.seq))
    .where(~exists().where(s.logs.c.rollout == s.events.c.rollout))
    .group_by(s.events.c.rollout)
    .order_by(s.events.c.rollout)
)
ADD_EVENT: Final = s.events.insert()

# --- batches

NEWEST_BATCH: Final = select(
    select(func.max(s.batches.c.sequence))
    .where(s.batches.c.gateway == bindparam("gateway"))
    .scalar_subquery()
    .label("newest"),
    exists()
    .where(
        s.batches.c.gateway == bindparam("gateway"), s.batches.c.sequence == bindparam("sequence")
    )
    .label("known"),
)
ADD_BATCH: Final = s.batches.insert()
FORGET_BATCHES: Final = delete(s.batches).where(
    s.batches.c.gateway == bindparam("gateway"), s.batches.c.sequence < bindparam("oldest")
)
_later = s.batches.alias("later")
FORGET_SILENT_GATEWAYS: Final = delete(s.batches).where(
    s.batches.c.received_at < bindparam("before"),
    ~exists().where(
        _later.c.gateway == s.batches.c.gateway, _later.c.received_at >= bindparam("before")
    ),
)

# --- slots

SLOTS: Final = (
    select(s.slots.c.body)
    .where(s.slots.c.rollout == bindparam("rollout"), s.slots.c.start >= bindparam("since"))
    .order_by(
        s.slots.c.start, s.slots.c.epoch, s.slots.c.agent, s.slots.c.arm, s.slots.c.mode
    )
)  # fmt: skip
SLOTS_AT: Final = select(s.slots.c.span, s.slots.c.body).where(
    SLOT_KEY.in_(bindparam("keys", expanding=True))
)
NARROW_SLOTS: Final = (
    select(s.slots.c.body)
    .where(s.slots.c.span < bindparam("span"), s.slots.c.start < bindparam("before"))
    .order_by(s.slots.c.span, s.slots.c.start)
    .limit(bindparam("at_most"))
)
FORGET_SLOTS: Final = delete(s.slots).where(SLOT_KEY.in_(bindparam("keys", expanding=True)))

# --- bucket sums

SUMS: Final = (
    select(s.sums)
    .where(s.sums.c.rollout == bindparam("rollout"))
    .order_by(*s.sums.primary_key.columns)
)
SUMS_AT: Final = select(s.sums).where(SUMS_KEY.in_(bindparam("keys", expanding=True)))

# --- outcomes and subjects

ADD_OUTCOME: Final = s.outcomes.insert()
KNOWN_OUTCOMES: Final = select(s.outcomes.c.id).where(
    s.outcomes.c.rollout == bindparam("rollout"),
    s.outcomes.c.id.in_(bindparam("ids", expanding=True)),
)
OUTCOMES: Final = (
    select(s.outcomes)
    .where(s.outcomes.c.rollout == bindparam("rollout"), s.outcomes.c.at >= bindparam("since"))
    .order_by(s.outcomes.c.at, s.outcomes.c.id)
)
OUTCOMES_OF_KINDS: Final = OUTCOMES.where(s.outcomes.c.kind.in_(bindparam("kinds", expanding=True)))
ADD_SEEN: Final = s.seen.insert()
KNOWN_SUBJECTS: Final = select(s.seen.c.subject).where(
    s.seen.c.rollout == bindparam("rollout"),
    s.seen.c.subject.in_(bindparam("subjects", expanding=True)),
)
NEW_SUBJECTS: Final = (
    select(
        s.seen.c.epoch,
        func.sum(case((s.seen.c.arm == "candidate", 1), else_=0)),
        func.sum(case((s.seen.c.arm == "candidate", 0), else_=1)),
    )
    .where(s.seen.c.rollout == bindparam("rollout"))
    .group_by(s.seen.c.epoch)
    .order_by(s.seen.c.epoch)
)

# --- flags and heads

FLAGS: Final = select(s.flags.c.body)
FLAGS_VERSION: Final = select(s.flags.c.version)
HEADS: Final = select(s.heads.c.writer, s.heads.c.seq, s.heads.c.hash).order_by(s.heads.c.writer)

# --- tokens, settings, runs

TOKENS: Final = select(s.tokens).order_by(s.tokens.c.created_at, s.tokens.c.name)
TOKEN_BY_HASH: Final = select(s.tokens).where(s.tokens.c.sha256 == bindparam("sha256"))
ADD_TOKEN: Final = s.tokens.insert()
REVOKE_TOKEN: Final = (
    update(s.tokens)
    .where(and_(s.tokens.c.name == bindparam("named"), s.tokens.c.revoked_at.is_(None)))
    .values(revoked_at=bindparam("at"))
)
SETTING: Final = select(s.settings.c.value).where(s.settings.c.key == bindparam("key"))
RUN: Final = select(s.runs.c.closed, s.runs.c.calls).where(s.runs.c.run == bindparam("run"))
FORGET_RUNS: Final = delete(s.runs).where(s.runs.c.at < bindparam("before"))


class Upserts:
    """The statements that the dialect has a say in."""

    def __init__(self, upsert: Upsert) -> None:
        self.open_log = upsert(s.logs)
        self.keep_slot = upsert(s.slots, replace=("span", "body"))
        self.keep_sums = upsert(s.sums, replace=("body",))
        self.keep_flags = upsert(s.flags, replace=("version", "body"), when_higher="version")
        self.keep_head = upsert(s.heads, replace=("seq", "hash"), when_higher="seq")
        self.keep_setting = upsert(s.settings, replace=("value",))
        self.keep_run = upsert(s.runs, replace=("closed", "calls", "at"))
