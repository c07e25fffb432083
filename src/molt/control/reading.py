"""Raw pairs as gateways send them -> pairs as they are kept: read, redacted, bounded."""

from typing import Any

import msgspec

from molt.core.pairs import Call, Pair, RawPair, RawSide, Side
from molt.core.redaction import Redactor
from molt.wire.said import Said, Unreadable, decoded, read_answer

INFLATES = 16
"""A body may be so many times larger than it came."""

MOST_CALLS = 200


def read_pair(raw: RawPair, redactor: Redactor, most: int) -> Pair:
    """The pair, still to be compared. `most` is the bytes kept of a body."""
    redactor = redactor.hiding(raw.who)
    return Pair(
        id=raw.id,
        rollout=raw.rollout,
        epoch=raw.epoch,
        agent=raw.agent,
        at=raw.at,
        bucket=raw.bucket,
        subject=raw.subject,
        trace=raw.trace,
        method=raw.method,
        path=redactor.text(raw.path),
        request=_request(raw, redactor),
        control=_side(raw.control, redactor, most),
        candidate=_side(raw.candidate, redactor, most),
        twin=None if raw.twin is None else _side(raw.twin, redactor, most),
    )


def _request(raw: RawPair, redactor: Redactor) -> Any:
    """The request as data, else as text."""
    if not raw.request:
        return None
    try:
        return redactor.data(msgspec.json.decode(raw.request))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return redactor.text(raw.request.decode("utf-8", "replace"))


def _side(raw: RawSide, redactor: Redactor, most: int) -> Side:
    said, mark = _said(raw, most)
    known = raw.tokens_in is not None or raw.tokens_out is not None
    return Side(
        status=raw.status,
        outcome=raw.outcome,
        latency_ms=raw.latency_ms,
        tokens=(raw.tokens_in or 0) + (raw.tokens_out or 0) if known else None,
        cost=raw.cost,
        text=None if said.text is None else redactor.text(said.text),
        data=redactor.data(said.data),
        calls=None if said.calls is None else redacted_calls(said.calls, redactor),
        mark=mark,
    )


def _said(raw: RawSide, most: int) -> tuple[Said, str]:
    """What the answer says, or why that is not known."""
    if raw.cut:
        return Said(), f"longer than {most} bytes"
    try:
        return read_answer(raw.content_type, decoded(raw.body, raw.encoding, INFLATES * most)), ""
    except Unreadable as why:
        return Said(), str(why)


def redacted_calls(calls: Any, redactor: Redactor) -> tuple[Call, ...]:
    """Calls as they are kept."""
    return tuple(
        Call(redactor.text(tool), redactor.data(arguments))
        for tool, arguments in list(calls)[:MOST_CALLS]
    )
