"""A provider of models on a real port: three APIs, whole and streamed, as told by its attributes."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ..gateway.servers import Served
from .answers import Answer, uncut

PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}


class Provider(Served):
    """Says `words`, then calls `tools` (name, arguments as JSON text).

    `obeys` makes it keep to the limit it is given; one word is one token. `pauses` holds a stream
    after its first words, or a whole answer, until `go`. `cut` and `cut_name` make pieces of what
    calls say in streams; `escaped` writes letters of whole answers otherwise. `coding` is what it says its answers are encoded in. `status` makes it
    answer with an error. `asked` keeps what came, `left` counts streams and answers whose client
    went away.
    """

    def __init__(self) -> None:
        super().__init__(
            [
                Route(path, partial(self._answer, api=api), methods=["POST"])
                for api, path in PATHS.items()
            ]
        )
        self.words = ["Hello", " there"]
        self.tools: list[tuple[str, str]] = []
        self.obeys = True
        self.cut = self.cut_name = uncut
        self.escaped = False
        self.pauses = False
        self.status = 200
        self.coding = ""
        self.input_tokens = 5
        self.go = asyncio.Event()
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.left = 0
        self.ended = 0

    async def _answer(self, request: Request, api: str) -> Response:
        body = json.loads(await request.body())
        self.asked.append(body)
        self.headers.append(dict(request.headers))
        if self.status != 200:
            error = {"error": {"message": "as told", "type": "told"}}
            return JSONResponse(error, self.status, {"retry-after": "7"})
        names = ("max_completion_tokens", "max_output_tokens", "max_tokens")
        most = next((body[name] for name in names if name in body), 10**9)
        words = self.words[:most] if self.obeys else self.words
        answer = Answer(words, self.tools, self.input_tokens, self.cut, self.cut_name)
        headers = {"content-encoding": self.coding} if self.coding else None
        if not body.get("stream"):
            if self.pauses:
                await self.go.wait()
            whole = json.dumps(answer.whole(api))
            if self.escaped:
                whole = whole.replace("_", r"\u005f")
            return Response(whole, headers=headers, media_type="application/json")
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        send = self._send(answer.events(api, usage=usage))
        return StreamingResponse(send, headers=headers, media_type="text/event-stream")

    async def _send(self, events: list[str]) -> AsyncIterator[str]:
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
