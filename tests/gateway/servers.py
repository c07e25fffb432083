"""Real servers for the gateway's tests: a control process and two services, on free ports."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from molt.core.evidence import Batch, BucketSums, Slot, SlotKey, Violation
from molt.core.flags import Flags

KEY = "key of this installation"


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """The first true value of `condition`; fails when the deadline passes before there is one."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not (found := condition()):
        assert loop.time() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.002)
    return found


class Served:
    """An application on a free port, that can be stopped and started again on the same one."""

    def __init__(self, routes: list[Route]) -> None:
        self._app = Starlette(routes=routes)
        self._server: uvicorn.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        config = uvicorn.Config(
            self._app,
            port=self.port,
            lifespan="off",
            ws="none",
            log_config=None,
            timeout_graceful_shutdown=0,
            timeout_keep_alive=30,
        )
        server = self._server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # pyright: ignore[reportAttributeAccessIssue]
        server.capture_signals = contextlib.nullcontext  # pyright: ignore[reportAttributeAccessIssue]
        self._task = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        self.port = server.servers[0].sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = self._server.force_exit = True
            await self._task
            self._server = None


class FakeControl(Served):
    """The gateway protocol, with everything that was said kept in lists.

    `refuse` is a status that batches get instead of being taken; `lose` takes a batch and then
    breaks the answer, as a crash would. `acted` are the runs that reported an action.
    """

    def __init__(self, flags: Flags | None = None) -> None:
        super().__init__(
            [
                Route("/gateway/v1/flags", self._flags),
                Route("/gateway/v1/batches", self._batches, methods=["POST"]),
                Route("/gateway/v1/violations", self._violation, methods=["POST"]),
                Route("/gateway/v1/runs/{run}/close", self._close, methods=["POST"]),
            ]
        )
        self.flags = flags
        self.batches: list[Batch] = []
        self.times: list[float] = []
        self.closed: list[str] = []
        self.reported: dict[str, Violation] = {}
        self.acted: set[str] = set()
        self.everybody_acted = False
        self.refuse = 0
        self.lose = False
        self.beating = True
        self._sequences: set[int] = set()
        self._changed = asyncio.Event()

    def publish(self, flags: Flags) -> None:
        self.flags = flags
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _flags(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return Response(status_code=401)
        return StreamingResponse(self._lines(), media_type="application/x-ndjson")

    async def _lines(self) -> AsyncIterator[bytes]:
        sent = 0
        while True:
            changed, flags = self._changed, self.flags
            if flags is not None and flags.version != sent:
                sent = flags.version
                yield msgspec.json.encode({"flags": flags}) + b"\n"
            elif self.beating:
                yield b'{"beat":%d}\n' % (flags.version if flags else 0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), 0.2)

    async def _batches(self, request: Request) -> Response:
        batch = msgspec.json.decode(await request.body(), type=Batch)
        if self.refuse:
            return Response(status_code=self.refuse)
        if batch.sequence in self._sequences:
            return Response(status_code=409)
        self._sequences.add(batch.sequence)
        self.batches.append(batch)
        self.times.append(asyncio.get_running_loop().time())
        return Response(status_code=500 if self.lose else 204)

    async def _violation(self, request: Request) -> Response:
        if self.refuse:
            return Response(status_code=self.refuse)
        violation = msgspec.json.decode(await request.body(), type=Violation)
        self.reported[request.query_params["once"]] = violation
        return Response(status_code=204)

    async def _close(self, request: Request) -> Response:
        run = request.path_params["run"]
        self.closed.append(run)
        return JSONResponse({"acted": self.everybody_acted or run in self.acted})

    # --- what was said, added up

    def slots(self) -> dict[SlotKey, Slot]:
        merged: dict[SlotKey, Slot] = {}
        for slot in (msgspec.json.decode(msgspec.json.encode(s), type=Slot)
                     for b in self.batches for s in b.slots):  # fmt: skip
            if slot.key in merged:
                merged[slot.key].merge(slot)
            else:
                merged[slot.key] = slot
        return merged

    def total(self, column: str, **where: str) -> Any:
        """A column of all slots whose key has these values."""
        slots = self.slots().values()
        mine = [s for s in slots if all(getattr(s.key, k) == v for k, v in where.items())]
        if column == "errors":
            return sum(s.errors.count for s in mine)
        return sum(getattr(s, column) for s in mine)

    def summed(self, column: str, arm: str) -> float:
        """A column of all bucket sums of one arm."""
        sums: list[BucketSums] = [s for b in self.batches for s in b.sums if s.key.arm == arm]
        return sum(sum(s.columns.get(column, {}).values()) for s in sums)

    def violations(self) -> list[Violation]:
        return [v for b in self.batches for v in b.violations]


class Bar(Served):
    """A service that speaks agent-chat, and remembers what it was asked.

    `status`, `tools`, `headers` shape its answers; `hangs` makes it answer only when released;
    `names_sessions` makes it name a session where the request has none; `streams` makes it send
    events for ever, and with `says_done` none after the one that says so.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            [Route("/{path:path}", self._answer, methods=["GET", "POST", "PUT", "DELETE"])]
        )
        self.name = name
        self.asked: list[dict[str, Any]] = []
        self.status = 200
        self.tools: list[str] = []
        self.headers: dict[str, str] = {}
        self.hangs = False
        self.names_sessions = False
        self.streams = self.says_done = False
        self.release = asyncio.Event()

    async def _answer(self, request: Request) -> Response:
        raw = await request.body()
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            body = {}
        self.asked.append(
            {"path": request.url.path, "headers": dict(request.headers), "body": body,
             "traces": request.headers.getlist("traceparent")}
        )  # fmt: skip
        if self.hangs:
            await self.release.wait()
        answer: dict[str, Any] = {
            "content": f"{self.name} says hello",
            "tool_calls": [{"tool": t, "arguments": {}, "result": {}} for t in self.tools],
            "usage": {"input_tokens": 10, "output_tokens": 5},
            "model": "m",
        }
        if self.names_sessions:
            answer["session_id"] = body.get("session_id") or f"{self.name}-{len(self.asked)}"
        if self.streams:
            return StreamingResponse(self._forever(), media_type="text/event-stream")
        return JSONResponse(answer, self.status, self.headers)

    async def _forever(self) -> AsyncIterator[bytes]:
        yield b'data: {"choices":[]}\n\n' + (b"data: [DONE]\n\n" if self.says_done else b"")
        while not self.release.is_set():
            if not self.says_done:
                yield b'data: {"choices":[]}\n\n'
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.release.wait(), 0.02)
