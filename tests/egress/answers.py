"""One answer of a model in the forms of all three APIs, whole and as the events of a stream."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

Cut = Callable[[str], list[str]]


def uncut(text: str) -> list[str]:
    """In one piece."""
    return [text]


class Answer(NamedTuple):
    """Says `words`, then calls `tools` (name, arguments as JSON text). One word is one token.

    In a stream `cut` and `cut_name` make pieces of arguments and of names (chat alone has those).
    """

    words: list[str]
    tools: list[tuple[str, str]]
    input_tokens: int = 5
    cut: Cut = uncut
    cut_name: Cut = uncut

    def whole(self, api: str) -> dict[str, Any]:
        """The body of an answer that comes at once."""
        return {"chat": _chat, "responses": _response, "messages": _message}[api](self)

    def events(self, api: str, *, usage: bool = True) -> list[str]:
        """The events of a stream. `usage`: whether a stream of chat tells it."""
        if api == "chat":
            return _chat_events(self, usage)
        return {"responses": _response_events, "messages": _message_events}[api](self)

    @property
    def text(self) -> str:
        return "".join(self.words)


# --- OpenAI, chat completions

_CHAT = {"id": "chatcmpl-1", "created": 1, "model": "gpt-4o-mini-2024-07-18"}


def _chat_usage(said: Answer) -> dict[str, int]:
    used = {"prompt_tokens": said.input_tokens, "completion_tokens": len(said.words)}
    return {**used, "total_tokens": sum(used.values())}


def _chat(said: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text}
    if said.tools:
        message["tool_calls"] = [
            {"id": f"call_{n}", "type": "function", "function": {"name": t, "arguments": a}}
            for n, (t, a) in enumerate(said.tools)
        ]
    reason = "tool_calls" if said.tools else "stop"
    choice = {"index": 0, "message": message, "finish_reason": reason}
    head = {**_CHAT, "object": "chat.completion"}
    return {**head, "choices": [choice], "usage": _chat_usage(said)}


def _chat_events(said: Answer, usage: bool) -> list[str]:
    head = {**_CHAT, "object": "chat.completion.chunk"}

    def chunk(delta: dict[str, Any], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"

    events = [chunk({"role": "assistant", "content": ""})]
    events += [chunk({"content": word}) for word in said.words]
    for n, (name, arguments) in enumerate(said.tools):
        deltas: list[dict[str, Any]] = [
            {"index": n, "function": {"name": part}} for part in said.cut_name(name)
        ]
        deltas[0] |= {"id": f"call_{n}", "type": "function"}
        deltas[0]["function"]["arguments"] = ""
        deltas += [{"index": n, "function": {"arguments": a}} for a in said.cut(arguments)]
        events += [chunk({"tool_calls": [delta]}) for delta in deltas]
    events.append(chunk({}, "tool_calls" if said.tools else "stop"))
    if usage:
        last = {**head, "choices": [], "usage": _chat_usage(said)}
        events.append(f"data: {json.dumps(last)}\n\n")
    return [*events, "data: [DONE]\n\n"]


# --- OpenAI, responses

_RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-4o-mini",
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": {},
}  # fmt: skip
_MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}


def _response(said: Answer) -> dict[str, Any]:
    part = {"type": "output_text", "text": said.text, "annotations": []}
    calls = [
        {"id": f"fc_{n}", "call_id": f"call_{n}", "type": "function_call", "name": t,
         "arguments": a, "status": "completed"}
        for n, (t, a) in enumerate(said.tools)
    ]  # fmt: skip
    used = {
        "input_tokens": said.input_tokens, "output_tokens": len(said.words),
        "total_tokens": said.input_tokens + len(said.words),
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
    output = [{**_MESSAGE, "content": [part]}, *calls]
    return {**_RESPONSE, "status": "completed", "output": output, "usage": used}


def _response_events(said: Answer) -> list[str]:
    whole = _response(said)
    output = whole["output"]
    (part,) = output[0]["content"]
    events: list[str] = []

    def add(kind: str, **values: Any) -> None:
        data = {"type": f"response.{kind}", "sequence_number": len(events), **values}
        events.append(f"event: response.{kind}\ndata: {json.dumps(data)}\n\n")

    add("created", response={**_RESPONSE, "status": "in_progress", "output": []})
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    add("output_item.added", output_index=0, item={**_MESSAGE, "content": []})
    add("content_part.added", **place, part={**part, "text": ""})
    for word in said.words:
        add("output_text.delta", **place, delta=word, logprobs=[])
    add("output_text.done", **place, text=said.text, logprobs=[])
    add("content_part.done", **place, part=part)
    add("output_item.done", output_index=0, item=output[0])
    for at, call in enumerate(output[1:], 1):
        there = {"item_id": call["id"], "output_index": at}
        add("output_item.added", output_index=at, item={**call, "arguments": ""})
        for piece in said.cut(call["arguments"]):
            add("function_call_arguments.delta", **there, delta=piece)
        add("function_call_arguments.done", **there, arguments=call["arguments"])
        add("output_item.done", output_index=at, item=call)
    add("completed", response=whole)
    return events


# --- Anthropic, messages

_BASE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5"}


def _message(said: Answer) -> dict[str, Any]:
    calls = [
        {"type": "tool_use", "id": f"toolu_{n}", "name": t, "input": json.loads(a)}
        for n, (t, a) in enumerate(said.tools)
    ]
    content = [{"type": "text", "text": said.text}, *calls]
    used = {"input_tokens": said.input_tokens, "output_tokens": len(said.words)}
    end = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
    return {**_BASE, "content": content, **end, "usage": used}


def _message_events(said: Answer) -> list[str]:
    events: list[str] = []

    def add(kind: str, **values: Any) -> None:
        events.append(f"event: {kind}\ndata: {json.dumps({'type': kind, **values})}\n\n")

    used = {"input_tokens": said.input_tokens, "output_tokens": 1}
    end = {"stop_reason": None, "stop_sequence": None}
    add("message_start", message={**_BASE, "content": [], **end, "usage": used})
    add("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for word in said.words:
        add("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
    add("content_block_stop", index=0)
    for at, (name, arguments) in enumerate(said.tools, 1):
        block = {"type": "tool_use", "id": f"toolu_{at - 1}", "name": name, "input": {}}
        add("content_block_start", index=at, content_block=block)
        for piece in said.cut(arguments):
            delta = {"type": "input_json_delta", "partial_json": piece}
            add("content_block_delta", index=at, delta=delta)
        add("content_block_stop", index=at)
    stop = {"stop_reason": "tool_use" if said.tools else "end_turn", "stop_sequence": None}
    add("message_delta", delta=stop, usage={"output_tokens": len(said.words)})
    add("message_stop")
    return events
