"""The agent's model when there is no network: deterministic, and yet it works only through tools.

It plays the same dialogue as the existing system, but each batch of calls goes out as tool calls of
a model response and comes back as tool results, through pydantic-ai and MCP.
"""

import itertools
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any, cast

import msgspec
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    RetryPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel
from pydantic_ai.usage import RequestUsage

from molt.apps.demo.bar.desks import converse
from molt.apps.demo.bar.dialects import MODEL, pieces
from molt.apps.demo.bar.dialogue import Call, Memory
from molt.apps.demo.bar.serving import Latency
from molt.apps.demo.bar.voice import AGENT

PROMPT_TOKENS = 180
"""What an agent's instructions and tool list would cost a small model, beside the conversation."""
CHARACTERS_PER_TOKEN = 4
DOLLARS_PER_TOKEN = (Decimal("0.00000015"), Decimal("0.0000006"))


class OfflineModel:
    """The model of one run. `forced` is called first, whether it makes sense or not."""

    def __init__(
        self, agent: str, text: str, memory: Memory, latency: Latency, forced: Sequence[Call] = ()
    ) -> None:
        self._steps = converse(agent, text, memory, AGENT)
        self._latency = latency
        self._forced = list(forced)
        self._numbers = itertools.count(1)
        self._started = False
        self._context = PROMPT_TOKENS * CHARACTERS_PER_TOKEN + len(text)
        self.input_tokens = 0
        self.output_tokens = 0

    def model(self) -> FunctionModel:
        """The pydantic-ai model to run with."""
        return FunctionModel(self._respond, stream_function=self._stream, model_name=MODEL)

    async def _respond(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        await self._latency.wait()
        said = self._next(messages)
        if isinstance(said, str):
            return ModelResponse(parts=[TextPart(said)], usage=self._count(len(said)))
        parts = [ToolCallPart(c.tool, c.arguments, f"call_{next(self._numbers)}") for c in said]
        length = sum(len(msgspec.json.encode(call.arguments)) + len(call.tool) for call in said)
        return ModelResponse(parts=parts, usage=self._count(length))

    async def _stream(
        self, messages: list[ModelMessage], info: AgentInfo
    ) -> AsyncIterator[str | DeltaToolCalls]:
        response = await self._respond(messages, info)
        for number, part in enumerate(response.parts):
            if isinstance(part, ToolCallPart):
                arguments = msgspec.json.encode(part.args).decode()
                yield {
                    number: DeltaToolCall(part.tool_name, arguments, tool_call_id=part.tool_call_id)
                }
            elif isinstance(part, TextPart):
                for piece in pieces(part.content):
                    yield piece
                    await self._latency.wait(0.1)

    def _next(self, messages: list[ModelMessage]) -> list[Call] | str:
        """What the dialogue wants next: calls, or its answer."""
        if self._forced:
            forced, self._forced = self._forced, []
            return forced
        try:
            if not self._started:
                self._started = True
                return next(self._steps)
            results = _results(messages[-1])
            self._context += sum(len(msgspec.json.encode(result)) for result in results)
            return self._steps.send(results)
        except StopIteration as end:
            return str(end.value)

    def _count(self, said: int) -> RequestUsage:
        """Token counts of one model step. The cost is given, too: to look it up takes a quarter millisecond."""
        tokens_in, tokens_out = (
            self._context // CHARACTERS_PER_TOKEN,
            max(1, said // CHARACTERS_PER_TOKEN),
        )
        self._context += said
        self.input_tokens += tokens_in
        self.output_tokens += tokens_out
        cost = tokens_in * DOLLARS_PER_TOKEN[0] + tokens_out * DOLLARS_PER_TOKEN[1]
        return RequestUsage(input_tokens=tokens_in, output_tokens=tokens_out, cost=cost)


def _results(message: ModelMessage) -> list[dict[str, Any]]:
    """Tool results in the order of their calls; a refusal is {"error": why}."""
    if not isinstance(message, ModelRequest):
        return []
    parts = [part for part in message.parts if isinstance(part, ToolReturnPart | RetryPromptPart)]
    parts.sort(key=lambda part: int((part.tool_call_id or "0").rsplit("_", 1)[-1]))
    return [_result(part) for part in parts]


def _result(part: ToolReturnPart | RetryPromptPart) -> dict[str, Any]:
    if isinstance(part, ToolReturnPart) and isinstance(part.content, dict):
        return cast("dict[str, Any]", part.content)
    return {"error": str(part.content)}
