"""The agent itself: five pydantic-ai agents, each with its own tools, on the offline or a real model."""

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
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import UsageLimits

from molt.apps.demo.bar.agent_settings import AgentSettings
from molt.apps.demo.bar.desks import AGENT_TOOLS
from molt.apps.demo.bar.dialects import Answer
from molt.apps.demo.bar.dialogue import Call
from molt.apps.demo.bar.offline_model import OfflineModel
from molt.apps.demo.bar.run import Run
from molt.apps.demo.bar.serving import Latency
from molt.apps.demo.bar.sessions import Session
from molt.apps.demo.bar.tool_door import ToolDoor

LIMITS = UsageLimits(request_limit=8, tool_calls_limit=10)
REMEMBERED = 20
"""Messages of a conversation that a real model is shown again."""

TASKS = {
    "guest": "You serve guests of a bar. Look items up before you add them, and place an order only when it was confirmed.",
    "bar_manager": "You help the manager of a bar with active orders, their status and sales.",
    "admin": "You help an administrator with pending approvals. Decide nothing that you were not told to.",
    "ui_orchestrator": "You look up venues and menus for the screens of an app.",
    "research": "You answer from the documents that web_research finds, and name them.",
}
FORBIDDEN = Call(
    "approval_resolve", {"approval_id": "A-1", "decision": "approved", "decided_by": "guest agent"}
)
"""What the guest agent has no business to do; the `forbidden-tool` fault makes it do it."""


class Brain:
    """Answers requests; made inside the event loop, closed with it."""

    def __init__(self, settings: AgentSettings, latency: Latency) -> None:
        self._latency = latency
        self._door = ToolDoor(settings.tools_url, settings.tools_know_shadow)
        self._endpoint = None if settings.offline else _endpoint(settings)
        self._real: Model | None = None
        if self._endpoint is not None:
            provider = OpenAIProvider(openai_client=self._endpoint)
            self._real = OpenAIChatModel(settings.model, provider=provider)
        self._model_name = settings.model
        self._agents = {
            name: Agent(deps_type=Run, instructions=_instructions, name=name, retries=2)
            for name in AGENT_TOOLS
        }

    async def close(self) -> None:
        """Give up the connections."""
        await self._door.close()
        if self._endpoint is not None:
            await self._endpoint.close()

    async def answer(
        self, text: str, session: Session, run: Run, oversteps: bool = False
    ) -> Answer:
        """The complete answer; raises `RunClosed`, `ToolsUnreachable` and pydantic-ai's errors."""
        agent, tools = self._agents[run.agent], [await self._door.tools_of(run.agent)]
        if self._real is not None:
            result = await agent.run(
                text,
                deps=run,
                model=self._real,
                model_settings=_handed_on(run),
                toolsets=tools,
                message_history=session.history,
                usage_limits=LIMITS,
            )
            return self._real_answer(result, session, run)
        offline = self._offline(text, session, run, oversteps)
        result = await agent.run(
            text, deps=run, model=offline.model(), toolsets=tools, usage_limits=LIMITS
        )
        return _offline_answer(result.output, offline, session, run)

    async def stream(
        self, text: str, session: Session, run: Run, oversteps: bool = False
    ) -> AsyncIterator[str | Answer]:
        """Pieces of the answer as the model says them, and the complete answer as the last item."""
        tools = [await self._door.tools_of(run.agent)]
        offline = None if self._real is not None else self._offline(text, session, run, oversteps)
        model = offline.model() if offline else self._real
        history = session.history if self._real is not None else None
        events = self._agents[run.agent].run_stream_events(
            text,
            deps=run,
            model=model,
            model_settings=_handed_on(run) if offline is None else None,
            toolsets=tools,
            message_history=history,
            usage_limits=LIMITS,
        )
        async with events as stream:
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
                    result = event.result
                    yield (
                        _offline_answer(result.output, offline, session, run)
                        if offline
                        else self._real_answer(result, session, run)
                    )

    def _offline(self, text: str, session: Session, run: Run, oversteps: bool) -> OfflineModel:
        forced = [FORBIDDEN] if oversteps and run.agent == "guest" else []
        run.extra_tools = tuple(call.tool for call in forced)
        return OfflineModel(run.agent, text, session.memory, self._latency, forced)

    def _real_answer(self, result: Any, session: Session, run: Run) -> Answer:
        session.history = result.all_messages()[-REMEMBERED:]
        used = result.usage
        return Answer(
            result.output,
            session.id,
            run.calls,
            used.input_tokens,
            used.output_tokens,
            self._model_name,
        )


def _offline_answer(text: str, offline: OfflineModel, session: Session, run: Run) -> Answer:
    return Answer(text, session.id, run.calls, offline.input_tokens, offline.output_tokens)


def _handed_on(run: Run) -> ModelSettings:
    """The run goes along with each model call, so that the endpoint may be Molt's egress."""
    return {"extra_headers": run.meta()}


def _endpoint(settings: AgentSettings) -> AsyncOpenAI:
    """Any OpenAI-compatible endpoint; many local ones want no key, the client always does."""
    return AsyncOpenAI(base_url=settings.base_url or None, api_key=settings.api_key or "none")


async def _instructions(context: RunContext[Run]) -> str:
    # A coroutine although nothing is awaited: pydantic-ai runs plain functions in a thread.
    memory = context.deps.memory
    place = f"Venue: {memory.venue}. Table: {memory.table or 'none'}. The cart's id is {memory.cart_id}."
    return f"{TASKS[context.deps.agent]} Use your tools; never invent items or prices. {place}"
