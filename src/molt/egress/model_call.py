"""One call of a model: let in, passed on, watched, settled, put on record."""

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp
import msgspec

from molt.core.evidence import Call, Disposition
from molt.egress.denials import DENIED, Denied
from molt.egress.house import House
from molt.egress.http import BodyTooLarge, Request
from molt.egress.kept import kept_text
from molt.egress.ledger import Reservation
from molt.egress.model_stream import ModelStream, Stop
from molt.egress.providers import Provider, back, token_of
from molt.egress.runs import Caller
from molt.egress.verdicts import Unjudged, verdict
from molt.wire.codings import is_read
from molt.wire.models import Asked, Dialect, Made, Passing, Unreadable
from molt.wire.usage import UNKNOWN, JsonReader, StreamReader, Usage

if TYPE_CHECKING:
    from molt.egress.models import Models

_CALLS: Final = (b"_call", b"tool_use", b"\\u00")
"""An answer without any of these names no tool: the fields and types that do, or a letter of them
escaped."""
CLIENT_GONE: Final = "client_gone"


class Admitted(NamedTuple):
    """Tokens held for a call: `most` may come out for each choice; `input` tells whether what goes
    in is counted too."""

    run: str
    held: Reservation
    most: int
    input: bool


class ModelCall:
    """See the module. A call is ended early by cancelling its own task, and `_why` says what for;
    once it is `_ending`, nothing does."""

    def __init__(self, house: House, models: "Models", dialect: Dialect, request: Request):
        self._house = house
        self._models = models
        self._dialect = dialect
        self._request = request
        self._id = house.journal.new_id()
        self._at = house.journal.now()
        self._started = time.perf_counter()
        traceparent = request.header(b"traceparent")
        self._caller: Caller = house.callers.identify(token_of(request.headers), traceparent)
        self._traceparent = traceparent
        self._asked: Asked | None = None
        self._provider: Provider | None = None
        self._admitted: Admitted | None = None
        self._passing: Passing | None = None
        self._usage: Usage | None = None
        self._guess = 0
        self._status = 0
        self._disposition: Disposition = "denied"
        self._reason: str | None = None
        self._why: str | None = None
        self._left = False
        self._ending = False
        self._sent = False
        self._closed = False
        self._task = asyncio.current_task()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Answer the request."""
        try:
            with self._house.callers.watching(self._caller.run, self._withdrawn):
                await self._guarded()
        except Denied as no:
            self._reason = no.reason
            body = self._dialect.error(no.kind, no.message)
            self._settle()
            await self._request.answer(no.status, body, DENIED)
        finally:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            self._settle()
            self._note()

    async def _guarded(self) -> None:
        try:
            await self._admit()
            await self._forward()
        except asyncio.CancelledError:
            if self._why is None or self._task is None:
                raise
            self._task.uncancel()
            await self._ended_early()

    # --- letting in

    async def _admit(self) -> None:
        models, request = self._models, self._request
        models.check(self._caller)
        try:
            body = await request.body(self._house.settings.max_body)
        except BodyTooLarge:
            most = self._house.settings.max_body
            raise Denied(413, "too_large", f"A request has at most {most} bytes") from None
        request.gone().add_done_callback(self._client_left)
        asked = self._asked = models.read(self._dialect, body)
        self._provider = models.provider(self._dialect, asked)
        for tool in asked.hosted:
            if self._caller.forbids(tool):
                await self._violated(Made(tool), "offered to the provider to run")
                raise Denied(403, "forbidden_tool", f"The policy forbids {tool}")
        self._admitted = await models.reserve(self._caller, self._id, self._dialect, asked)

    # --- passing on

    async def _forward(self) -> None:
        asked, provider, admitted = self._asked, self._provider, self._admitted
        assert asked
        assert provider
        assert admitted
        body = self._dialect.limited(asked, admitted.most, provider.service.limit_field)
        headers = provider.headers(self._dialect, self._request.headers, self._traceparent)
        self._sent = True
        self._disposition = "executed"  # the provider may do it, and bill it, whatever comes now
        try:
            async with self._house.http().post(
                provider.url(self._dialect, self._request.query),
                data=body,
                headers=headers,
                timeout=provider.timeout,
                allow_redirects=False,
            ) as answer:
                self._status = answer.status
                coding = answer.headers.get("content-encoding")
                if not is_read(coding):
                    text = (
                        f"The provider {provider.name} answered in {coding}, for which nobody asked"
                    )
                    raise Denied(502, "unreadable", text)
                await self._pass_on(answer)
        except (aiohttp.ClientError, TimeoutError) as error:
            await self._broken(provider, error)

    async def _pass_on(self, answer: aiohttp.ClientResponse) -> None:
        headers = back(answer.headers.items())
        if answer.status >= 400:
            body = await answer.read()
            await self._finish(answer.status, body, headers)
        elif answer.content_type == "text/event-stream":
            await self._stream(answer, headers)
        else:
            await self._whole(answer, headers)

    async def _broken(self, provider: Provider, error: Exception) -> None:
        slow = isinstance(error, TimeoutError)
        text = f"The provider {provider.name} " + (
            "did not answer in time" if slow else f"could not be reached: {type(error).__name__}"
        )
        reason = "upstream_timeout" if slow else "upstream_failed"
        self._sent = slow or self._request.began
        if not self._sent and not self._status:
            self._disposition = "denied"
        if not self._request.began:
            raise Denied(504 if slow else 502, "upstream_error", text, reason=reason)
        self._reason = reason
        if self._passing is not None:
            await self._end(self._passing.fail(f"{text}, and broke off its answer"))

    async def _whole(self, answer: aiohttp.ClientResponse, headers: list[tuple[bytes, bytes]]):
        body = await answer.read()
        reader = JsonReader()
        reader.feed(body)
        self._usage = reader.finish()
        self._guess = len(body) // 4
        if self._caller.policy is not None and any(mark in body for mark in _CALLS):
            try:
                calls = self._dialect.calls(body)
            except Unreadable as error:
                raise Denied(502, "unreadable", f"The model's answer is {error}") from None
            body = await self._judged(calls, body)
        await self._finish(answer.status, body, headers)

    async def _judged(self, calls: list[Made], body: bytes) -> bytes:
        """The answer, or a refusal in its place."""
        assert self._caller.policy is not None
        for call in calls:
            found = verdict(self._caller.policy, call)
            if isinstance(found, Unjudged):
                raise Denied(502, "unreadable", found.why)
            if found is not None:
                await self._violated(found.made, "called in the model's answer")
                return self._dialect.refusal(body, found.why)
        return body

    async def _finish(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self._settle()
        await self._request.answer(status, body, headers)

    # --- streams

    async def _stream(self, answer: aiohttp.ClientResponse, headers: list[tuple[bytes, bytes]]):
        assert self._asked is not None
        assert self._admitted is not None
        reader = StreamReader()
        limit = self._caller.limits.max_tokens_per_request
        cut = f"Molt cut this answer: the run has used its {limit} tokens"
        policy, most = self._caller.policy, self._admitted.most
        stream = ModelStream(self._dialect, self._asked, policy, most, cut)
        self._passing = stream.passing
        await self._request.begin(answer.status, headers)
        try:
            async for piece in answer.content.iter_any():
                reader.feed(piece)
                data = stream.feed(piece)
                if stream.stop is not None:
                    self._usage = _begun(reader.finish())
                    break
                if data and not self._left:
                    await self._request.write(data)
            else:
                self._usage = reader.finish()
                data = stream.finish()
            if stream.stop is not None:
                data += await self._stopped(stream, stream.stop)
            await self._end(data)
        finally:
            self._usage = self._usage or _begun(reader.finish())

    async def _stopped(self, stream: ModelStream, stop: Stop) -> bytes:
        """The end of a stream that goes no further."""
        self._reason = stop.reason
        if stop.made is not None:
            await self._violated(stop.made, "called in the model's answer")
        return stream.end()

    async def _end(self, data: bytes) -> None:
        self._settle()
        if not self._left:
            if data:
                await self._request.write(data)
            await self._request.end()

    # --- ending early

    def _withdrawn(self, reason: str) -> None:
        self._stop(f"withdrawn: {reason}")

    def _client_left(self, _: object) -> None:
        """Read on for a while, for the usage; the answer goes nowhere."""
        if self._timer is None and not self._closed:
            self._left = True
            loop = asyncio.get_running_loop()
            drain = self._house.settings.drain if self._admitted else 0.0
            self._timer = loop.call_later(drain, self._stop, CLIENT_GONE)

    def _stop(self, why: str) -> None:
        if self._why is None and self._task is not None and not self._ending:
            self._why = why
            self._task.cancel()

    async def _ended_early(self) -> None:
        why = self._reason = self._why or ""
        if why == CLIENT_GONE:
            return
        text = f"This run may not go on: {why.removeprefix('withdrawn: ')}"
        if not self._request.began:
            raise Denied(403, "run_withdrawn", text, reason=why)
        if self._passing is not None:
            await self._end(self._passing.fail(text))

    # --- settling, and the record

    async def _violated(self, made: Made, how: str) -> None:
        """The rollback is written when this returns."""
        self._reason = "forbidden_tool"
        self._ending = True
        run = self._caller.run
        if run is None:
            return
        arguments = kept_text(made.arguments or None)
        await self._house.violations.report(run, made.name, arguments=arguments, detail=how)
        self._house.journal.note(
            Call(
                id=self._house.journal.new_id(),
                at=self._house.journal.now(),
                kind="tool",
                name=made.name,
                disposition="denied",
                arguments=arguments,
                reason=f"forbidden, {how}",
                **self._who(),
            )
        )

    def _settle(self) -> None:
        admitted, self._admitted = self._admitted, None
        if admitted is not None:
            self._models.settle(admitted.run, admitted.held, self._used(admitted))

    def _used(self, admitted: Admitted) -> int:
        """Tokens to book: measured, or else estimated."""
        if not self._sent or self._status >= 400:
            return 0
        usage, asked = self._usage or UNKNOWN, self._asked
        passing = self._passing
        said = self._guess if passing is None else max(passing.pieces, passing.text // 4)
        out = said if usage.output_tokens is None else usage.output_tokens
        if not admitted.input:
            return out
        into = usage.input_tokens
        return out + (into if into is not None else asked.estimate if asked else 0)

    def _who(self) -> dict[str, Any]:
        run = self._caller.run
        if run is None:
            return {"trace": self._caller.trace}
        return {
            "rollout": run.rollout,
            "run": run.id,
            "agent": run.agent,
            "mode": self._caller.mode,
            "subject": run.subject,
            "trace": self._caller.trace,
        }

    def _note(self) -> None:
        usage = self._usage or UNKNOWN
        asked = self._asked
        cost = None
        into, out = usage.input_tokens, usage.output_tokens
        if into is not None and out is not None:
            model = usage.model or (asked.model if asked else None)
            cost = self._house.prices.cost(model, into, out)
        call = Call(
            id=self._id,
            at=self._at,
            kind="model",
            name=asked.model if asked else "",
            disposition=self._disposition,
            via=self._provider.name if self._provider else None,
            reason=self._reason,
            status=self._status,
            latency_ms=round(1000 * (time.perf_counter() - self._started), 3),
            tokens_in=into,
            tokens_out=out,
            cost=cost,
            model=usage.model,
        )
        self._house.journal.note(msgspec.structs.replace(call, **self._who()), self._caller.flags)


def _begun(usage: Usage) -> Usage:
    """Of a stream that did not come to its end: what it said of its output is not the whole."""
    return msgspec.structs.replace(usage, output_tokens=None, source="unknown")
