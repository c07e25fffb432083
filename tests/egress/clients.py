"""The official clients, asked in one way: what they understood of an answer."""

from typing import Any, NamedTuple

import anthropic
import openai


class Said(NamedTuple):
    """What a client made of an answer; `reason` is why it ended, in the API's own words."""

    text: str = ""
    refusal: str | None = None
    tools: tuple[str, ...] = ()
    reason: str | None = None
    output_tokens: int | None = None


FORBIDDEN_ENDS = {"chat": "content_filter", "responses": "completed", "messages": "refusal"}
LIMIT_ENDS = {"chat": "length", "responses": "incomplete", "messages": "max_tokens"}
REFUSED = (openai.PermissionDeniedError, anthropic.PermissionDeniedError)
BROKEN = (openai.APIError, anthropic.APIError)


async def ask(
    api: str, url: str, token: str | None, *, stream: bool, most: int | None = None, **more: Any
) -> Said:
    """Ask through the official client of `api`."""
    headers = {"x-molt-run": token} if token else {}
    if api == "messages":
        async with anthropic.AsyncAnthropic(
            base_url=url, api_key="none", default_headers=headers
        ) as client:
            return await _messages(client, stream, most or 1024, more)
    async with openai.AsyncOpenAI(
        base_url=f"{url}/v1", api_key="none", default_headers=headers
    ) as client:
        if api == "chat":
            return await _chat(client, stream, most, more)
        return await _responses(client, stream, most, more)


async def _chat(client: openai.AsyncOpenAI, stream: bool, most: int | None, more: Any) -> Said:
    body: dict[str, Any] = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "hi"}],
        **({"max_tokens": most} if most else {}),
        **more,
    }
    if not stream:
        answer = await client.chat.completions.create(**body)
        (choice,) = answer.choices
        tools = tuple(c.function.name for c in choice.message.tool_calls or ())
        out = answer.usage.completion_tokens if answer.usage else None
        message = choice.message
        return Said(message.content or "", message.refusal, tools, choice.finish_reason, out)
    text, refusal, reason, out = "", "", None, None
    names: dict[int, str] = {}
    async for chunk in await client.chat.completions.create(**body, stream=True):
        if chunk.usage is not None:
            out = chunk.usage.completion_tokens
        for choice in chunk.choices:
            text += choice.delta.content or ""
            refusal += choice.delta.refusal or ""
            reason = choice.finish_reason or reason
            for call in choice.delta.tool_calls or ():
                if call.function and call.function.name:
                    names[call.index] = names.get(call.index, "") + call.function.name
    return Said(text, refusal or None, tuple(names.values()), reason, out)


async def _responses(client: openai.AsyncOpenAI, stream: bool, most: int | None, more: Any) -> Said:
    body: dict[str, Any] = {"model": "gpt-4o-mini", "input": "hi", **more}
    if most:
        body["max_output_tokens"] = most
    if not stream:
        return _response(await client.responses.create(**body))
    text, last = "", None
    async for event in await client.responses.create(**body, stream=True):
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type in ("response.completed", "response.incomplete"):
            last = event.response
    assert last is not None, "the stream did not come to its end"
    said = _response(last)
    assert said.text == text
    return said


def _response(answer: Any) -> Said:
    tools = tuple(item.name for item in answer.output if item.type == "function_call")
    refusals = [
        part.refusal
        for item in answer.output
        if item.type == "message"
        for part in item.content
        if part.type == "refusal"
    ]
    out = answer.usage.output_tokens if answer.usage else None
    return Said(answer.output_text, "".join(refusals) or None, tools, answer.status, out)


async def _messages(client: anthropic.AsyncAnthropic, stream: bool, most: int, more: Any) -> Said:
    body: dict[str, Any] = {
        "model": "claude-haiku-4-5",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": most,
        **more,
    }
    if stream:
        async with client.messages.stream(**body) as events:
            answer = await events.get_final_message()
    else:
        answer = await client.messages.create(**body)
    text = "".join(block.text for block in answer.content if block.type == "text")
    tools = tuple(block.name for block in answer.content if block.type == "tool_use")
    refusal = text if answer.stop_reason == "refusal" else None
    return Said(text, refusal, tools, answer.stop_reason, answer.usage.output_tokens)
