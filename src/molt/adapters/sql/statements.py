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
    or_,
    select,
    tuple_,
    update,
)

from molt.adapters.sql import schema as s
from molt.adapters.sql.values import BATCHES_KEPT


class Upsert(Protocol):
    """The dialect's way to insert what may be there already (see `sqlite.Sqlite.upsert`)."""

    def __call__(
        self, table: Table, *, replace: tuple[str, ...] = (), when_higher: str | None = None
    ) -> Insert:
        """The statement."""
        ...


# Rows by whole keys. The plain terms lead through the index, which no planner does for tuples alone.
_SLOTS_BY_KEY: Final = and_(
    s.slots.c.rollout.in_(bindparam("rollouts", expanding=True)),
    s.slots.c.start.in_(bindparam("starts", expanding=True)),
    tuple_(
        s.slots.c.rollout, s.slots.c.start, s.slots.c.epoch, s.slots.c.agent, s.slots.c.arm,
        s.slots.c.mode,
    ).in_(bindparam("keys", expanding=True)),
)  # fmt: skip
_SUMS_BY_KEY: Final = and_(
    s.sums.c.rollout.in_(bindparam("rollouts", expanding=True)),
    s.sums.c.epoch.in_(bindparam("epochs", expanding=True)),
    tuple_(
        s.sums.c.rollout, s.sums.c.epoch, s.sums.c.tier, s.sums.c.agent, s.sums.c.arm,
        s.sums.c.mode,
    ).in_(bindparam("keys", expanding=True)),
)  # fmt: skip

# --- logs and events

ROLLOUTS: Final = select(s.logs.c.rollout).order_by(s.logs.c.opened_at, s.logs.c.rollout)
LOGS: Final = select(s.logs.c.rollout, s.logs.c.version, s.logs.c.hash).order_by(
    s.logs.c.opened_at, s.logs.c.rollout
)
LOG: Final = select(s.logs.c.version, s.logs.c.hash).where(s.logs.c.rollout == bindparam("rollout"))
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

_window = (
    select(func.max(s.batches.c.sequence) - BATCHES_KEPT)
    .where(s.batches.c.gateway == bindparam("gateway"))
    .scalar_subquery()
)
FORGET_BATCHES: Final = delete(s.batches).where(
    s.batches.c.gateway == bindparam("gateway"), s.batches.c.sequence <= _window
)
_later = s.batches.alias("later")
FORGET_SILENT_GATEWAYS: Final = delete(s.batches).where(
    s.batches.c.received_at < bindparam("before"),
    ~exists().where(
        _later.c.gateway == s.batches.c.gateway, _later.c.received_at >= bindparam("before")
    ),
)

_UNSEEN_BATCH: Final = select(
    bindparam("gateway", type_=s.batches.c.gateway.type),
    bindparam("sequence", type_=s.batches.c.sequence.type),
    bindparam("received_at", type_=s.batches.c.received_at.type),
).where(bindparam("sequence") > func.coalesce(_window, bindparam("sequence") - 1))

# --- slots

FOR_EVER: Final = 2**62
SLOTS: Final = (
    select(s.slots.c.body)
    .where(
        s.slots.c.rollout == bindparam("rollout"),
        s.slots.c.start >= bindparam("since"),
        s.slots.c.start < bindparam("until"),
    )
    .order_by(
        s.slots.c.start, s.slots.c.epoch, s.slots.c.agent, s.slots.c.arm, s.slots.c.mode
    )
)  # fmt: skip
SLOTS_AT: Final = select(s.slots.c.body).where(_SLOTS_BY_KEY)
NARROW_SLOTS: Final = (
    select(s.slots.c.body)
    .where(s.slots.c.span < bindparam("span"), s.slots.c.start < bindparam("before"))
    .order_by(s.slots.c.span, s.slots.c.start)
    .limit(bindparam("at_most"))
)
FORGET_SLOTS: Final = delete(s.slots).where(_SLOTS_BY_KEY)

# --- bucket sums

SUMS: Final = (
    select(s.sums)
    .where(s.sums.c.rollout == bindparam("rollout"))
    .order_by(*s.sums.primary_key.columns)
)
SUMS_AT: Final = select(s.sums).where(_SUMS_BY_KEY)

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
    .where(
        s.tokens.c.name == bindparam("named"),
        s.tokens.c.revoked_at.is_(None),
        or_(s.tokens.c.expires_at.is_(None), s.tokens.c.expires_at > bindparam("at")),
    )
    .values(revoked_at=bindparam("at"))
)
USE_TOKEN: Final = (
    update(s.tokens)
    .where(s.tokens.c.sha256 == bindparam("hash"))
    .values(last_used_at=bindparam("at"))
)
SESSIONS: Final = select(s.sessions).order_by(s.sessions.c.created_at, s.sessions.c.name)
SESSION_BY_HASH: Final = select(s.sessions).where(s.sessions.c.sha256 == bindparam("sha256"))
ADD_SESSION: Final = s.sessions.insert()
SEE_SESSION: Final = (
    update(s.sessions)
    .where(s.sessions.c.sha256 == bindparam("hash"))
    .values(seen_at=bindparam("at"))
)
END_SESSION: Final = delete(s.sessions).where(s.sessions.c.sha256 == bindparam("sha256"))
END_SESSIONS_OF: Final = delete(s.sessions).where(s.sessions.c.name == bindparam("named"))
FORGET_SESSIONS: Final = delete(s.sessions).where(s.sessions.c.expires_at <= bindparam("at"))
SETTING: Final = select(s.settings.c.value).where(s.settings.c.key == bindparam("key"))
RUN: Final = select(s.runs.c.closed, s.runs.c.calls).where(s.runs.c.run == bindparam("run"))
REPORTS_OF: Final = select(s.runs.c.run, s.runs.c.calls).where(
    s.runs.c.run.in_(bindparam("runs", expanding=True))
)
FORGET_RUNS: Final = delete(s.runs).where(s.runs.c.at < bindparam("before"))

CALLS_OF_RUN: Final = (
    select(s.calls.c.body)
    .where(s.calls.c.run == bindparam("run"))
    .order_by(s.calls.c.at, s.calls.c.id)
)
CALLS_OF_RUNS: Final = (
    select(s.calls.c.body)
    .where(s.calls.c.run.in_(bindparam("runs", expanding=True)))
    .order_by(s.calls.c.at, s.calls.c.id)
)
CALLS: Final = (
    select(s.calls.c.body)
    .where(
        s.calls.c.rollout == bindparam("rollout"),
        s.calls.c.at >= bindparam("since"),
        s.calls.c.at < bindparam("until"),
    )
    .order_by(s.calls.c.at.desc(), s.calls.c.id.desc())
    .limit(bindparam("at_most"))
)
FORGET_CALLS: Final = delete(s.calls).where(s.calls.c.at < bindparam("before"))

# --- pairs, actions, sightings

_AT_ROLLOUT: Final = s.pairs.c.rollout == bindparam("rollout")
DUE_PAIRS: Final = (
    select(s.pairs.c.body)
    .where(_AT_ROLLOUT, s.pairs.c.due.is_(True), s.pairs.c.at < bindparam("before"))
    .order_by(s.pairs.c.at, s.pairs.c.id)
    .limit(bindparam("at_most"))
)
SETTLE_PAIR: Final = (
    update(s.pairs)
    .where(s.pairs.c.rollout == bindparam("of_rollout"), s.pairs.c.id == bindparam("of_id"))
    .values(
        due=bindparam("now_due"),
        kinds=bindparam("now_kinds"),
        score=bindparam("now_score"),
        body=bindparam("now_body"),
    )
)
OUTLINES: Final = (
    select(s.pairs.c.id, s.pairs.c.agent, s.pairs.c.at, s.pairs.c.kinds, s.pairs.c.score)
    .where(_AT_ROLLOUT)
    .order_by(s.pairs.c.at.desc(), s.pairs.c.id.desc())
)
PAIRS: Final = select(s.pairs.c.id, s.pairs.c.body).where(
    _AT_ROLLOUT, s.pairs.c.id.in_(bindparam("ids", expanding=True))
)
NTH_PAIR: Final = (
    select(s.pairs.c.at)
    .where(_AT_ROLLOUT)
    .order_by(s.pairs.c.at.desc(), s.pairs.c.id.desc())
    .offset(bindparam("skipped"))
    .limit(1)
)
FORGET_PAIRS: Final = delete(s.pairs).where(_AT_ROLLOUT, s.pairs.c.at < bindparam("before"))
REOPEN_BY_TRACE: Final = (
    update(s.pairs)
    .where(s.pairs.c.rollout == bindparam("of_rollout"), s.pairs.c.trace == bindparam("of_trace"))
    .values(due=True)
)
REOPEN_BY_SUBJECT: Final = (
    update(s.pairs)
    .where(
        s.pairs.c.rollout == bindparam("of_rollout"),
        s.pairs.c.subject == bindparam("of_subject"),
        s.pairs.c.at >= bindparam("since"),
        s.pairs.c.at <= bindparam("until"),
    )
    .values(due=True)
)
KNOWN_ACTIONS: Final = select(s.actions.c.id).where(
    s.actions.c.rollout == bindparam("rollout"),
    s.actions.c.id.in_(bindparam("ids", expanding=True)),
)
ADD_ACTION: Final = s.actions.insert()
ACTIONS_OF: Final = select(s.actions).where(
    s.actions.c.rollout == bindparam("rollout"),
    or_(
        s.actions.c.trace.in_(bindparam("traces", expanding=True)),
        and_(
            s.actions.c.trace.is_(None),
            s.actions.c.subject.in_(bindparam("subjects", expanding=True)),
            s.actions.c.at >= bindparam("since"),
            s.actions.c.at <= bindparam("until"),
        ),
    ),
)
FORGET_ACTIONS: Final = delete(s.actions).where(
    s.actions.c.rollout == bindparam("rollout"), s.actions.c.at < bindparam("before")
)
SIGHTED: Final = select(s.sightings.c.name).where(
    s.sightings.c.rollout == bindparam("rollout"),
    s.sightings.c.name.in_(bindparam("names", expanding=True)),
)
ADD_SIGHTING: Final = s.sightings.insert()

ALERTS: Final = (
    select(s.alerts.c.body)
    .order_by(s.alerts.c.at.desc(), s.alerts.c.id)
    .limit(bindparam("at_most"))
)


class Upserts:
    """The statements that the dialect has a say in."""

    def __init__(self, upsert: Upsert) -> None:
        self.keep_log = upsert(s.logs, replace=("version", "hash"))
        self.add_batch = upsert(s.batches).from_select(
            ["gateway", "sequence", "received_at"], _UNSEEN_BATCH
        )
        self.keep_slot = upsert(s.slots, replace=("span", "body"))
        self.keep_sums = upsert(s.sums, replace=("body",))
        self.keep_flags = upsert(s.flags, replace=("version", "body"), when_higher="version")
        self.keep_head = upsert(s.heads, replace=("seq", "hash"), when_higher="seq")
        self.keep_setting = upsert(s.settings, replace=("value",))
        self.add_pair = upsert(s.pairs)
        self.keep_alert = upsert(s.alerts, replace=("at", "body"))
        self.keep_run = upsert(s.runs, replace=("closed", "calls", "at"))
        self.add_call = upsert(s.calls)
