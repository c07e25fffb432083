"""Lists of tools as an agent may see them: without those that its policy forbids."""

from collections.abc import Callable
from typing import Any, cast

import msgspec

Permits = Callable[[str], bool]


def filtered(
    body: bytes, content_type: str, message_id: str | int | None, permits: Permits
) -> bytes:
    """The answer to `tools/list` without forbidden tools; the same bytes where nothing is left out."""
    if "text/event-stream" in content_type:
        return _stream(body, message_id, permits)
    return _message(body, message_id, permits) or body


def _message(data: bytes, message_id: str | int | None, permits: Permits) -> bytes | None:
    """The message without forbidden tools; None when it is another, or has none of them."""
    try:
        message = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not isinstance(message, dict) or message.get("id") != message_id:
        return None
    result = cast("dict[str, Any]", message).get("result")
    tools = result.get("tools") if isinstance(result, dict) else None
    if not isinstance(tools, list):
        return None
    kept = [t for t in tools if not isinstance(t, dict) or permits(str(t.get("name")))]
    if len(kept) == len(tools):
        return None
    return msgspec.json.encode({**message, "result": {**cast("Any", result), "tools": kept}})


def _stream(body: bytes, message_id: str | int | None, permits: Permits) -> bytes:
    newline = b"\r\n" if b"\r\n" in body else b"\n"
    events = body.split(newline * 2)
    return (newline * 2).join(_event(event, newline, message_id, permits) for event in events)


def _event(event: bytes, newline: bytes, message_id: str | int | None, permits: Permits) -> bytes:
    lines = event.split(newline)
    data = [line for line in lines if line.startswith(b"data:")]
    said = b"\n".join(line[5:].removeprefix(b" ") for line in data)
    changed = _message(said, message_id, permits) if data else None
    if changed is None:
        return event
    others = [line for line in lines if not line.startswith(b"data:")]
    return newline.join([*others, b"data: " + changed])
