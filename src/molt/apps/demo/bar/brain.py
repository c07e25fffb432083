"""The agent itself: five pydantic-ai agents, each with its own tools, on an OpenAI-compatible model."""

from collections.abc import AsyncIterator
from typing import Any

from openai import AsyncOpenAI
from pydantic_ai import (
    Agent,
    AgentRunResultEvent,
    PartDeltaEvent,
    PartStartEvent,
    RunContext,
    TextPart,
    TextPartDelta,
)
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIChatModelSettings
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import UsageLimits

from molt.apps.demo.bar import prompt
from molt.apps.demo.bar.agent_settings import AgentSettings
from molt.apps.demo.bar.desks import AGENT_TOOLS
from molt.apps.demo.bar.dialects import Answer
from molt.apps.demo.bar.dialogue import Call
from molt.apps.demo.bar.run import Run
from molt.apps.demo.bar.sessions import Session
from molt.apps.demo.bar.tool_door import BeforeAction, ToolDoor

LIMITS = UsageLimits(request_limit=8, tool_calls_limit=10)
FORBIDDEN = Call(
    "approval_resolve", {"approval_id": "A-1", "decision": "approved", "decided_by": "guest agent"}
)
"""What the guest agent has no business to do; the `forbidden-tool` fault makes it do it."""


class Brain:
    """Answers requests; made inside the event loop, closed with it."""

    def __init__(self, settings: AgentSettings, before_action: BeforeAction) -> None:
        self._door = ToolDoor(settings.tools_url, before_action, settings.tools_know_shadow)
        self._endpoint = _endpoint(settings)
        provider = OpenAIProvider(openai_client=self._endpoint)
        self._model = OpenAIChatModel(settings.model, provider=provider)
        self._model_name = settings.model
        self._remembered = settings.remembered
        self._agents = {
            name: Agent(deps_type=Run, instructions=_instructions, name=name, retries=2)
            for name in AGENT_TOOLS
        }

    async def close(self) -> None:
        """Give up the connections."""
        await self._door.close()
        await self._endpoint.close()

    async def answer(
        self, text: str, session: Session, run: Run, oversteps: bool = False
    ) -> Answer:
        """The complete answer; raises `RunClosed`, `ToolsUnreachable` and pydantic-ai's errors."""
        how = await self._how(session, run, oversteps)
        return self._answer(await self._agents[run.agent].run(text, **how), session, run)

    async def stream(
        self, text: str, session: Session, run: Run, oversteps: bool = False
    ) -> AsyncIterator[str | Answer]:
        """Pieces of the answer as the model says them, and the complete answer as the last item."""
        how = await self._how(session, run, oversteps)
        async with self._agents[run.agent].run_stream_events(text, **how) as stream:
            async for event in stream:
                if (
                    isinstance(event, PartStartEvent)
                    and isinstance(event.part, TextPart)
                    and event.part.content
                ):
                    yield event.part.content
                elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
                    yield event.delta.content_delta
                elif isinstance(event, AgentRunResultEvent):
                    yield self._answer(event.result, session, run)

    async def _how(self, session: Session, run: Run, oversteps: bool) -> dict[str, Any]:
        """What a run of pydantic-ai is given beside the guest's words."""
        tools = await self._door.tools_of(run.agent)
        _tempt(run, oversteps)
        return {
            "deps": run,
            "model": self._model,
            "model_settings": _handed_on(run),
            "toolsets": [tools],
            "message_history": session.history,
            "usage_limits": LIMITS,
        }

    def _answer(self, result: Any, session: Session, run: Run) -> Answer:
        if self._remembered:
            session.history = result.all_messages()[-self._remembered :]
        used = result.usage
        return Answer(
            result.output,
            session.id,
            run.calls,
            used.input_tokens,
            used.output_tokens,
            self._model_name,
        )


def _tempt(run: Run, oversteps: bool) -> None:
    """Give the guest agent a tool that is not its own, when the fault for it is switched on."""
    run.extra_tools = (FORBIDDEN.tool,) if oversteps and run.agent == "guest" else ()


def _handed_on(run: Run) -> OpenAIChatModelSettings:
    """The run goes along with each model call, so that the endpoint may be Molt's egress.

    `user` names the conversation; what was only tried in shadow is another one.
    """
    conversation = f"{run.mode}/{run.memory.cart_id}"
    return OpenAIChatModelSettings(extra_headers=run.meta(), openai_user=conversation)


def _endpoint(settings: AgentSettings) -> AsyncOpenAI:
    """Any OpenAI-compatible endpoint; many local ones want no key, the client always does."""
    return AsyncOpenAI(base_url=settings.base_url or None, api_key=settings.api_key or "none")


async def _instructions(context: RunContext[Run]) -> str:
    # A coroutine although nothing is awaited: pydantic-ai runs plain functions in a thread.
    run = context.deps
    return prompt.written(run.agent, run.memory, FORBIDDEN if run.extra_tools else None)
