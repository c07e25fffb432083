"""Business facts about subjects, one or many at a time; each counts once, whatever is repeated."""

import io
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import msgspec
from fastapi import APIRouter, HTTPException, Request
from pydantic import ValidationError

from molt.apps.api.auth import Operator
from molt.apps.api.models import BatchCounts, LineError, OutcomeIn
from molt.apps.api.rollouts import controller_of
from molt.apps.outcome_rows import Row, csv_rows
from molt.control.controller import Controller
from molt.control.outcomes import Accepted
from molt.core.errors import NotFound, OperatorError
from molt.core.evidence import Outcome
from molt.core.rollout import Phase

router = APIRouter(prefix="/api/v1", tags=["facts"])

MAX_OUTCOMES: Final = 10_000
ERRORS_TOLD: Final = 100


@router.post("/outcomes", status_code=202)
async def outcomes(
    body: list[OutcomeIn] | OutcomeIn, request: Request, _: Operator
) -> dict[str, int]:
    """Report one outcome or a list, all or none; each id counts once, up to seven days late.

    Answers how many were accepted, repeated, too late, and of subjects never seen.
    """
    reported = body if isinstance(body, list) else [body]
    if len(reported) > MAX_OUTCOMES:
        raise HTTPException(413, f"at most {MAX_OUTCOMES} outcomes a request")
    controller = controller_of(request)
    rollouts = [rollout_about(controller, one.rollout, one.agent) for one in reported]
    return await _take_in(controller, zip(rollouts, reported, strict=True))


_BODY: Final = {
    "required": True,
    "content": {
        "text/csv": {"schema": {"type": "string"}},
        "application/x-ndjson": {"schema": {"type": "string"}},
        "application/json": {
            "schema": {"type": "array", "items": {"$ref": "#/components/schemas/OutcomeIn"}}
        },
    },
}


@router.post("/outcomes/batch", status_code=202, openapi_extra={"requestBody": _BODY})
async def batch(request: Request, _: Operator) -> BatchCounts:
    """Report many outcomes, each by itself: what is wrong is named by its line, the rest counts.

    The body is CSV with a header (`text/csv`: id, subject, kind, at, and if needed value, agent,
    rollout), one JSON object a line (`application/x-ndjson`), or a JSON array. Send the same body
    again whenever you are not sure that it arrived.
    """
    controller = controller_of(request)
    good: list[tuple[str, OutcomeIn]] = []
    errors: list[LineError] = []
    for number, row in enumerate(
        _rows(request.headers.get("content-type", ""), await _body(request))
    ):
        if number == MAX_OUTCOMES:
            raise HTTPException(413, f"at most {MAX_OUTCOMES} outcomes a request")
        try:
            one = OutcomeIn.model_validate(row.fields)
            good.append((rollout_about(controller, one.rollout, one.agent), one))
        except (ValidationError, OperatorError) as error:
            errors.append(LineError(line=row.line, error=_said(error)))
    counts = await _take_in(controller, good)
    return BatchCounts(**counts, rejected=len(errors), errors=errors[:ERRORS_TOLD])


async def _take_in(controller: Controller, reported: Any) -> dict[str, int]:
    now = controller.clock.now()
    by_rollout: dict[str, list[Outcome]] = {}
    for rollout, one in reported:
        by_rollout.setdefault(rollout, []).append(_outcome(one, now))
    totals = dict.fromkeys(Accepted._fields, 0)
    for rollout, group in by_rollout.items():
        accepted = await controller.report_outcomes(rollout, group)
        for name, count in accepted._asdict().items():
            totals[name] += count
    return totals


def _outcome(one: OutcomeIn, now: datetime) -> Outcome:
    return Outcome(one.id, one.subject, one.kind, one.at or now, one.value, one.agent)


def rollout_about(controller: Controller, rollout: str | None, agent: str | None) -> str:
    """The rollout that is meant: the one named, else the only one going on that covers the agent.

    Raises `OperatorError` when that is not exactly one.
    """
    if rollout is not None:
        try:
            return controller.desk(rollout).id
        except NotFound as error:  # it stands in the body, not in the address
            raise OperatorError(str(error)) from None
    covering = [d for d in controller.desks.values() if agent in (None, *d.rollout.agents)]
    # Of rollouts one after the other for the same agents, the one that goes on is meant.
    going_on = [d for d in covering if d.rollout.phase != Phase.ABORTED] or covering
    if len(going_on) == 1:
        return going_on[0].id
    known = ", ".join(controller.desks) or "none"
    raise OperatorError(
        f"Which rollout is this about? Give `rollout` or an `agent` that one covers; known: {known}"
    )


# --- bodies


async def _body(request: Request) -> str:
    try:
        return (await request.body()).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise HTTPException(422, f"the body is not UTF-8: {error}") from None


def _rows(content_type: str, text: str) -> Iterator[Row]:
    match content_type.partition(";")[0].strip().lower():
        case "text/csv":
            return csv_rows(io.StringIO(text, newline=""))
        case "application/x-ndjson" | "application/jsonl" | "application/ndjson":
            return _json_lines(text)
        case "application/json":
            return _json_array(text)
        case other:
            raise HTTPException(
                415,
                f"content-type {other or 'missing'}; expected text/csv, application/x-ndjson or "
                "application/json",
            )


def _json_lines(text: str) -> Iterator[Row]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield Row(number, msgspec.json.decode(line))
            except msgspec.DecodeError as error:
                yield Row(number, f"not JSON: {error}")


def _json_array(text: str) -> Iterator[Row]:
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise HTTPException(422, f"not JSON: {error}") from None
    if not isinstance(found, list):
        raise HTTPException(422, "expected an array of outcomes")
    for number, fields in enumerate(found, start=1):
        yield Row(number, fields)


def _said(error: ValidationError | OperatorError) -> str:
    """What is wrong with one row, a phrase for each field."""
    if isinstance(error, OperatorError):
        return str(error)
    phrases: list[str] = []
    for one in error.errors(include_url=False, include_context=False):
        place = ".".join(str(part) for part in one["loc"])
        if not place and isinstance(one["input"], str):
            return one["input"]
        given = f", got {one['input']!r:.80}" if place and one["type"] != "missing" else ""
        phrases.append(f"{place}: {one['msg']}{given}" if place else one["msg"])
    return "; ".join(phrases)
