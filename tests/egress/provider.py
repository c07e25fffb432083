"""A provider of models on a real port: three APIs, whole and streamed, as told by its attributes."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ..gateway.servers import Served


class Provider(Served):
    """Says `words`, then calls `tools` (name, arguments as JSON text).

    `obeys` makes it keep to the limit it is given; one word is one token. `pauses` holds a stream
    after its first words, or a whole answer, until `go`. `pieces` sends a chat tool's name in
    pieces. `coding` is what it says its answers are encoded in. `status` makes it answer with an error. `asked` keeps what came, `left` counts streams
    and answers whose client went away.
    """

    def __init__(self) -> None:
        super().__init__(
            [
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/responses", self._responses, methods=["POST"]),
                Route("/v1/messages", self._messages, methods=["POST"]),
            ]
        )
        self.words = ["Hello", " there"]
        self.tools: list[tuple[str, str]] = []
        self.obeys = True
        self.pieces = False
        self.pauses = False
        self.status = 200
        self.coding = ""
        self.input_tokens = 5
        self.go = asyncio.Event()
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.left = 0
        self.ended = 0

    async def _begin(self, request: Request) -> tuple[dict[str, Any], list[str], Response | None]:
        body = json.loads(await request.body())
        self.asked.append(body)
        self.headers.append(dict(request.headers))
        if self.status != 200:
            error = {"error": {"message": "as told", "type": "told"}}
            return body, [], JSONResponse(error, self.status, {"retry-after": "7"})
        names = ("max_completion_tokens", "max_output_tokens", "max_tokens")
        most = next((body[name] for name in names if name in body), 10**9)
        words = self.words[:most] if self.obeys else self.words
        if self.pauses and not body.get("stream"):
            await self.go.wait()
        return body, words, None

    def _whole(self, answer: dict[str, Any]) -> Response:
        headers = {"content-encoding": self.coding} if self.coding else None
        return JSONResponse(answer, headers=headers)

    def _stream(self, events: list[str]) -> StreamingResponse:
        async def send() -> AsyncIterator[str]:
            try:
                for number, event in enumerate(events):
                    if self.pauses and number == 3:
                        await self.go.wait()
                    yield event
                    await asyncio.sleep(0)
                self.ended += 1
            except asyncio.CancelledError:
                self.left += 1
                raise

        headers = {"content-encoding": self.coding} if self.coding else None
        return StreamingResponse(send(), headers=headers, media_type="text/event-stream")

    # --- OpenAI, chat completions

    async def _chat(self, request: Request) -> Response:
        body, words, error = await self._begin(request)
        if error:
            return error
        head = {"id": "chatcmpl-1", "created": 1, "model": "gpt-4o-mini-2024-07-18"}
        used = {"prompt_tokens": self.input_tokens, "completion_tokens": len(words)}
        used["total_tokens"] = sum(used.values())
        calls = [
            {"id": f"call_{n}", "type": "function", "function": {"name": t, "arguments": a}}
            for n, (t, a) in enumerate(self.tools)
        ]
        if not body.get("stream"):
            message = {"role": "assistant", "content": "".join(words)}
            if calls:
                message["tool_calls"] = calls  # pyright: ignore[reportArgumentType]
            reason = "tool_calls" if calls else "stop"
            choice = {"index": 0, "message": message, "finish_reason": reason}
            answer = {**head, "object": "chat.completion", "choices": [choice], "usage": used}
            return self._whole(answer)
        head["object"] = "chat.completion.chunk"

        def chunk(delta: dict[str, Any], reason: str | None = None) -> str:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"

        events = [chunk({"role": "assistant", "content": ""})]
        events += [chunk({"content": word}) for word in words]
        for n, (name, arguments) in enumerate(self.tools):
            for delta in self._call_deltas(n, name, arguments):
                events.append(chunk({"tool_calls": [delta]}))
        events.append(chunk({}, "tool_calls" if self.tools else "stop"))
        if (body.get("stream_options") or {}).get("include_usage"):
            events.append(f"data: {json.dumps({**head, 'choices': [], 'usage': used})}\n\n")
        return self._stream([*events, "data: [DONE]\n\n"])

    def _call_deltas(self, index: int, name: str, arguments: str) -> list[dict[str, Any]]:
        parts = [name[:4], name[4:]] if self.pieces else [name]
        first = {"id": f"call_{index}", "type": "function"}
        deltas: list[dict[str, Any]] = [
            {"index": index, **(first if at == 0 else {}), "function": {"name": part}}
            for at, part in enumerate(parts)
        ]
        deltas[0]["function"]["arguments"] = ""
        return [*deltas, {"index": index, "function": {"arguments": arguments}}]

    # --- OpenAI, responses

    async def _responses(self, request: Request) -> Response:
        body, words, error = await self._begin(request)
        if error:
            return error
        base = {
            "id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-4o-mini",
            "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": {},
        }  # fmt: skip
        text = "".join(words)
        part = {"type": "output_text", "text": text, "annotations": []}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
        calls = [
            {"id": f"fc_{n}", "call_id": f"call_{n}", "type": "function_call", "name": t,
             "arguments": a, "status": "completed"}
            for n, (t, a) in enumerate(self.tools)
        ]  # fmt: skip
        output = [{**message, "content": [part]}, *calls]
        used = {
            "input_tokens": self.input_tokens, "output_tokens": len(words),
            "total_tokens": self.input_tokens + len(words),
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        }  # fmt: skip
        whole = {**base, "status": "completed", "output": output, "usage": used}
        if not body.get("stream"):
            return self._whole(whole)
        events: list[str] = []

        def add(kind: str, **values: Any) -> None:
            data = {"type": f"response.{kind}", "sequence_number": len(events), **values}
            events.append(f"event: response.{kind}\ndata: {json.dumps(data)}\n\n")

        add("created", response={**base, "status": "in_progress", "output": []})
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        add("output_item.added", output_index=0, item={**message, "content": []})
        add("content_part.added", **place, part={**part, "text": ""})
        for word in words:
            add("output_text.delta", **place, delta=word, logprobs=[])
        add("output_text.done", **place, text=text, logprobs=[])
        add("content_part.done", **place, part=part)
        add("output_item.done", output_index=0, item=output[0])
        for at, call in enumerate(calls, 1):
            there = {"item_id": call["id"], "output_index": at}
            add("output_item.added", output_index=at, item={**call, "arguments": ""})
            add("function_call_arguments.delta", **there, delta=call["arguments"])
            add("function_call_arguments.done", **there, arguments=call["arguments"])
            add("output_item.done", output_index=at, item=call)
        add("completed", response=whole)
        return self._stream(events)

    # --- Anthropic, messages

    async def _messages(self, request: Request) -> Response:
        body, words, error = await self._begin(request)
        if error:
            return error
        base = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5"}
        calls = [
            {"type": "tool_use", "id": f"toolu_{n}", "name": t, "input": json.loads(a)}
            for n, (t, a) in enumerate(self.tools)
        ]
        reason = "tool_use" if calls else "end_turn"
        if not body.get("stream"):
            content = [{"type": "text", "text": "".join(words)}, *calls]
            used = {"input_tokens": self.input_tokens, "output_tokens": len(words)}
            end = {"stop_reason": reason, "stop_sequence": None}
            return self._whole({**base, "content": content, **end, "usage": used})
        events: list[str] = []

        def add(kind: str, **values: Any) -> None:
            events.append(f"event: {kind}\ndata: {json.dumps({'type': kind, **values})}\n\n")

        used = {"input_tokens": self.input_tokens, "output_tokens": 1}
        end = {"stop_reason": None, "stop_sequence": None}
        add("message_start", message={**base, "content": [], **end, "usage": used})
        add("content_block_start", index=0, content_block={"type": "text", "text": ""})
        for word in words:
            add("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
        add("content_block_stop", index=0)
        for at, (name, arguments) in enumerate(self.tools, 1):
            block = {"type": "tool_use", "id": f"toolu_{at}", "name": name, "input": {}}
            add("content_block_start", index=at, content_block=block)
            delta = {"type": "input_json_delta", "partial_json": arguments}
            add("content_block_delta", index=at, delta=delta)
            add("content_block_stop", index=at)
        stop = {"stop_reason": reason, "stop_sequence": None}
        add("message_delta", delta=stop, usage={"output_tokens": len(words)})
        add("message_stop")
        return self._stream(events)
