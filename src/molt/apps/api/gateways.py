"""The small protocol between control and its gateways, and the agents' reports on their runs."""

from collections.abc import AsyncIterator

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from molt.apps.api.auth import gateway
from molt.control.controller import Controller
from molt.core.evidence import Batch, Violation
from molt.core.pairs import RawPairs

router = APIRouter(prefix="/gateway/v1", dependencies=[Depends(gateway)], include_in_schema=False)

_batches = msgspec.json.Decoder(Batch)
_violations = msgspec.json.Decoder(Violation)
_pairs = msgspec.msgpack.Decoder(RawPairs)


@router.get("/flags")
async def flags(request: Request) -> StreamingResponse:
    """The snapshot now and on every change, one JSON object a line, with a beat every second."""
    lines: AsyncIterator[bytes] = request.app.state.hub.flag_lines()
    return StreamingResponse(lines, media_type="application/x-ndjson")


@router.post("/batches")
async def batches(request: Request) -> Response:
    """Take a batch in; answered when it is kept and decided on. 409 when it was known already."""
    try:
        batch = _batches.decode(await request.body())
    except msgspec.DecodeError as error:
        raise HTTPException(422, f"not a batch: {error}") from None
    request.app.state.hub.heard(batch)
    if batch.head is not None:
        await request.app.state.store.save_heads([batch.head])
    controller: Controller = request.app.state.controller
    try:
        known = not await controller.ingest(batch)
    except IndexError:
        raise HTTPException(422, "not a batch: a statistics bucket is outside 0..255") from None
    if known:
        return Response(status_code=409)
    request.app.state.hub.show(batch)
    return Response(status_code=204)


@router.post("/violations", status_code=204)
async def violations(once: str, request: Request) -> Response:
    """Take one violation in; answered when the rollback that it causes is written."""
    try:
        violation = _violations.decode(await request.body())
    except msgspec.DecodeError as error:
        raise HTTPException(422, f"not a violation: {error}") from None
    controller: Controller = request.app.state.controller
    if violation.rollout not in controller.desks:
        raise HTTPException(404, f"No rollout {violation.rollout!r}")
    await controller.report_violation(violation, once)
    return Response(status_code=204)


@router.post("/pairs")
async def pairs(request: Request) -> Response:
    """Keep pairs of answers, to be compared; a repeated pair is kept once."""
    try:
        raw = _pairs.decode(await request.body())
    except msgspec.DecodeError as error:
        raise HTTPException(422, f"not pairs: {error}") from None
    await request.app.state.shadowing.take_in(raw)
    return Response(status_code=204)


@router.post("/runs/{run}/close")
async def close_run(run: str, request: Request) -> dict[str, object]:
    """End a run: `acted` says whether it reported an action; later reports are refused."""
    tools = await request.app.state.store.close_run(run, request.app.state.clock.now())
    return {"acted": bool(tools), "tools": list(tools)}
